"""A lane's turns: what may go is offered to its connection, sent when that lets it, settled or tried again later."""

import asyncio
import time
from collections.abc import Callable, Collection

from connectors.protocol import Outcome, Throttled, Unavailable, Uncertain
from pipeline.delivery.breaker import BreakerState
from pipeline.delivery.delivery import Delivery, Item
from pipeline.delivery.dispatch import Dispatch, GateKey, GateSettings
from pipeline.delivery.turn import Waiting
from pipeline.delivery.turn_watch import Watch
from pipeline.lanes.state import LaneState
from pipeline.side_by_side import all_ended
from pipeline.tenants.in_force import NotReady, TenantsInForce
from pipeline.tenants.model import BreakerPolicy, RetryPolicy

NO_CONNECTION = GateSettings(concurrency=16, breaker=BreakerPolicy())
"""For deliveries whose route is not there: they are looked up again, or become dead letters."""

NOT_READY_S = 2.0
"""So long a route rests that cannot deliver yet; then one of its deliveries tries."""


SLOW_S = 0.25
"""A turn under way for so long keeps others waiting when its lane is left."""
DRAIN_S = 1.0


class LaneTurns:
    """Ties `LaneState` (order) and `Dispatch` (connections) to the performing of turns."""

    def __init__(self, state: LaneState[Item], tenants: TenantsInForce) -> None:
        self._state = state
        self._tenants = tenants
        self._dispatch = Dispatch()
        self._delivery: Delivery
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._began: dict[int, float] = {}
        self._ebbing: set[str] = set()
        """Tenants of whom nothing new is begun, for something of theirs takes long and the lane is to be left."""
        self._alone: int | None = None
        self._later: list[int] = []
        self._resting: dict[tuple[str, str], float] = {}
        """Routes (tenant, route) that cannot deliver yet, and until when they rest: others of the connection go on."""
        self._standing: dict[int, tuple[str, str]] = {}
        """Whose dead letters find no room, and their routes, of which nothing else is sent."""
        self._ended = False
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.on_settled: Callable[[], None] = lambda: None
        self._watch: Watch

    def begin(self, delivery: Delivery, watch: Watch) -> None:
        self._delivery, self._watch = delivery, watch

    def offer(self, seq: int) -> None:
        """It may go, as far as order is concerned."""
        if self._alone is not None and seq != self._alone:
            self._later.append(seq)
            return
        if self._rests(seq):
            self._pump_soon()
            return
        item = self._state[seq]
        found = self._tenants.find(item.id.tenant, item.id.route)
        key: GateKey = (item.id.tenant, found.connection.name if found else "")
        settings = NO_CONNECTION
        if found is not None:
            if self._tenants.pause_of(found) is not None:
                self._watch.paused(item)
                return
            connection = found.connection
            settings = GateSettings(connection.concurrency, connection.breaker, connection.rate_limit)
        self._dispatch.offer(seq, key, settings)
        now = time.monotonic()
        if self._dispatch.opens_at(key, now) > now:
            self._watch.closed(item)
        self._pump_soon()

    async def alone(self, seq: int) -> None:
        """Offers only this one, and returns when its turns are over, or its connection does not let it go now."""
        self._alone = seq
        if self._state.may_start(seq):
            self.offer(seq)
            self._pump()
        while (task := self._tasks.get(seq)) is not None:
            await asyncio.wait([task])
            if seq in self._state and self._state[seq].progress.goes_on:
                self._pump()  # its next request

    def together(self) -> None:
        """Ends `alone`: what has waited for it may go."""
        self._alone, later, self._later = None, self._later, []
        for seq in later:
            if self._state.may_start(seq):
                self.offer(seq)
        self._pump_soon()

    def sent(self, seq: int, outcome: Outcome | NotReady | None) -> None:
        """The connection is free again, if it is not yet; its breaker learns what came of it."""
        breaker = self._dispatch.breaker_of(seq)
        if breaker is None:
            return
        before = breaker.state
        match outcome:
            case None:
                breaker.abandoned()
            case NotReady():
                breaker.abandoned()
                self._rest(seq)
            case Unavailable(after=after):
                breaker.failed(time.monotonic(), after)
            case Uncertain():
                breaker.failed(time.monotonic())
            case Throttled(after=after):
                breaker.answered(time.monotonic())
                self._dispatch.throttled(seq, time.monotonic(), after, self._longest_wait(seq))
            case _:
                breaker.answered(time.monotonic())
        if not isinstance(outcome, NotReady):
            self._resting.pop(self._route_of(seq), None)
        self._dispatch.sent(seq)
        if breaker.state is not before or isinstance(outcome, Throttled):
            self._watch.turned(self.gate(self._state[seq].id.full_route))
        self._pump_soon()

    def stands(self, seq: int) -> None:
        """Its dead letter finds no room: nothing else of its route is sent, until `over`."""
        if seq in self._state:  # else it is not looked at, and nothing goes meanwhile
            self._standing[seq] = self._route_of(seq)

    def over(self, seq: int) -> None:
        """The ERP has it, or its dead letter is written."""
        self._standing.pop(seq, None)

    def _route_of(self, seq: int) -> tuple[str, str]:
        delivery = self._state[seq].id
        return delivery.tenant, delivery.route

    def _longest_wait(self, seq: int) -> float:
        """Seconds: what its route allows for a Retry-After."""
        delivery = self._state[seq].id
        found = self._tenants.find(delivery.tenant, delivery.route)
        return (found.route.retry if found else RetryPolicy()).max_s

    def _rest(self, seq: int) -> None:
        route, until = self._route_of(seq), time.monotonic() + NOT_READY_S
        self._resting[route] = until
        for other in self._dispatch.withdraw(seq, lambda each: self._route_of(each) == route):
            self._dispatch.delay(other, until)

    def _rests(self, seq: int) -> bool:
        """Whether its route rests, and it with it; the first one after that time tries for all."""
        route, now = self._route_of(seq), time.monotonic()
        until = self._resting.get(route)
        if until is None:
            return False
        if until <= now:
            self._resting[route] = now + NOT_READY_S
            return False
        self._dispatch.delay(seq, until)
        return True

    async def settle_down(self) -> None:
        """Before the lane is left: returns when nothing is under way, and begins nothing more.

        What takes long is waited for while the others go on; only then all stands, for the moment that the rest takes.
        """
        while True:
            await self._ebb()
            self._ended = True
            if not self._tasks:
                return
            await asyncio.wait(self._tasks.values(), timeout=DRAIN_S)
            if not self._tasks:
                return
            self._ended = False
            self._pump_soon()

    async def _ebb(self) -> None:
        while slow := {seq for seq, began in self._began.items() if time.monotonic() - began > SLOW_S}:
            self._ebbing |= {self._route_of(seq)[0] for seq in slow}
            await asyncio.wait([self._tasks[seq] for seq in slow])

    async def end(self, *, cut: bool = False) -> None:
        """Starts nothing more, and waits for what is under way: a request cannot be unsent.

        cut: it is not waited for. What was sent and not answered is unknown then, as after a crash.
        """
        self._ended = True
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        tasks = list(self._tasks.values())
        if cut:
            for task in tasks:
                task.cancel()
        await all_ended(tasks)

    # ── Routes as a whole ────────────────────────────────────────────────────────────────────────────────────────

    async def finished(self, route: str) -> bool:
        """Returns when nothing of a stopped route is under way.

        What only waits for room in `DLQ` is given up; False: something was.
        """
        names, whole = tuple(route.split("/")), True
        while tasks := [task for seq, task in self._tasks.items() if self._route_of(seq) == names]:
            for seq in [seq for seq, standing in self._standing.items() if standing == names]:
                self._tasks[seq].cancel()
                whole = False
            await asyncio.wait(tasks, timeout=NOT_READY_S)
        return whole

    async def had_turn(self, seq: int) -> None:
        """Returns when what was offered has had a turn; at once where its connection does not let it go now."""
        self._pump()
        if (task := self._tasks.get(seq)) is not None:
            await asyncio.wait([task])

    def take_back(self, seqs: Collection[int]) -> None:
        """They are no longer held."""
        self._dispatch.take_back(seqs)

    def gate(self, route: str) -> GateKey:
        """The connection that the route (`tenant/route`) goes through now."""
        tenant, _, name = route.partition("/")
        found = self._tenants.find(tenant, name)
        return tenant, found.connection.name if found else ""

    def breaker(self, gate: GateKey) -> BreakerState | None:
        return self._dispatch.breaker_at(gate)

    def opens_at(self, gate: GateKey, now: float) -> float:
        return self._dispatch.opens_at(gate, now)

    async def failure(self) -> None:
        """Raises what ended a turn that should not have ended."""
        await asyncio.wait([self._failed])
        self._failed.result()

    def _pump_soon(self) -> None:
        if self._soon is None and not self._ended:
            self._soon = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._ended:
            return
        try:
            self._start_admitted(time.monotonic())
        except Exception as error:  # noqa: BLE001 — called by the loop, which would only log it: the lane would stand
            self._fail(error)

    def _start_admitted(self, now: float) -> None:
        for seq in self._dispatch.due(now):
            if self._state.may_start(seq):
                self.offer(seq)
        for seq in self._dispatch.admitted(now):
            if self._state.may_start(seq) and not self._is_held_up(*self._route_of(seq)):
                self._start(seq)
                continue
            standing = self._state.may_start(seq)  # else an older one of its key came back meanwhile
            self.sent(seq, None)
            if standing:
                self._dispatch.delay(seq, now + NOT_READY_S)
        self._set_timer(now)

    def _is_held_up(self, tenant: str, route: str) -> bool:
        return tenant in self._ebbing or (tenant, route) in self._standing.values()

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self._dispatch.wake
        if wake is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, wake - now), self._pump)

    def _start(self, seq: int) -> None:
        self._state.start(seq)
        self._began[seq] = time.monotonic()
        self._tasks[seq] = asyncio.create_task(self._turn(seq))

    async def _turn(self, seq: int) -> None:
        item = self._state[seq]
        shed = item.shed
        try:
            if shed:
                await self._watch.fill(item)
            ending = await self._delivery.turn(item)
        except asyncio.CancelledError:
            self._given_up(seq)
            raise
        except Exception as error:  # noqa: BLE001 — whatever it is, the lane begins anew and says so
            self._fail(error)
            return
        finally:
            del self._tasks[seq], self._began[seq]
            self.sent(seq, None)
        if isinstance(ending, Waiting):
            if shed:
                item.shed_payload()
            ready = self._wait(seq, ending)
        else:
            ready = self._state.settle(seq, time.monotonic())
            self.on_settled()
            self._watch.settled(item)
        for other in ready:
            self.offer(other)

    def _given_up(self, seq: int) -> None:
        """Its turn was cancelled before anything of it was settled: it is still to be done."""
        self._standing.pop(seq, None)
        self._state[seq].known = None
        self._state.pause(seq)

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # whether or not somebody still asks

    def _wait(self, seq: int, ending: Waiting) -> list[int]:
        item = self._state[seq]
        item.known, item.held = ending.known, ending.held
        ready = self._state.pause(seq)
        until = time.monotonic() + max(0.0, ending.due - time.time())
        self._dispatch.delay(seq, until)
        self._watch.waits(item, until)
        self._pump_soon()
        return [other for other in ready if other != seq]
