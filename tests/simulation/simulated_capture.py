"""One capture process of the simulation: `cdc`'s own code, its tasks taking turns step by step."""

import asyncio
import logging
import types
from collections.abc import Generator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import structlog

from cdc.capture_stream import CaptureStream, Pulse
from cdc.catalogue_facts import Facts, FactsWanted
from cdc.decoder import Decoder
from cdc.event_assembly import Origin
from cdc.event_id import place_id
from cdc.position import Mark
from cdc.replication_connection import ServerIdentity
from cdc.source_errors import CaptureStopped, SourceLost
from cdc.source_facts import SlotState
from cdc.streamed_transactions import CannotStream
from cdc.tenure import Tenure
from eventbus.big_events import BigEvents
from eventbus.errors import ConnectionLost
from eventbus.event import HEADER_BACKFILL
from eventbus.fence import Claimed, FenceMark, Stored, Torn
from eventbus.group_commit import CommitLimits, Group, GroupCommit, OrderKey, Outgoing
from eventbus.lsn import format_lsn
from eventbus.position import Place, PositionLost
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from tests.cdc.pgoutput_stream import TABLES
from tests.simulation.postgres_model import Walsender
from tests.simulation.simulated_backfill import SimulatedBackfills
from tests.simulation.steps import SOURCE, pause, steps
from tests.simulation.writer_world import EVENTS, POSITION, PREFIX, Connection, SimulatedWriter

if TYPE_CHECKING:
    from tests.simulation.capture_world import CaptureWorld

GROUP_EVENTS = 5
LIMITS = CommitLimits(messages=GROUP_EVENTS + 1, buffer=4_000)
SILENT = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
PLACE = Place("EVENTS", POSITION, EVENTS, PREFIX, HEADER_BACKFILL)
_LOST = (SourceLost, ConnectionLost, PositionLost)


class SimulatedTenure(Tenure):
    """Its connections and its writer are the capture's."""

    def __init__(self, capture: "SimulatedCapture") -> None:
        world = capture.capture_world
        held: Any = SimpleNamespace(
            nats=SimpleNamespace(lost=asyncio.Event()),
            catalogue=capture.postgres,
            replication=capture.postgres,
        )
        source = replace(SOURCE, streaming=capture.streaming)
        super().__init__(source, NatsSettings(sync_interval=world.sync_interval), held)
        self.capture = capture
        self.writer = cast("Any", WriterDoor(capture))

    async def _last_event_id(self) -> str | None:
        found = self.capture.world.stream.last(EVENTS)
        return None if found is None else place_id(found.headers)


class SimulatedPulse(Pulse):
    async def _wait(self) -> None:
        await pause()


class WriterDoor:
    """What capture sees of the simulated writer, named as `FencedWriter` names it."""

    blocked = None

    def __init__(self, capture: "SimulatedCapture") -> None:
        self._capture = capture
        self.position = SimpleNamespace(place=PLACE, read=self._read)

    async def _read(self) -> Stored:
        await pause()
        return self._capture.read()

    async def claim(self, held: Stored, mark: Mark) -> Claimed:
        capture = self._capture
        capture.mark = mark
        while True:
            outcome = await types.coroutine(capture.claim)(held)
            if isinstance(outcome, Claimed):
                capture.own(outcome.fence)
                return outcome
            now = await self._read()
            if now.seq != held.seq:
                raise PositionLost(PLACE, now)

    def put(self, group: Group[Mark]) -> None:
        self._capture.claimed.put(group)

    @property
    def room(self) -> bool:
        return self._capture.claimed.room

    @property
    def idle(self) -> bool:
        return self._capture.claimed.idle

    async def wait_room(self) -> None:
        while not self.room:
            await pause()


class PostgresDoor:
    """Replication connection and catalogue, as the model of the server answers.

    may_ask: whether a capture that saw the slot as it was then has a reason to stop.
    """

    backend_pid = 0

    def __init__(self, capture: "SimulatedCapture") -> None:
        self._capture = capture
        self._world = capture.capture_world
        self._server = self._world.server
        self.walsender: Walsender | None = None
        self.may_ask = False

    @property
    def streaming(self) -> Walsender:
        assert self.walsender is not None
        return self.walsender

    async def identify(self) -> ServerIdentity:
        await pause()
        return ServerIdentity("7", 1, "shop")

    async def wal_sender_timeout(self) -> float:
        return 60.0

    async def start(self, _slot: str, _publication: str, *, streaming: bool) -> None:
        while (walsender := self._server.acquire(streaming=streaming)) is None:
            await pause()
            self._capture.check_connection()
        self.walsender, self.backend_pid = walsender, walsender.pid

    async def hear_last_words(self) -> None:
        pass

    async def read(self) -> list[bytes]:
        count = self._world.random.choice((1, 3, 12, 60)) if self._world.chaos else 60
        while not (frames := self.streaming.read(count)):
            if self.streaming.lost:
                raise SourceLost("cut")
            await pause()
        await pause()
        return frames

    def confirm(self, lsn: int) -> None:
        if self.streaming.lost:
            raise SourceLost("cut")
        self._world.confirms(lsn)
        self.streaming.feedback.append(lsn)

    async def leave(self) -> None:
        await pause()

    async def facts(self, wanted: FactsWanted) -> Facts:
        await pause()
        return Facts(name="public.other") if wanted.tables else Facts(key=("id",))

    async def slot(self, name: str, _publication: str) -> SlotState:
        await pause()
        slot, server, self.may_ask = self._server.slot, self._server, self._world.may_ask
        return SlotState(
            exists=True,
            plugin="pgoutput",
            database="shop",
            two_phase=False,
            active_pid=None if server.owner is None else server.owner.pid,
            confirmed_flush=slot.confirmed,
            wal_status="reserved",
            invalidation=None,
            publication_oid=slot.publication,
            recorded={"slot": name, "slot_lsn": format_lsn(slot.created)},
            wal_end=server.end,
            connected_to="shop",
        )


