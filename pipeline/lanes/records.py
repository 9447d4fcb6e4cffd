"""Performs a takeover (`pipeline.lanes.takeover`): the lane's state, its consumer, its dead letters (rule R3)."""

import asyncio
from typing import Any, assert_never

import msgspec

from eventbus.buckets import Bucket, RevisionConflict
from eventbus.errors import JetStreamError, NoAnswer
from eventbus.jetstream import CONSUMER_NOT_FOUND, JetStream
from eventbus.message import ack_subject
from eventbus.settling import Settling
from eventbus.subjects import Subjects
from pipeline.delivery.retry_records import persist
from pipeline.dlq.store import DeadLetterStore
from pipeline.lanes.lane_lease import LaneLease, LeaseLost
from pipeline.lanes.takeover import (
    ConsumerFacts,
    CreateConsumer,
    DeleteConsumer,
    Inspect,
    ListConsumers,
    ReadDeadLetters,
    ReadState,
    Request,
    State,
    Suspect,
    Sweep,
    TakenOver,
    WriteState,
    take_over,
)
from pipeline.routes.consumers import RouteConsumers, consumer_facts
from pipeline.routes.trouble import Trouble

_decoder = msgspec.json.Decoder(State)


class LaneRecords:
    """One lane's records, read and written under one lease."""

    def __init__(
        self, jetstream: JetStream, subjects: Subjects, lane: int, lanes: int, lease: LaneLease
    ) -> None:
        self._jetstream = jetstream
        self._settling = Settling(jetstream.connection)
        self._dead_letters = DeadLetterStore(jetstream, subjects)
        self._bucket = Bucket(jetstream, subjects.bucket("LANES"))
        self._stream, self._consumer = subjects.stream("DELIVERIES"), f"lane-{lane}"
        self._lane, self._lanes = lane, lanes
        self._lease = lease
        self._revision = 0
        self.buried_lately: set[str] = set()
        """Routes of which there was a dead letter shortly before the takeover."""
        self._state = State()
        self.suspected: Suspect | None = None
        """What the last owner handled alone when it ended."""
        self._changes: dict[str, Trouble | None] = {}
        self._writing = asyncio.Lock()
        self._broken = False
        self.own = RouteConsumers(jetstream, subjects, lane, lanes, lease.check)

    async def take_over(self, me: str, now: float) -> TakenOver:
        """now: seconds since the epoch. Raises LeaseLost, ConnectionLost, JetStreamError."""
        steps = take_over(self._lease.before, me, now)
        answer: Any = None
        try:
            while True:
                request = steps.send(answer)
                answer = await self._answer(request)
        except StopIteration as end:
            taken: TakenOver = end.value
            self._revision, self._state = taken.revision, taken.state
            self.suspected = taken.state.suspect
            return taken

    @property
    def size(self) -> int:
        """Bytes that the lane's state takes."""
        return len(msgspec.json.encode(self._state))

    async def inspect(self) -> ConsumerFacts:
        """The lane's consumer, as the server has it."""
        return await persist(self._lease.check, self._inspect)

    async def suspect(self, suspect: Suspect | None) -> None:
        """Writes down what is handled alone. Raises LeaseLost where a successor has written."""
        async with self._writing:
            await self._store(msgspec.structs.replace(self._state, suspect=suspect))

    async def calm_down(self) -> None:
        """We have owned the lane for long: what ended the owners before us does not end us."""
        async with self._writing:
            if self._state.crashes:
                await self._store(msgspec.structs.replace(self._state, crashes=0))

    async def change(self, route: str, trouble: Trouble | None) -> None:
        """Writes down what is to be known of a route, many at once. Raises LeaseLost where a successor has written."""
        self._changes[route] = trouble
        async with self._writing:
            if self._broken:
                raise LeaseLost(f"the state of lane {self._lane} could not be written")
            if not self._changes:
                return  # another one has written it with its own
            changes, self._changes = self._changes, {}
            kept = {name: it for name, it in self._state.routes.items() if name not in changes}
            routes = kept | {name: it for name, it in changes.items() if it is not None}
            self._broken = True
            await self._store(msgspec.structs.replace(self._state, routes=routes))
            self._broken = False

    async def _store(self, state: State) -> None:
        revision = await self._write(state, self._revision)
        while revision is None:
            held, revision = await self._read()
            if held.epoch != state.epoch:
                raise LeaseLost(f"lane {self._lane} has a new owner: its epoch is {held.epoch}")
            if held != state:
                revision = await self._write(state, revision)
        self._revision, self._state = revision, state

    async def _answer(self, request: Request) -> Any:
        match request:
            case ReadState():
                return await self._read()
            case WriteState(state, expected):
                return await self._write(state, expected)
            case Inspect():
                return await self.inspect()
            case Sweep():
                return await persist(self._lease.check, lambda: self._sweep(request))
            case ReadDeadLetters(since):
                return await self._read_dead_letters(since)
            case CreateConsumer() | ListConsumers() | DeleteConsumer():
                return await self.own.answer_at_takeover(request)
            case _:
                assert_never(request)

    async def _read_dead_letters(self, since: float) -> list[int]:
        letters = self._dead_letters
        found = await persist(self._lease.check, lambda: letters.of_lane(self._lane, self._lanes, since))
        self.buried_lately = {route for route, _ in found}
        return [seq for _, seq in found]

    async def _read(self) -> tuple[State, int]:
        entry = await persist(self._lease.check, lambda: self._bucket.get(f"state.{self._lane}"))
        if entry is None or entry.value is None:
            return State(), entry.revision if entry else 0
        return _decoder.decode(entry.value), entry.revision

    async def _write(self, state: State, expected: int) -> int | None:
        self._lease.check()
        try:
            return await self._bucket.update(f"state.{self._lane}", msgspec.json.encode(state), expected)
        except (RevisionConflict, NoAnswer):
            return None

    async def _inspect(self) -> ConsumerFacts:
        info = await self._jetstream.consumer_info(self._stream, self._consumer)
        if info is None:
            raise JetStreamError(self._consumer, 404, CONSUMER_NOT_FOUND, "somebody deleted the consumer")
        return consumer_facts(info)

    async def _sweep(self, sweep: Sweep) -> None:
        sample = ack_subject(self._stream, self._consumer)  # no message need have come yet
        await self._settling.sweep(sample, sweep.first, sweep.last, sweep.consumer_seq)
