"""Routers in the writers' world: events and routing messages come meanwhile, and each delivery must be stored once.

The world numbers the deliveries that must come, in order, by what is in force when an event is published; a router
may know that only from the messages themselves.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from eventbus.fence import ClaimLost
from eventbus.group_commit import Group, GroupCommit, Outgoing
from eventbus.subjects import Subjects
from pipeline.routing.fanout import Fanout, RoutedEvent
from pipeline.routing.position import RouterMark, RouterPosition, StreamsMade
from pipeline.routing.start import RouterFacts, Stop, behind_torn, decide_start
from pipeline.tenants.model import Route, RouteSource, Tenant
from pipeline.tenants.routing import RoutingTable, next_routes, read_routes
from tests.simulation.jetstream_model import Draft, ModelMessage, StreamModel
from tests.simulation.writer_world import Connection, Rules, SimulatedWriter, World

NAMES = Subjects()
MADE = StreamsMade("then", "then")
Key = tuple[int, str, str]


@dataclass(frozen=True)
class RouterRules:
    """The router's parts, so that a test can break one of them. writer: of the protocol below it."""

    writer: Rules = field(default_factory=Rules)
    resumes_at_cursor: bool = True
    looks_behind_torn: bool = True
    believes_spans: bool = True
    refreshes_after_reading: bool = True


class RouterWorld(World):
    def __init__(self, seed: int, rules: RouterRules, changes: int = 14) -> None:
        super().__init__(seed, rules.writer, total=10**9)
        self.router_rules = rules
        self.events = StreamModel()
        self.left = changes
        self.in_force: dict[str, frozenset[str]] = {}
        self.numbers: dict[Key, int] = {}
        self.keys: list[Key] = []
        self.passed = 0

    def publish(self) -> None:
        """The next change: an event, or a tenant's other routes."""
        if self.left == 0:
            return
        self.left -= 1
        tenant = self.random.choice(("t1", "t2"))
        if self.random.random() < 0.35:
            self._apply(tenant, frozenset(self.random.sample(("r1", "r2", "r3"), self.random.randint(0, 3))))
        else:
            seq = self.events.publish(
                Draft(NAMES.event("s", tenant, "public", "x", "insert"), headers={"Id": str(self.left)})
            )
            self.note(("event", seq, "of", tenant, "in force:", *sorted(self.in_force.get(tenant, ()))))
            for route in sorted(self.in_force.get(tenant, ())):
                self.keys.append((seq, tenant, route))
                self.numbers[seq, tenant, route] = len(self.keys)
        if self.left == 0:
            self.total = len(self.keys)

    def _apply(self, tenant: str, routes: frozenset[str]) -> None:
        source = RouteSource("public.x", ("insert",))
        wanted = Tenant(tenant, tenant, routes={name: Route(name, source, "m", "c") for name in routes})
        last = self.events.last(NAMES.routes(tenant))
        before = read_routes(last.seq, last.payload) if last else None
        message = next_routes(before, wanted, self.passed)
        if message is not None:
            self.events.publish(Draft(NAMES.routes(tenant), message, rollup=True))
        self.in_force[tenant] = routes

    def acknowledge(self, mark: Any) -> None:
        reached = RouterMark(*mark)
        self.passed = max(self.passed, reached.event_seq - (reached.cursor is not None))
        end = (reached.event_seq, reached.cursor is None, tuple(reached.cursor or ()))
        stored = [n for n, key in enumerate(self.keys, 1) if (key[0], False, key[1:]) <= end]
        super().acknowledge(stored[-1] if stored else 0)

    def _happen(self, lives: list[Generator[None]]) -> None:
        if self.random.random() < 0.06:
            self.publish()
        super()._happen(lives)

    def _lives(self) -> Generator[None]:
        while True:
            for _ in range(self.random.randrange(60) if self.chaos and self.rivals > 1 else 0):
                yield
            connection = Connection()
            self.connections.append(connection)
            try:
                yield from SimulatedRouter(self, connection).life()
            finally:
                connection.open = False
            yield


def play(seed: int) -> None:
    RouterWorld(seed, RouterRules()).run()


