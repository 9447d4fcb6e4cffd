"""A lane's owner: lease, takeover, then message by message until the lane is lost or handed over (rules R2 to R5, R9).

What is held and may go is decided in `lanes/state`; here arrivals are taken in, kept alive, and in the end given back.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from eventbus.buckets import Bucket
from eventbus.errors import ConnectionLost, EventBusError
from eventbus.jetstream import JetStream
from eventbus.message import Message
from eventbus.pull_consumer import PIN_GROUP, PullConsumer, Source, pinned_consumer
from eventbus.subjects import Subjects
from pipeline.delivery.acks import Acks, AcksEnded
from pipeline.delivery.delivery import Delivery, Item, LaneHooks, Services, delivery_id, render_input
from pipeline.delivery.retry_record import SETTLED_BEFORE, Known
from pipeline.lanes.board import LaneBoard
from pipeline.lanes.lane_lease import LaneLease, LeaseLost, acquire
from pipeline.lanes.ordering import Line
from pipeline.lanes.ordering_keys import OrderingKeys
from pipeline.lanes.records import LaneRecords
from pipeline.lanes.routes import LaneRoutes
from pipeline.lanes.settled_memory import SettledMemory
from pipeline.lanes.state import LaneState, Taken
from pipeline.lanes.takeover import TakenOver, is_poison, suspected
from pipeline.lanes.turns import LaneTurns
from pipeline.lanes.work import DeliveryMissed, LaneWork
from pipeline.metrics import TAKEOVERS
from pipeline.routes.trouble import RoutesInTrouble
from pipeline.side_by_side import side_by_side

MAX_ACK_PENDING = 10_000
WINDOW = 512
MAX_BYTES = 32 * 2**20
"""Payloads that a lane holds; beyond, it takes no more until some are settled."""
KEEP_ALIVE_S = 20.0
QUIET_S = 1.0
AGAIN_S = 0.5
POISON_DELIVERIES = 3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Lane:
    """Which lane, of how many; me: this process, unlike any other."""

    number: int
    lanes: int
    subjects: Subjects
    me: str


async def own_lane(
    jetstream: JetStream, lane: Lane, services: Services, memory: SettledMemory, board: LaneBoard
) -> None:
    """Owns the lane whenever it is for us and nobody else does, until this worker stops. Raises ConnectionLost.

    memory: what this process has settled in the lane so far, on earlier connections too.
    """
    bucket = Bucket(jetstream, lane.subjects.bucket("LANES"))
    while (lease := await acquire(bucket, board, lane.number, lane.me)) is not None:
        began_again = False
        try:
            with board.owning(lane.number):
                await Ownership(jetstream, lane, services, memory, lease).run(board)
        except ConnectionLost:
            raise
        except (LeaseLost, AcksEnded, DeliveryMissed, EventBusError) as error:
            log.warning("a lane's owner begins again", lane=lane.number, because=str(error))
            began_again = True
        await lease.release()
        if began_again and not board.stopping:
            await asyncio.sleep(AGAIN_S)


class Ownership:
    """One lane, from taking it over to losing it."""

    def __init__(
        self, jetstream: JetStream, lane: Lane, services: Services, memory: SettledMemory, lease: LaneLease
    ) -> None:
        self._jetstream = jetstream
        self._lane = lane
        self._services = services
        self._memory = memory
        self._lease = lease
        self._stream = lane.subjects.stream("DELIVERIES")
        self._name = f"lane-{lane.number}"
        self._records = LaneRecords(jetstream, lane.subjects, lane.number, lane.lanes, lease)
        self._consumer = PullConsumer(
            jetstream.connection, Source(self._stream, self._name, PIN_GROUP), WINDOW
        )
        self._acks = Acks(services.settling, lease.check)
        self._back: dict[int, Message] = {}
        """What the last owner left, undecoded until the barrier is passed: one of them may have ended it."""
        self._taking = asyncio.Lock()
        self._freed = asyncio.Event()
        self._leaving = False

    async def run(self, board: LaneBoard) -> None:
        """Returns when the lane is left in order, as the board says. Raises what ended it otherwise."""
        await side_by_side(self._lease.keep(), self._own(board))

    def _over(self, seq: int) -> None:
        self._memory.add(seq, time.monotonic())
        self._turns.over(seq)

    async def _own(self, board: LaneBoard) -> None:
        taken = await self._take_over()
        self._compose(taken)
        self._tell(taken)
        try:
            await self._consumer.start()
            await side_by_side(
                self._receive(taken),
                self._acks.run(),
                self._keep_alive(),
                self._turns.failure(),
                self._routes.run(),
                self._leave(board),
            )
        finally:
            self._lease.give_up()
            await self._consumer.stop()
            await self._routes.end()
            await self._turns.end()
        # nothing of ours acts any more, and until the lease is released nobody else pulls: the pin is ours or nobody's,
        # perhaps by a message that did not reach us
        await self._jetstream.unpin(self._stream, self._name, PIN_GROUP)
        await self._lease.release()

    async def _take_over(self) -> TakenOver:
        subject = self._lane.subjects.lane(self._lane.number)
        config = pinned_consumer(self._name, subject, max_ack_pending=MAX_ACK_PENDING)
        await self._jetstream.create_consumer(self._stream, config)
        taken = await self._records.take_over(self._lane.me, time.time())
        for seq in taken.dead:
            self._memory.add(seq, time.monotonic())
        return taken

    def _compose(self, taken: TakenOver) -> None:
        """What a lane's parts know of one another."""
        self._state: LaneState[Item] = LaneState(taken.barrier, self._memory)
        self._turns = LaneTurns(self._state, self._services.tenants)
        self._routes = LaneRoutes(self._work(taken), taken.state)
        hooks = LaneHooks(
            check=self._lease.check,
            sent=self._turns.sent,
            over=self._over,
            stands=self._turns.stands,
            paused_s=self._routes.paused_s,
            buried=self._routes.buried,
        )
        self._delivery = Delivery(self._services, self._acks, hooks)
        self._orderings = OrderingKeys(self._services.tenants, self._delivery.event_of, self._lease.check)
        self._turns.begin(self._delivery, self._routes)
        self._turns.on_settled = self._freed.set

    def _tell(self, taken: TakenOver) -> None:
        before = self._lease.before
        TAKEOVERS.labels(
            "crash" if taken.crashed else "release" if before and before.released else "start"
        ).inc()
        # sixteen of them begin and end in silence; one that was left with work is news
        say = log.info if taken.barrier.pending else log.debug
        say(
            "lane taken over",
            lane=self._lane.number,
            epoch=taken.state.epoch,
            left_by_last_owner=taken.barrier.pending,
        )

    def _work(self, taken: TakenOver) -> LaneWork:
        return LaneWork(
            jetstream=self._jetstream,
            subjects=self._lane.subjects,
            services=self._services,
            state=self._state,
            memory=self._memory,
            turns=self._turns,
            acks=self._acks,
            records=self._records,
            troubles=RoutesInTrouble(taken.state.routes),
            hold=self._hold,
            lines_of=self._lines_of,
            taking=self._taking,
            suspecting=asyncio.Lock(),
            bury=self._bury,
            check=self._lease.check,
        )

    # ── Arrivals ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _receive(self, taken: TakenOver) -> None:
        expected = taken.consumer_seq
        begun = False
        while True:
            if not begun and self._state.barrier.passed:  # at once, where nothing was left
                begun = True
                await self._begin(taken)
            for message in await self._next():
                expected += 1
                if message.consumer_seq != expected:
                    raise DeliveryMissed(
                        f"delivery {message.consumer_seq} of consumer {self._name} came, {expected} did not"
                    )
                await self._take(message, held_back=not begun)

    async def _next(self) -> list[Message]:
        """What has come, at least one."""
        barrier = self._state.barrier
        while self._state.bytes > MAX_BYTES and not self._leaving:
            self._freed.clear()
            await self._freed.wait()
        while True:
            try:
                async with asyncio.timeout(None if barrier.passed else QUIET_S):
                    return await self._consumer.next()
            except TimeoutError:
                # what another's pin keeps from us looks like nothing
                if self._consumer.pin is not None and await self._consumer.empty():
                    barrier.nothing_left()
                    self._check_barrier()

    async def _take(self, message: Message, *, held_back: bool) -> None:
        self._lease.check()
        if not self._is_delivery(message):
            await self._services.settling.terminate(message, "not a delivery of ours")
            return
        async with self._taking:
            await self._take_delivery(message, held_back=held_back)

    async def _take_delivery(self, message: Message, *, held_back: bool) -> None:
        seen = self._state.seen(message.seq)
        self._check_barrier()
        if not held_back and self._routes.arrived(message, settled=seen is Taken.SETTLED):
            return
        match seen:
            case Taken.KNOWN:
                pass
            case _ if held_back:
                self._back[message.seq] = message
            case Taken.SETTLED:
                await self._hold(message, SETTLED_BEFORE)
            case Taken.HELD:
                await self._hold(message, Known())

    def _check_barrier(self) -> None:
        if self._state.barrier.missed:
            raise DeliveryMissed(f"what was pending on consumer {self._name} does not all come back")

    def _is_delivery(self, message: Message) -> bool:
        try:
            self._lane.subjects.parse_delivery(message.subject)
        except ValueError as error:
            log.error("somebody published what is no delivery", seq=message.seq, error=str(error))  # noqa: TRY400
            self._state.seen(message.seq)
            return False
        return True

    async def _begin(self, taken: TakenOver) -> None:
        """All that the last owner left is back: now it may go, in order (rule R4)."""
        often = any(message.delivered >= POISON_DELIVERIES for message in self._back.values())
        alone = False
        self._routes.prepare()
        for seq in sorted(self._back):
            if self._routes.arrived(self._back[seq], settled=False):
                del self._back[seq]
                continue
            # what is new was never tried; of what came back the record tells
            known = Known() if seq > taken.barrier.upto else None
            if seq in self._memory:
                known = SETTLED_BEFORE
            if taken.crashed and often and known is None:
                alone = True
                await self._handle_alone(seq)
            else:
                await self._hold(self._back.pop(seq), known)
        self._routes.begin()
        self._turns.together()
        # else it may be one that came apart, whose turn is still to come
        if alone or (taken.state.suspect is not None and not self._routes.careful):
            await self._records.suspect(None)

    async def _handle_alone(self, seq: int) -> None:
        """One of them may have ended the last owners: its name is written down before it is touched (rule R9)."""
        suspect = suspected(self._records.suspected, seq)
        await self._records.suspect(suspect)
        message = self._back.pop(seq)
        if is_poison(suspect):
            await self._bury(message, suspect.n)
        else:
            await self._hold(message, None, offer=False)
            await self._turns.alone(seq)

    async def _bury(self, message: Message, crashes: int) -> None:
        await self._delivery.crashed(self._item(message, None), crashes)
        self._memory.add(message.seq, time.monotonic())

    async def _hold(
        self, message: Message, known: Known | None, *, offer: bool = True, apart: bool = False
    ) -> None:
        item = self._item(message, known)
        item.apart = apart
        seq, place = message.seq, self._routes.place(item)
        lines = await self._lines(item)
        self._state.hold(seq, item, lines, len(message.payload), apart=apart, place=place)
        if not apart:
            self._routes.held(lines[0][0])
        if offer and self._state.may_start(seq):
            self._turns.offer(seq)

    def _item(self, message: Message, known: Known | None) -> Item:
        return Item(message, delivery_id(message, self._lane.subjects.parse_delivery(message.subject)), known)

    async def _lines(self, item: Item) -> tuple[Line, ...]:
        given = partial(render_input, item)
        return await self._orderings.lines(item.message, item.id.tenant, item.id.route, given)

    async def _lines_of(self, event: dict[str, Any], route: str) -> tuple[Line, ...]:
        return await self._orderings.of_letter(event, route)

    # ── While we have it, and leaving ────────────────────────────────────────────────────────────────────────────

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            self._lease.check()
            held = [item.message for _, item in self._state.held()]
            held += [*self._back.values(), *self._routes.kept()]
            await self._services.settling.progress(held)
            self._state.forget_old(time.monotonic())

    async def _leave(self, board: LaneBoard) -> None:
        """An orderly end: what is under way ends, the rest is given back, the next owner need not wait."""
        await board.until_left(self._lane.number)
        await board.patiently(self._turns.settle_down())
        await self._turns.end(cut=True)
        await self._routes.end()
        await self._consumer.cease()
        self._leaving = True
        self._freed.set()  # what has come is taken, to be given back
        while not self._consumer.quiet:  # noqa: ASYNC110 — it takes no time, and nobody tells
            await asyncio.sleep(0.005)
        self._lease.check()
        rest = {seq: item.message for seq, item in self._state.held()} | self._back
        await self._services.settling.nak([rest[seq] for seq in sorted(rest)])
        say = log.info if rest or not board.stopping else log.debug
        say("lane released", lane=self._lane.number, given_back=len(rest))