class SimulatedCapture(SimulatedWriter):
    """Begins with the lock and ends with whatever is lost, or in good order."""

    def __init__(self, world: "CaptureWorld", connection: Connection, *, streaming: bool) -> None:
        super().__init__(world, connection)
        self.capture_world = world
        self.streaming = streaming
        self.postgres = PostgresDoor(self)
        self.batches: GroupCommit[Any] | None = None
        self.mark: Any = Mark(0, 0, 0)

    @property
    def now(self) -> float:
        return self.capture_world.now

    @now.setter
    def now(self, value: float) -> None:
        if hasattr(self, "capture_world"):
            self.capture_world.now = max(self.capture_world.now, value)

    def own(self, fence: int) -> None:
        self.batches = self.world.rules.batches(lambda: self.world.new_id(PREFIX), fence, LIMITS)

    @property
    def claimed(self) -> GroupCommit[Any]:
        assert self.batches is not None
        return self.batches

    def life(self) -> Generator[None, None, bool]:
        """Whether the next one may stream."""
        self.tenure = SimulatedTenure(self)
        try:
            yield from self._life()
        except _LOST as lost:
            self.world.note(("begins again:", lost))
        except CannotStream as cannot:
            self.world.note(("begins again:", cannot))
            return False
        except CaptureStopped as stopped:
            self.capture_world.stopped(stopped.stop, may_ask=self.postgres.may_ask)
        return True

    def _life(self) -> Generator[None]:
        """As `cdc.capture.Capture` does it."""
        world, tenure, consent = self.capture_world, self.tenure, self.capture_world.consent
        yield from steps(lambda: tenure.lock(asyncio.Event(), on_standby=bool))
        pulse = SimulatedPulse(tenure)
        pulsing = steps(pulse.run)
        yield from self._until_over(steps(lambda: tenure.claim(consent)), pulsing)
        world.claimed(consent)
        origin = Origin(SOURCE.name, tenure.position.database, tenure.position.epoch, Subjects())
        decoder = Decoder(origin, TABLES, tenure.noted)
        stream = pulse.stream = CaptureStream(tenure, decoder, cast("BigEvents", self))
        stream.listen("bridge.heartbeat", lambda note: world.events.check_note(note.lsn, stream._mark.key))
        writing, pumping = self._write(), steps(stream.pump)
        reading = [steps(SimulatedBackfills(self, stream, origin).work)] if world.runs else []
        yield from self._until_over(self._asked_to_stop(), pulsing, writing, pumping, *reading)
        for task in (pumping, *reading):
            task.close()
        yield from self._until_over(self._drained(), pulsing, writing)
        yield from steps(tenure.part)

    def _until_over(self, first: Generator[None], *others: Generator[None]) -> Generator[None]:
        """The tasks in any order, until the first one is over."""
        tasks = (first, *others)
        while True:
            task = self.world.random.choice(tasks)
            self.check_connection()
            try:
                next(task)
            except StopIteration:
                if task is first:
                    return
                raise ConnectionLost("the writer must start over") from None
            yield

    def check_connection(self) -> None:
        # well within the 30 seconds that capture holds back beyond what may be lost
        if not self.connection.open:
            raise ConnectionLost("closed")

    def _asked_to_stop(self) -> Generator[None]:
        while not self.world.chance(0.005):
            yield

    def _drained(self) -> Generator[None]:
        while not self.claimed.idle:
            yield

    def _write(self) -> Generator[None]:
        while True:
            for batch, answer in self.take_answers():
                self.report(
                    self.claimed.answered(batch, max(answer, 0) or None, -min(answer, 0) or None, self.now)
                )
            if not (yield from self.perform(self.claimed)):
                return

    # the writer

    def read(self) -> Stored:
        self.check_connection()
        return super().read()

    def report(self, committed: Any) -> None:
        super().report(committed)
        if committed is not None:
            self.tenure._committed(committed)

    def headers(self, message: Outgoing) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in message.headers.decode().splitlines())

    def look(self, after: int, before: int) -> Torn | None:
        torn = super().look(after, before)
        if torn is None:
            return None
        found = self.world.stream.between(EVENTS, after, before)
        texts = [text for m in found if (text := m.headers.get(HEADER_BACKFILL)) and self.mine(m)]
        return Torn(torn.seq, torn.headers, {text.partition(":")[0]: text for text in texts})

    def key_of(self, headers: Mapping[str, str]) -> OrderKey:
        return self.tenure._key_of(headers)

    def encode(self, mark: Any, fence_mark: FenceMark) -> bytes:
        return self.tenure._encode(mark, fence_mark)

    # big events

    async def put(self, group: Group[Mark]) -> Group[Mark]:
        if self.world.chance(self.capture_world.big):
            await pause(self.world.random.randint(1, 20))
        return group
