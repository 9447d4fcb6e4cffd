"""The pulls on a route's own consumer while a session lasts: what comes is held, acknowledged again or unseen (R3, R6).

Memory stays bounded whatever is behind the route: it takes no more than `HOLDS` deliveries or `HOLDS_BYTES`, except what
must come back first, and that is at most `routes/consumers.MAX_ACK_PENDING`. Where the replay of a dead letter is
behind what waits for it, it takes all up to there, by their sequences alone.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from eventbus.errors import EventBusError
from eventbus.message import Message
from eventbus.pull_consumer import PIN_GROUP, PullConsumer, Source
from pipeline.delivery.retry_record import SETTLED_BEFORE, Known
from pipeline.lanes.state import Load, Taken
from pipeline.lanes.takeover import is_poison, suspected
from pipeline.lanes.work import DeliveryMissed, LaneWork
from pipeline.routes.consumers import MAX_ACK_PENDING
from pipeline.routes.crowding import must_wait_apart
from pipeline.routes.session import Session
from pipeline.routes.trouble import Trouble, Word
from pipeline.side_by_side import all_ended

HOLDS = 500
HOLDS_BYTES = 4 * 2**20
WINDOW = 64
QUIET_S = 2.0
PATIENCE_S = 1.0
POISON_DELIVERIES = 3


class NothingCame(Exception):
    """What was pending did not come back: it was settled meanwhile, or somebody else is given it."""


@dataclass(frozen=True, slots=True)
class Begins:
    """How a session begins. careful: what comes back may have ended the last owners."""

    session: Session
    careful: bool


class RoutePull:
    """`async with RoutePull(…) as pull`; what is held when it ends stays held."""

    def __init__(
        self,
        work: LaneWork,
        route: str,
        trouble: Trouble,
        begins: Begins,
        is_probe: Callable[[], bool],
    ) -> None:
        """is_probe: whether one delivery at a time is enough."""
        session = begins.session
        self._careful = begins.careful
        self._back: dict[int, Message] = {}
        """What was pending, undecoded until all of it is back, where one of it may have ended the last owners."""
        self._begun = False
        self._work = work
        self._route = route
        self._trouble = trouble
        self._barrier = session.barrier
        self._expected = session.consumer_seq
        self._is_probe = is_probe
        self._stream = work.subjects.stream("DELIVERIES")
        self._name = work.records.own.name(route, trouble.incarnation)
        source = Source(self._stream, self._name, PIN_GROUP)
        self._consumer = PullConsumer(work.jetstream.connection, source, WINDOW)
        self._limit = MAX_ACK_PENDING
        self._receiving: asyncio.Task[None]
        self._room = asyncio.Event()
        self._paused = False
        self._ceasing = False
        self._taking = False
        self.changed = asyncio.Event()
        """Something happened that may end the session, or bring the route back."""
        self.left = session.left
        """Deliveries behind the last that came, as the server told with it."""
        self.highest = session.barrier.upto
        """Up to there everything has come that is not settled, once it has begun."""
        self.waits: dict[int, float] = {}
        """What is tried again later, and when, on the loop's clock."""
        self.moved = time.monotonic()
        """When a delivery last came or had its turn."""

    async def __aenter__(self) -> Self:
        if self._barrier.passed:
            self._go()
        await self._consumer.start()
        self._receiving = asyncio.create_task(self._receive())
        self._receiving.add_done_callback(lambda _: self.changed.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._receiving.cancel()
        await all_ended([self._receiving])
        await self._consumer.stop()
        if self._consumer.pin is not None:
            with contextlib.suppress(EventBusError):  # or it times out
                await self._work.jetstream.unpin(self._stream, self._name, PIN_GROUP)

    @property
    def begun(self) -> bool:
        """All that was pending has come back."""
        return self._begun

    @property
    def full(self) -> bool:
        """It takes no more until something is settled."""
        load = self._work.state.loads.get(self._route)
        if load is None:
            return False
        return load.count >= self._limit or self._holds(load, 1 if self._is_probe() else HOLDS)

    @staticmethod
    def _holds(load: Load, payloads: int) -> bool:
        return load.count - load.shed >= payloads or load.bytes >= HOLDS_BYTES

    @property
    def quiet(self) -> bool:
        """After `stop_pulling`: nothing is on its way, all that came is taken."""
        return self._paused and self._consumer.quiet

    def check(self) -> None:
        """Raises what ended the pulls: NothingCame, DeliveryMissed, PinLost, ConsumerGone, ConnectionLost."""
        if self._receiving.done():
            self._receiving.result()

    def stop_pulling(self) -> None:
        self._paused, self._consumer.window = True, 0

    async def come_to_more(self) -> None:
        """Where the server gives no more until something is settled, it gives more: what settles it is behind them."""
        load = self._work.state.loads.get(self._route)
        if self._begun and load is not None and load.count >= self._limit:
            self._limit = (load.count // MAX_ACK_PENDING + 1) * MAX_ACK_PENDING
            await self._work.records.own.widen(self._route, self._trouble, self._limit)
            self._room.set()

    async def cease(self) -> None:
        """Pulls no more, and takes what has come."""
        self._ceasing = True
        self._room.set()
        await self._consumer.cease()
        while not self._consumer.quiet or self._taking:
            self.check()
            await asyncio.sleep(0.005)

    def go_on_pulling(self) -> None:
        if self._paused:
            self._paused, self._consumer.window = False, WINDOW

    def turned(self, seq: int, until: float | None) -> None:
        """A delivery's turn is over; until: it is tried again then, on the loop's clock."""
        self.moved = time.monotonic()
        self.waits.pop(seq, None)
        if until is not None:
            self.waits[seq] = until
        self._room.set()
        if self._route not in self._work.state.loads or until is not None:
            self.changed.set()

    def long(self, now: float) -> bool:
        """Whether something must wait longer than a lane waits."""
        return any(must_wait_apart(until, now) for until in self.waits.values())

    def look(self) -> None:
        """Whether there is room may have changed."""
        self._room.set()
        self.changed.set()

    async def _receive(self) -> None:
        while True:
            await self._until_room()
            messages = await self._next()
            self._taking = True
            for message in messages:
                self._expected += 1
                if message.consumer_seq != self._expected:
                    raise DeliveryMissed(
                        f"delivery {message.consumer_seq} of consumer {self._name} came, {self._expected} did not"
                    )
                await self._take(message)
                if not self._begun and self._barrier.passed:
                    await self._begin()
            self._taking = False
            self.left, self.moved = messages[-1].pending, time.monotonic()
            self.changed.set()

    async def _until_room(self) -> None:
        """A slow route goes on taking, but holds no payloads any more: what is not taken would come again and again."""
        patience = asyncio.get_running_loop().time() + PATIENCE_S
        while self._barrier.passed and self.full and not self._ceasing:
            self._room.clear()
            try:
                async with asyncio.timeout_at(patience):
                    await self._room.wait()
            except TimeoutError:
                return

    async def _next(self) -> list[Message]:
        try:
            async with asyncio.timeout(None if self._barrier.passed else QUIET_S):
                return await self._consumer.next()
        except TimeoutError:
            raise NothingCame(f"what was pending on consumer {self._name} did not come") from None

    async def _take(self, message: Message) -> None:
        work, seq = self._work, message.seq
        work.check()
        self._barrier.saw(seq)
        if self._barrier.missed:
            raise DeliveryMissed(f"what was pending on consumer {self._name} does not all come back")
        if work.troubles.on_its_own(self._route, seq) is Word.UNSEEN:
            work.acks.unseen(message)
        else:
            match work.state.known(seq):
                case Taken.SETTLED:
                    await work.hold(message, SETTLED_BEFORE, apart=True)
                case Taken.HELD:
                    tried = seq <= self._barrier.upto or work.state.was_tried(seq)
                    if self._careful and not self._begun:
                        self._back[seq] = message
                        return
                    await work.hold(message, None if tried else Known(), apart=True)
                    self._shed(seq)
                case Taken.KNOWN:
                    pass
        self.highest = max(self.highest, seq)

    def _shed(self, seq: int) -> None:
        """What waits for a person, and what is too much, is held by its sequence alone."""
        state = self._work.state
        if seq in state and (state.is_blocked(seq) or self._holds(state.loads[self._route], HOLDS + 1)):
            state[seq].shed_payload()
            state.shed(seq)

    async def _begin(self) -> None:
        """All that was pending is back."""
        if any(message.delivered >= POISON_DELIVERIES for message in self._back.values()):
            await self._one_at_a_time()
        for seq in sorted(self._back):
            await self._work.hold(self._back.pop(seq), None, apart=True)
        self._go()

    async def _one_at_a_time(self) -> None:
        """One of them may have ended the last owners: its name is written down before it is touched (rule R9)."""
        work = self._work
        async with work.suspecting:
            work.state.go(self._route)
            for seq in sorted(self._back):
                suspect = suspected(work.records.suspected, seq)
                await work.records.suspect(suspect)
                message = self._back.pop(seq)
                if is_poison(suspect):
                    await work.bury(message, suspect.n)
                    if work.is_blocking(self._route):
                        raise DeliveryMissed(f"a dead letter blocks what consumer {self._name} brings")
                else:
                    await work.hold(message, None, apart=True)
                    if seq in work.state and work.state.may_start(seq):
                        await work.turns.had_turn(seq)
            await work.records.suspect(None)

    def _go(self) -> None:
        self._begun = True
        for seq in self._work.state.go(self._route):
            self._work.turns.offer(seq)
        self.changed.set()
