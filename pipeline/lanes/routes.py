"""A lane's routes in trouble: which must leave, those that are apart, those that are back (rules R6, R7, R8, R13).

It is told what happens to the lane's deliveries (`delivery/turn_watch.Watch`) and decides with `routes/crowding`; each route that is
apart has a life of its own (`routes/life`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import structlog

from eventbus.event import HEADER_REPLAY
from eventbus.message import Message
from pipeline.delivery.attempt import DeliveryId
from pipeline.delivery.breaker import BreakerState
from pipeline.delivery.delivery import Item
from pipeline.delivery.dispatch import GateKey
from pipeline.delivery.retry_records import persist
from pipeline.dlq.tombstone import original_seq
from pipeline.lanes.takeover import CAREFUL, State
from pipeline.lanes.work import LaneWork
from pipeline.metrics import APART, APART_BACKLOG
from pipeline.routes.attach import FORGET_S, forgettable
from pipeline.routes.crowding import crowds, is_crowded, must_wait_apart, the_largest
from pipeline.routes.detach import Leaving
from pipeline.routes.life import RouteLife
from pipeline.routes.permission import Together
from pipeline.routes.trouble import Why, Word
from pipeline.side_by_side import all_ended

STATE_BYTES = 512 * 2**10
"""A lane's state is one message: above this no further route leaves."""
NUMBERS = 2**20
LOOK_S = 5.0
CALM_S = 600.0
LOOK_AT_LANE_S = 30.0
"""So often the server is asked how far the lane is, while it matters."""

log = structlog.get_logger()