class SimulatedRouter(SimulatedWriter):
    """Reads, routes and writes as `pipeline.routing.router` does."""

    def __init__(self, world: RouterWorld, connection: Connection) -> None:
        super().__init__(world, connection)
        self.router_world = world
        self.mark: Any = RouterMark(0, "")

    def life(self) -> Generator[None]:
        world = self.router_world
        held = self.read()
        yield
        position = _position(held.payload) if held.payload else None
        start = decide_start(position, self._facts(position))
        if isinstance(start, Stop):
            raise world.violated("stops with a reason", start.message)
        self.mark = start.mark
        claimed = yield from self.claim(held)
        if isinstance(claimed, ClaimLost):
            return
        mark = start.mark
        if claimed.torn is not None and world.router_rules.looks_behind_torn:
            key = world.keys[int(claimed.torn.headers["Number"]) - 1]
            mark = behind_torn(mark, key, self._id(key[0]))
        if not world.router_rules.resumes_at_cursor:
            mark = mark._replace(cursor=None)
        batches: GroupCommit[Any] = world.rules.batches(
            lambda: world.new_id("c-"), claimed.fence, world.limits
        )
        batches.put(Group((), mark))
        groups = self._groups(mark)
        while self.connection.open:
            if world.random.random() < 0.5 and (group := next(groups)) is not None:
                batches.put(group)
            for batch, answer in self.take_answers():
                self.report(
                    batches.answered(batch, max(answer, 0) or None, -min(answer, 0) or None, self.now)
                )
            if not (yield from self.perform(batches)):
                return

    def _facts(self, position: RouterPosition | None) -> RouterFacts:
        seq = position.event_seq if position else 0
        deliveries = any(m.subject != "position.s" for m in self.world.stream.messages.values())
        return RouterFacts(MADE, self._id(seq), deliveries and position is not None)

    def _id(self, seq: int) -> str:
        return self.router_world.events.messages[seq].headers["Id"] if seq else ""

    def _groups(self, mark: RouterMark) -> Iterator[Group[Any] | None]:
        """Group after group; None: nothing there yet."""
        world, table = self.router_world, RoutingTable()
        read = mark.event_seq - (mark.cursor is not None)
        while True:
            found = world.events.between("events.>", read, world.events.last_seq + 1)[
                : world.random.randint(1, 3)
            ]
            if not found and not world.chaos:
                world.publish()
            fresh = world.router_rules.refreshes_after_reading
            if fresh:
                yield None  # what was read is on its way; others go on
            if fresh or read == mark.event_seq - (mark.cursor is not None):
                self._refresh(table)
            for message in found:
                read = message.seq
                yield from self._event(message, table, mark)
            yield None

    def _refresh(self, table: RoutingTable) -> None:
        for message in self.router_world.events.between("routes.*", 0, 2**62):
            table.put(message.seq, message.payload)

    def _event(
        self, message: ModelMessage, table: RoutingTable, mark: RouterMark
    ) -> Iterator[Group[Any] | None]:
        world = self.router_world
        seq = message.seq if world.router_rules.believes_spans else 2**62
        targets = table.targets(seq, NAMES.parse_event(message.subject))
        header = b"NATS/1.0\r\nBridge-Event-Id: %b\r\n\r\n" % message.headers["Id"].encode()
        event = RoutedEvent(message.seq, header, b"")
        after = mark.cursor if mark.event_seq == message.seq else None
        for group in Fanout(NAMES, 4).groups(event, targets, after):
            yield Group([self._numbered(one) for one in group.messages], group.mark, len(group.messages))
        yield Group((), RouterMark(message.seq, message.headers["Id"]))

    def _numbered(self, message: Outgoing) -> Outgoing:
        number = self.router_world.numbers.get(cast(Key, message.key))
        if number is None:
            raise self.world.violated(
                "by the routes in force", f"{message.key} is routed, and no route wanted it"
            )
        return Outgoing(message.subject, message.headers, message.payload, (number,))


def _position(payload: bytes) -> RouterPosition:
    """The world's writers put the mark under `key`."""
    mark = RouterMark(*msgspec.json.decode(payload)["key"])
    return RouterPosition(
        event_seq=mark.event_seq,
        event_id=mark.event_id,
        cursor="/".join(mark.cursor) if mark.cursor else None,
        events_created=MADE.events,
        deliveries_created=MADE.deliveries,
    )
