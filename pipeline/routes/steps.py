"""Performs the steps of a route's leaving, pulling and coming back (`routes/detach`, `routes/session`, `routes/attach`)."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Generator
from typing import Any, assert_never

from pipeline.delivery.retry_records import persist
from pipeline.lanes.takeover import ConsumerFacts, CreateConsumer, DeleteConsumer
from pipeline.lanes.work import LaneWork
from pipeline.routes import attach as route_attach
from pipeline.routes import detach as route_detach
from pipeline.routes import session as route_session
from pipeline.routes.attach import Drain, Drained, Park, StayApart, TakeBack
from pipeline.routes.blocked_keys import BlockedKeys
from pipeline.routes.crowding import ROUTE_HOLDS
from pipeline.routes.detach import Halt, LetGo, Record, Standing
from pipeline.routes.parked_messages import ParkedMessages
from pipeline.routes.permission import LOOK_S, RoutePermission
from pipeline.routes.pull import RoutePull
from pipeline.routes.session import InspectOwn, ReadOwnDeadLetters, SweepOwn
from pipeline.routes.trouble import Trouble

Step = route_attach.Step | route_detach.Step | route_session.Step


class RouteSteps:
    """Those of one route (`tenant/route`)."""

    def __init__(
        self,
        work: LaneWork,
        route: str,
        may: RoutePermission,
        blocks: BlockedKeys,
        is_back: Callable[[str], None],
    ) -> None:
        """is_back: called when the route is the lane's again."""
        self._work = work
        self._route = route
        self._may = may
        self._blocks = blocks
        self._is_back = is_back
        self.parked = ParkedMessages(work, route)
        self.pull: RoutePull | None = None
        """While a session lasts."""

    @property
    def held(self) -> int:
        """How many of the route are held."""
        load = self._work.state.loads.get(self._route)
        return load.count if load else 0

    async def perform(self, steps: Generator[Any, Any, Any]) -> Any:
        """What the generator returns."""
        answer: Any = None
        try:
            while True:
                answer = await self._answer(steps.send(answer))
        except StopIteration as end:
            return end.value

    def forget(self, held: Collection[int]) -> None:
        """They are held no more, and not settled."""
        self._work.turns.take_back(held)
        for seq in held:
            self._work.state.let_go(seq)
        self._work.turns.on_settled()

    async def _answer(self, step: Step) -> Any:
        match step:
            case Halt() | Record() | LetGo():
                return await self._leaving(step)
            case Park() | Drain() | StayApart() | TakeBack():
                return await self._returning(step)
            case InspectOwn() | CreateConsumer() | SweepOwn() | DeleteConsumer():
                answer = await self._work.records.own.answer(step)
                if isinstance(answer, ConsumerFacts) and self.pull is not None:
                    self.pull.left = answer.waiting
                return answer
            case ReadOwnDeadLetters():
                tenant, _, name = self._route.partition("/")
                letters = self._work.services.dead_letters
                return await persist(self._work.check, lambda: letters.of_route(tenant, name))
            case _:
                assert_never(step)

    async def _leaving(self, step: Halt | Record | LetGo) -> Standing | None:
        work = self._work
        match step:
            case Halt():
                await work.turns.finished(self._route)
                async with work.taking:  # a moment later something may be seen again and not yet held
                    return Standing(work.state.of(self._route), work.state.highest)
            case Record(_, trouble):
                await work.records.change(self._route, trouble)
            case LetGo(_, trouble):
                async with work.taking:  # else it is held afterwards, as if it were the lane's
                    self._let_go(trouble)
        return None

    async def _returning(self, step: Park | Drain | StayApart | TakeBack) -> Drained | None:
        match step:
            case Park():
                self._work.troubles.park(self._route, self._work.state.highest)
            case Drain():
                return await self._drain()
            case StayApart():
                self.parked.drop()
                if self.pull is not None:
                    self.pull.go_on_pulling()
            case TakeBack(_, trouble):
                await self.parked.take_back(trouble, self._is_back)
        return None

    async def _drain(self) -> Drained | None:
        """Settles all that D has brought; None: the route is in trouble again."""
        pull = self.pull
        assert pull is not None
        while True:
            pull.changed.clear()
            pull.check()
            now = time.monotonic()
            trouble = self._blocks or self._may.rests_until(now) is not None or pull.long(now)
            if trouble or len(self.parked) > ROUTE_HOLDS:
                return None
            first_new = self._work.troubles.first_new(self._route)
            if pull.left and (first_new is None or pull.highest < first_new):
                pull.go_on_pulling()
            else:
                pull.stop_pulling()
            if pull.quiet and not self.held:
                return Drained(first_new)
            # that the pulls have expired, nobody tells
            await within(pull.changed, LOOK_S if self.held else 0.05)

    def _let_go(self, trouble: Trouble) -> None:
        work, held = self._work, self._work.state.of(self._route)
        work.troubles.take(self._route, trouble)
        for seq in held:
            work.acks.unseen(work.state[seq].message)
        self.forget(held)


async def within(event: asyncio.Event, seconds: float) -> None:
    """Returns when it is set, or then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