class LaneRoutes:
    """Those of one lane, while we own it."""

    def __init__(self, work: LaneWork, state: State) -> None:
        """state: as the takeover left it."""
        self._work = work
        self._careful = state.crashes >= CAREFUL
        self._together = Together()
        self._lives: dict[str, RouteLife] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = state.epoch * NUMBERS
        self._past: dict[str, float] = {}
        self._awaited: set[str] = set()
        """Whose consumers may still bring what the server forgot before we took over."""
        self._before = work.memory.highest
        self._counted: Counter[Why] = Counter()
        self._backlog = 0
        self._full = False
        self._end_telling: Callable[[], None] = lambda: None
        self._begun = False
        self._early: dict[str, Why] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def careful(self) -> bool:
        """Whether one that is apart may have ended the last owners, and is still to be looked at."""
        return bool(self._together.careful)

    def prepare(self) -> None:
        """Before the first delivery may go: a key may be blocked although the last owner could not say so any more."""
        for route in self._work.records.buried_lately:
            if self._work.is_blocking(route) and route not in self._work.troubles.on():
                self._work.state.stop(route)
                self._early[route] = "block"

    def begin(self) -> None:
        """The lane's barrier is passed, and all that came back is held (rule R4)."""
        self._begun = True
        if self._careful:
            self._together.careful.update(self._work.troubles.on())
        for route in self._work.troubles.on():
            self._live(route, None)
        if self._lives:
            self._work.memory.retain(time.monotonic())
            self._awaited = set(self._lives)
        self._end_telling = self._work.services.tenants.tell(self._told)
        for route, why in self._early.items():
            self.leave(route, why)

    async def run(self) -> None:
        """Until a route's life fails, and raises that."""
        began = looked = time.monotonic()
        while True:
            done, _ = await asyncio.wait([self._failed], timeout=LOOK_S)
            for failed in done:
                failed.result()
            self._count()
            self._release_memory()
            if time.monotonic() - began > CALM_S:
                await self._work.records.calm_down()
            if self._work.troubles.off() and time.monotonic() - looked > LOOK_AT_LANE_S:
                looked = time.monotonic()
                await self._forget_settled_apart()

    async def end(self) -> None:
        """Pulls nothing more; what is held stays held."""
        self._end_telling()
        self._end_telling = lambda: None
        for task in self._tasks:
            task.cancel()
        await all_ended(list(self._tasks))
        self._lives.clear()
        self._count()

    # ── Arrivals ─────────────────────────────────────────────────────────────────────────────────────────────────

    def arrived(self, message: Message, *, settled: bool) -> bool:
        """The lane has brought a message; whether that is dealt with. settled: it was, before."""
        if not self._work.troubles:
            return False
        subject = self._work.subjects.parse_delivery(message.subject)
        route = f"{subject.tenant}/{subject.route}"
        life = self._lives.get(route)
        if life is not None:
            return life.arrived(message, settled=settled)
        return self._was_settled_apart(route, message)

    def _was_settled_apart(self, route: str, message: Message) -> bool:
        if self._work.troubles.on_lane(route, message.seq) is Word.TAKE:
            return False
        self._work.acks.unseen(message)
        return True

    def held(self, route: str) -> None:
        """One more of the route is held that the lane brought."""
        state = self._work.state
        if crowds(state.loads.get(route)):
            self.leave(route, "backlog")
        if is_crowded(state.by_lane, state.bytes):
            for largest in list(the_largest(state.loads, self._lives.__contains__)):
                self.leave(largest, "backlog")

    def kept(self) -> list[Message]:
        """What is to be kept alive beside what is held."""
        return [message for life in self._lives.values() for message in life.parked]

    def paused_s(self, delivery: DeliveryId) -> float:
        """How long the delivery's route was paused, all in all."""
        if not self._lives:
            return 0.0
        life = self._lives.get(delivery.full_route)
        return life.trouble.paused_s(time.time()) if life is not None and life.trouble is not None else 0.0

    def place(self, item: Item) -> int | None:
        """Where a delivery stands in its keys' order; None: by its own sequence."""
        headers = item.message.headers
        if HEADER_REPLAY not in headers or not self._work.is_blocking(item.id.full_route):
            return None
        return original_seq(headers, item.id.seq)

    def buried(self, item: Item) -> None:
        """Its dead letter is written; it is still to be settled."""
        route, seq = item.id.full_route, item.id.seq
        if not self._work.is_blocking(route):
            return
        life = self._lives.get(route)
        if life is not None and life.blocks.known.is_set() and seq in self._work.state:
            life.blocks.buried(seq, original_seq(item.message.headers, seq))
            return
        self._work.state.stop(route)
        self.leave(route, "block")
        if life is not None:
            life.blocks.unlearn()
            life.news()

    async def fill(self, item: Item) -> None:
        """A delivery that was held by its sequence alone has its turn."""
        jetstream, stream = self._work.jetstream, self._work.subjects.stream("DELIVERIES")
        stored = await persist(self._work.check, lambda: jetstream.message(stream, item.id.seq))
        if stored is not None:  # else its event cannot be read, and it becomes a dead letter
            item.message = item.message.with_payload(stored.payload)
        item.shed = False

    # ── Turns ────────────────────────────────────────────────────────────────────────────────────────────────────

    def settled(self, item: Item) -> None:
        if item.apart and (life := self._lives.get(item.id.full_route)) is not None:
            life.turned(item, None)

    def waits(self, item: Item, until: float) -> None:
        route = item.id.full_route
        if item.apart:
            if (life := self._lives.get(route)) is not None:
                life.turned(item, until)
        elif must_wait_apart(until, time.monotonic()):
            self.leave(route, "retry")

    def closed(self, item: Item) -> None:
        if not item.apart and (why := self._why_closed(self._work.turns.gate(item.id.full_route))):
            self.leave(item.id.full_route, why)

    def turned(self, gate: GateKey) -> None:
        turns = self._work.turns
        if why := self._why_closed(gate):
            for route in [route for route in self._work.state.loads if turns.gate(route) == gate]:
                self.leave(route, why)
        for life in list(self._lives.values()):
            if turns.gate(life.route) == gate:
                life.news()

    def _why_closed(self, gate: GateKey) -> Why | None:
        """Why routes leave that go through there; None: it takes something soon."""
        turns, now = self._work.turns, time.monotonic()
        if turns.breaker(gate) is BreakerState.OPEN:
            return "breaker"
        return "retry" if must_wait_apart(turns.opens_at(gate, now), now) else None

    def paused(self, item: Item) -> None:
        if not item.apart:
            self.leave(item.id.full_route, "paused")

    def _told(self, tenant: str) -> None:
        """The tenant's version or its pauses have changed."""
        state, prefix = self._work.state, f"{tenant}/"
        for route in [route for route in state.loads if route.startswith(prefix)]:
            if route not in self._lives:
                if self._since(route) is not None:
                    self.leave(route, "paused")
                for seq in state.of(route):
                    if state.may_start(seq):
                        self._work.turns.offer(seq)
        for life in [life for route, life in self._lives.items() if route.startswith(prefix)]:
            life.news()

    # ── Leaving and coming back ──────────────────────────────────────────────────────────────────────────────────

    def leave(self, route: str, why: Why) -> None:
        """The route leaves its lane, if it has not yet."""
        if not self._begun:
            self._early[route] = why
            return
        if route in self._lives or not self._has_room(route):
            return
        self._number += 1
        self._live(route, Leaving(why, self._number, self._since(route)))

    def _since(self, route: str) -> float | None:
        tenant, _, name = route.partition("/")
        tenants = self._work.services.tenants
        found = tenants.find(tenant, name)
        pause = tenants.pause_of(found) if found else None
        return pause.since if pause else None

    def _has_room(self, route: str) -> bool:
        full = self._work.records.size > STATE_BYTES
        if full and not self._full:
            log.error("a lane has no room to note another route in trouble; its neighbours wait", route=route)
        self._full = full
        return not full

    def _live(self, route: str, leaving: Leaving | None) -> None:
        life = RouteLife(self._work, route, self._together, self._is_back)
        self._lives[route] = life
        task = asyncio.create_task(life.run(leaving))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _is_back(self, route: str) -> None:
        del self._lives[route]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._count()
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # whether or not somebody still asks

    # ── What is forgotten, what is counted ───────────────────────────────────────────────────────────────────────

    async def _forget_settled_apart(self) -> None:
        """The lane brings none of it any more, not even after a crash of the server."""
        facts = await self._work.records.inspect()
        floor = facts.floor if facts.pending else facts.delivered
        now = time.monotonic()
        for route in self._work.troubles.off():
            trouble = self._work.troubles[route]
            if route in self._lives or trouble is None or not forgettable(trouble, floor):
                self._past.pop(route, None)
            elif now - self._past.setdefault(route, now) > FORGET_S:
                del self._past[route]
                await self._work.records.change(route, None)
                if route not in self._lives and self._work.troubles[route] is trouble:
                    self._work.troubles.take(route, None)

    def _release_memory(self) -> None:
        """Once every consumer that was there at the takeover has come further than we had, nothing old comes any more."""
        if self._awaited:
            lives = self._lives
            self._awaited = {
                route for route in self._awaited if route in lives and lives[route].highest <= self._before
            }
            if not self._awaited:
                self._work.memory.release()

    def _count(self) -> None:
        lives = self._lives.values()
        counted = Counter(life.trouble.why for life in lives if life.trouble and life.trouble.why)
        for why in counted.keys() | self._counted.keys():
            APART.labels(why).inc(counted[why] - self._counted[why])
        backlog = sum(life.behind for life in lives)
        APART_BACKLOG.inc(backlog - self._backlog)
        self._counted, self._backlog = counted, backlog
