"""What the deciders of one lane ask of the server in the simulation: state, consumers, sweeps (rules R3, R6, R7)."""

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.lanes.lease import Lease
from pipeline.lanes.takeover import (
    ConsumerFacts,
    CreateConsumer,
    DeleteConsumer,
    Inspect,
    ListConsumers,
    ReadDeadLetters,
    ReadState,
    State,
    Sweep,
    TakenOver,
    WriteState,
    take_over,
)
from pipeline.routes.session import InspectOwn, ReadOwnDeadLetters, SweepOwn
from pipeline.routes.trouble import Trouble

if TYPE_CHECKING:
    from tests.simulation.lane_ownership import Owned

MAX_ACK_PENDING = 8
OWN_MAX_ACK_PENDING = 6
BLOCKING_MAX_ACK_PENDING = 100
"""A replay comes behind all that waits for it: where a blocked route is full it stands, and that is not simulated."""
Answer = Generator[None, None, Any]


class LaneRequests:
    """kept, revision: the lane's state as this owner wrote it last."""

    def __init__(self, owned: "Owned") -> None:
        self._owned = owned
        self._world = owned.world
        self._lane = owned.lane
        self._key = f"state.{owned.lane}"
        self.kept = State()
        self.revision = 0
        self._writing = False

    def take_over(self, before: Lease | None, me: str) -> Generator[TakenOver | None]:
        steps, answer = take_over(before, me, self._world.now), None
        self._world.consumers.create(
            self._owned.name, f"deliveries.{self._lane}.>", max_ack_pending=MAX_ACK_PENDING
        )
        if not self._world.rules.never_gives_up:
            self._world.consumers[self._owned.name].max_deliver = 3
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as end:
                yield end.value
                return
            self._owned.check()
            answer = yield from self.answer(request)
            yield None

    def answer(self, request: Any) -> Answer:
        world = self._world
        match request:
            case ReadState():
                revision, state = world.lanes.get(self._key)
                return state or State(), revision
            case WriteState(state, expected):
                return (yield from self._owned.act(partial(self._write, state, expected)))
            case Inspect():
                return self._facts(self._owned.name)
            case Sweep(first, last):
                yield from self._sweep(self._owned.name, range(first, last + 1))
            case ReadDeadLetters() | ReadOwnDeadLetters():
                return self._dead_letters() if world.rules.reads_dead_letters else []
            case _:
                return (yield from self._answer_about_own(request))
        return None

    def _answer_about_own(self, request: Any) -> Answer:
        """Of the consumers of routes in trouble."""
        world, act = self._world, self._owned.act
        match request:
            case InspectOwn(route, incarnation):
                return self._facts(self.own(route, incarnation))
            case SweepOwn(route, incarnation, first, last):
                if world.rules.sweeps_its_own:
                    yield from self._sweep(self.own(route, incarnation), range(first, last + 1))
            case ListConsumers():
                return self._list()
            case CreateConsumer(route, trouble):
                yield from act(partial(self._create, route, trouble))
            case DeleteConsumer(route, incarnation):
                yield from act(partial(world.delete, self.own(route, incarnation)))
            case _:
                raise AssertionError(request)
        return None

    def change(self, route: str, trouble: Trouble | None) -> Answer:
        """Writes the lane's state with this about the route; one write at a time."""
        while self._writing:
            yield
        self._writing = True
        routes = {name: it for name, it in self.kept.routes.items() if name != route}
        if trouble is not None:
            routes[route] = trouble
        state = msgspec.structs.replace(self.kept, routes=routes)
        revision = yield from self._owned.act(partial(self._write, state, self.revision), 15.0, 0.3)
        if self._world.chance(0.03):
            revision = None  # its answer was lost
        while revision is None:
            yield
            revision, held = self._world.lanes.get(self._key)
            if held.epoch != state.epoch:
                raise self._owned.lost
            if held != state:
                revision = yield from self._owned.act(partial(self._write, state, revision), 15.0, 0.3)
        self.kept, self.revision = state, revision
        self._writing = False

    def next_incarnation(self) -> int:
        return self.revision + 1

    def own(self, route: str, incarnation: int) -> str:
        tenant, _, name = route.partition("/")
        return f"route--{tenant}--{name}--{incarnation if self._world.rules.incarnations else 1}"

    def _write(self, state: State, expected: int) -> int | None:
        return self._world.lanes.update(
            self._key, state, expected if self._world.rules.compares_and_sets else None
        )

    def _facts(self, name: str) -> ConsumerFacts | None:
        if name not in self._world.consumers:
            return None
        return ConsumerFacts(*self._world.consumers[name].facts())

    def _sweep(self, name: str, seqs: range) -> Generator[None]:
        def nak() -> None:
            if name in self._world.consumers:
                for seq in seqs if self._world.rules.sweeps else ():
                    self._world.consumers[name].nak(seq)

        yield from self._owned.act(nak)

    def _dead_letters(self) -> list[int]:
        """Of this lane, tombstones included."""
        seqs = [int(m.subject.rpartition(".")[2]) for m in self._world.dlq.messages.values()]
        return [seq for seq in seqs if self._world.fates[seq].lane == self._lane]

    def _list(self) -> list[tuple[str, int]]:
        found = []
        for name in self._world.consumers.names:
            if name.startswith("route--") and self._world.consumers[name].subject.split(".")[1] == str(
                self._lane
            ):
                _, tenant, route, incarnation = name.split("--")
                found.append((f"{tenant}/{route}", int(incarnation)))
        return found

    def _create(self, route: str, trouble: Trouble) -> None:
        subject = f"deliveries.{self._lane}.{route.replace('/', '.')}"
        name = self.own(route, trouble.incarnation)
        self._world.note(("consumer made", name, "from", trouble.start, "todo", *trouble.todo))
        most = BLOCKING_MAX_ACK_PENDING if route in self._world.blocking else OWN_MAX_ACK_PENDING
        self._world.consumers.create(name, subject, trouble.start, most)
