"""A route apart from its lane, from leaving it until it is back (rules R6, R7, R8, R13): one task, mostly asleep.

It waits until its route may send at all, pulls the route's own consumer for a while, waits again, and when nothing is the
matter any more and nothing is left, comes back. What is decided stands in `routes/detach`, `routes/session` and
`routes/attach`; this performs it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

import structlog

from eventbus.message import Message
from eventbus.pull_consumer import ConsumerGone, PinLost, PullRefused
from pipeline.delivery.delivery import Item
from pipeline.lanes.work import DeliveryMissed, LaneWork
from pipeline.routes import attach as route_attach
from pipeline.routes import detach as route_detach
from pipeline.routes.blocked_keys import BlockedKeys
from pipeline.routes.crowding import ROUTE_HOLDS
from pipeline.routes.detach import Leaving
from pipeline.routes.permission import FOREVER, LOOK_S, RoutePermission, Together
from pipeline.routes.pull import Begins, NothingCame, RoutePull
from pipeline.routes.session import Session, begin_session
from pipeline.routes.steps import RouteSteps, within
from pipeline.routes.trouble import Trouble, Word

SLICE_S = 30.0
"""So long one of them goes on while others wait."""
LINGER_S = 5.0
"""So long it goes on pulling with nothing to do."""
NEAR_END = 64
"""So few deliveries may be left when a route begins to come back."""
AGAIN_S = 1.0

log = structlog.get_logger()


class RouteLife:
    def __init__(
        self, work: LaneWork, route: str, together: Together, is_back: Callable[[str], None]
    ) -> None:
        """route: `tenant/route`; is_back: called when it is the lane's again."""
        self._work = work
        self.route = route
        self._tenant, _, self._name = route.partition("/")
        self._together = together
        self._may = RoutePermission(work, route, together)
        self._trouble = work.troubles[route]
        self._since = time.monotonic()
        self._news = asyncio.Event()
        self._wake_at = 0.0
        self._given_back: int | None = None
        """How many deliveries D has pending, because we gave them back; None: not known."""
        self.highest = 0
        """The highest sequence that its own consumer has brought."""
        self.behind = 0
        """Deliveries not settled yet, as far as is known."""
        self.blocks = BlockedKeys(work, route, self.news)
        self._steps = RouteSteps(work, route, self._may, self.blocks, is_back)
        work.state.stop(route)

    @property
    def parked(self) -> Iterable[Message]:
        """What the lane brought while the route was coming back."""
        return self._steps.parked

    @property
    def trouble(self) -> Trouble | None:
        return self._trouble

    # ── What happens around it ───────────────────────────────────────────────────────────────────────────────────

    def arrived(self, message: Message, *, settled: bool) -> bool:
        """The lane has brought a message of the route; whether that is dealt with. settled: it was, before."""
        work, seq = self._work, message.seq
        word = work.troubles.on_lane(self.route, seq)
        if word is Word.TAKE:
            return False
        if word is Word.PARK and not settled:
            self._steps.parked.add(message)
        else:
            work.acks.unseen(message)
        if word is Word.UNSEEN:
            self.behind += 1
            self._news.set()
        else:
            self.news()
        return True

    def news(self) -> None:
        """Something may be different: work has come, a pause or its connection's breaker has changed."""
        self._news.set()
        if self._steps.pull is not None:
            self._steps.pull.look()

    def turned(self, item: Item, until: float | None) -> None:
        """A delivery's turn is over; until: it is tried again then, on the loop's clock."""
        if until is None:
            self.behind = max(0, self.behind - 1)
            self.blocks.settled(item.id.seq)
        if self._steps.pull is not None and item.apart:
            self._steps.pull.turned(item.id.seq, until)

    # ── Its life ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, leaving: Leaving | None) -> None:
        """Returns when the route is back. leaving: None where it had left already. Raises as a lane's work does."""
        if leaving is not None:
            await self._leave(leaving)
        try:
            back = False
            while not back:
                await self._until_it_may_send()
                await self.blocks.learn()
                async with self._together.slots:
                    if self._may.rests_until(time.monotonic()) is None:
                        back = await self._pull_for_a_while()
        finally:
            await self.blocks.end()
        log.info(
            "a route is back in its lane", **self._names, after_s=round(time.monotonic() - self._since, 1)
        )

    async def _leave(self, leaving: Leaving) -> None:
        steps = route_detach.detach(self.route, leaving, self._work.troubles[self.route])
        trouble: Trouble = await self._steps.perform(steps)
        self._trouble = trouble
        self.behind += len(trouble.todo)
        log.warning(
            "a route leaves its lane",
            **self._names,
            why=leaving.why,
            todo=len(trouble.todo),
            incarnation=trouble.incarnation,
        )

    @property
    def _names(self) -> dict[str, str]:
        return {"tenant": self._tenant, "route": self._name}

    async def _until_it_may_send(self) -> None:
        while True:
            if self._news.is_set():  # perhaps while a session ended, after it was decided how long to wait
                self._wake_at = 0.0
            self._news.clear()
            await self._note_pause()
            now = time.monotonic()
            until = self._may.rests_until(now)
            if until is None and self._wake_at <= now:
                return
            wait = max(until or 0.0, self._wake_at) - now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if wait == FOREVER else wait):
                    await self._news.wait()
            self._wake_at = 0.0

    async def _note_pause(self) -> None:
        """The deadline stands still while it is paused (rule R13)."""
        trouble, pause = self._trouble, self._may.pause()
        assert trouble is not None
        changed = trouble.paused(pause.since if pause else None, time.time())
        if changed is trouble or changed == trouble:
            return
        await self._work.records.change(self.route, changed)
        self._work.troubles.take(self.route, changed)
        self._trouble = changed
        log.info("a route is paused" if pause else "a route goes on", **self._names)

    # ── A session ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _pull_for_a_while(self) -> bool:
        """Whether the route is back."""
        assert self._trouble is not None
        with self._may.probing():
            try:
                return await self._session(self._trouble)
            except (NothingCame, DeliveryMissed, PinLost, ConsumerGone, PullRefused) as error:
                # a lost connection ends the lane as well
                log.warning("a route's own consumer is swept again", **self._names, because=str(error))
                self._wake_at = time.monotonic() + AGAIN_S
                self._steps.parked.drop()  # it was coming back, perhaps
                await self._give_back()
                return False

    async def _session(self, trouble: Trouble) -> bool:
        work = self._work
        steps = begin_session(self.route, trouble, self._given_back)
        self._given_back = None
        session: Session = await self._steps.perform(steps)
        for seq in session.dead:
            work.memory.add(seq, time.monotonic())
        begins = Begins(session, careful=self.route in self._together.careful)
        async with RoutePull(work, self.route, trouble, begins, self._may.is_probe) as pull:
            self._steps.pull = pull
            try:
                back = await self._until_it_rests(pull)
                if not back:
                    await pull.cease()
            finally:
                self._steps.pull = None
        if not back:
            self._given_back = await self._give_back()
        return back

    async def _until_it_rests(self, pull: RoutePull) -> bool:
        """Whether the route is back."""
        began = time.monotonic()
        while True:
            pull.changed.clear()
            pull.check()
            now = time.monotonic()
            if self._news.is_set():
                self._news.clear()
                if not pull.full:  # its own consumer is still to bring it
                    pull.moved = now
            self.highest = max(self.highest, pull.highest)
            self.blocks.check()
            if pull.begun:
                self._together.careful.discard(self.route)
                self.blocks.settled_up_to(pull.highest)
                self.behind = pull.left + self._steps.held
                if self.blocks.awaits_copy:
                    await pull.come_to_more()
            until = self._may.rests_until(now)
            if until is None and self._must_yield(now - began):
                until = now
            until = self._idle_until(pull, now) if until is None else until
            if until is not None:
                self._wake_at = until
                return False
            if self._may_come_back(pull, now) and await self._come_back():
                return True
            await within(pull.changed, LOOK_S)

    def _must_yield(self, pulled_s: float) -> bool:
        """Others wait for its place, or there is something to be learned first."""
        return (pulled_s > SLICE_S and self._together.slots.locked()) or self.blocks.must_learn

    async def _come_back(self) -> bool:
        assert self._trouble is not None
        return await self._steps.perform(route_attach.attach(self.route, self._trouble)) is not None

    def _idle_until(self, pull: RoutePull, now: float) -> float | None:
        """Until when all that it has must wait, long enough to let go of it meanwhile; None: it goes on."""
        state = self._work.state
        if not pull.begun or now - pull.moved < LINGER_S or state.at_work(self.route):
            return None
        if any(state.may_start(seq) and seq not in pull.waits for seq in state.of(self.route)):
            return None
        if pull.left and not pull.full:
            return now  # what does not come is looked at anew: it may be gone
        until = min(pull.waits.values(), default=FOREVER)
        return until if until > now + LINGER_S else None

    def _may_come_back(self, pull: RoutePull, now: float) -> bool:
        """Nothing is the matter any more, and hardly anything is left (rule R7)."""
        if self.blocks or not pull.begun or pull.left > NEAR_END or self._steps.held > ROUTE_HOLDS:
            return False
        if self._may.is_probe() and (self._steps.held or pull.left):
            return False
        return self._may.rests_until(now) is None and not pull.long(now)

    async def _give_back(self) -> int | None:
        """What is held goes back to D, in order; how many, None where something of it was given up."""
        work = self._work
        work.state.stop(self.route)
        whole = await work.turns.finished(self.route)
        work.check()
        held = work.state.of(self.route)
        await work.services.settling.nak([work.state[seq].message for seq in held])
        self._steps.forget(held)
        return len(held) if whole else None
