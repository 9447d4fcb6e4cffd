"""`bridge cdc start`: own the slot, publish, begin again when anything is lost (rules C2 and C11)."""

import asyncio
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import structlog

from cdc.backfill.backfills import Backfills
from cdc.backfill.run_store import RunStore
from cdc.backfill.snapshot import ask_for_all
from cdc.capture_state import Answer, CaptureState
from cdc.capture_stream import CaptureStream, Pulse
from cdc.decoder import Decoder
from cdc.event_assembly import Origin
from cdc.metrics import CaptureMetrics
from cdc.position import Mark
from cdc.publication_watch import watch_publication
from cdc.roll_call import answer_calls
from cdc.settings import WAL2JSON, SourceSettings
from cdc.slot_watch import explained, watch_slot
from cdc.source_errors import CaptureStopped, SlotRefused, SourceLost, StreamFailed
from cdc.start_decision import Consent
from cdc.stream_failures import StreamFailures
from cdc.streamed_transactions import CannotStream
from cdc.tenure import Connections, Tenure, connections, until_set
from cdc.vital_signs import VitalSigns
from cdc.wal2json_decoder import Wal2jsonDecoder
from cdc.wal_watch import WalWatch
from eventbus.big_events import BigEvents
from eventbus.errors import ConnectionLost, JetStreamError, NatsRefused, NatsUnreachable, NoAnswer
from eventbus.fence import Refusal, classify_refusal
from eventbus.group_commit import Committed
from eventbus.jetstream import STREAM_NOT_FOUND, JetStream
from eventbus.objects import ObjectStore
from eventbus.patience import StopRequested, unless_stopped
from eventbus.position import PositionLost
from eventbus.settings import NatsSettings, StreamSettings
from eventbus.subjects import Subjects
from eventbus.topology import desired_streams, ensure_topology

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_LOST = (SourceLost, CannotStream, ConnectionLost, PositionLost, NoAnswer, NatsUnreachable, NatsRefused)
"""What a later moment may mend. Everything else ends capture with its reason."""
log = structlog.get_logger()


class Capture:
    """One source's capture. `run` is a service: it works until its event is set, then drains."""

    def __init__(
        self,
        source: SourceSettings,
        nats: NatsSettings,
        streams: StreamSettings,
        consent: Consent,
        *,
        snapshot: bool = False,
    ) -> None:
        """`consent` holds for the first position that is claimed; `snapshot`: with a new epoch read every table."""
        self._source = source
        self._nats = nats
        self._streams = streams
        self._consent = consent
        self._snapshot = snapshot
        self.ready = asyncio.Event()
        """Capture has begun, or stands by: set once."""
        self.state = CaptureState()
        self._metrics = CaptureMetrics(source.name, source.wal_limit)
        self._wal = WalWatch(source, self.state, self._metrics)
        self._since = datetime.now(UTC)
        self._reached = False
        self._streaming = source.streaming
        self._pause = _FIRST_PAUSE
        self._failures = StreamFailures(source.slot)

    async def run(self, stop: asyncio.Event) -> None:
        """Raises CaptureStopped, WriteFailed, TopologyDiffers, DecodingFailed.

        And, until both servers were reached once, SourceLost, NatsUnreachable, NatsRefused, NoAnswer.
        """
        while not stop.is_set():
            try:
                await self._tenure(stop)
            except Exception as error:
                # a connection that was lost was there before
                if not (_may_pass(error) and (self._reached or isinstance(error, ConnectionLost))):
                    raise
                self._metrics.error(error)
                self.state.begins(str(error))
                self._in_role()
                # what could not be streamed is read whole the next time, and that tenure is the exception
                self._streaming = self._source.streaming and not isinstance(error, CannotStream)
                log.warning("beginning again", source=self._source.name, because=str(error), in_s=self._pause)
                await self._wal.look_from_outside()
                await until_set(stop, self._pause)
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    async def _tenure(self, stop: asyncio.Event) -> None:
        source, nats = replace(self._source, streaming=self._streaming), self._nats
        async with connections(source, nats) as held:
            await ensure_topology(JetStream(held.nats), desired_streams(nats, self._streams))
            await self._answer_calls(held)
            self._reached = True
            tenure = Tenure(source, nats, held, lambda committed: self._committed(tenure, committed))
            if self._snapshot:
                tenure.on_begin = partial(ask_for_all, source, self._runs(tenure))
            try:
                await self._hold(tenure, stop)
            except SlotRefused as refused:
                raise await explained(tenure, refused) from None
            except StreamFailed as failed:
                stop_for = self._failures.again(str(failed), tenure.published)
                raise (CaptureStopped(stop_for) if stop_for else failed) from None

    async def _hold(self, tenure: Tenure, stop: asyncio.Event) -> None:
        if not await tenure.lock(stop, on_standby=self._stands_by):
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._own(tenure, tasks, stop)
        except ExceptionGroup as errors:
            raise _gravest(errors) from None
        await tenure.part()

    def _stands_by(self) -> None:
        self.state.stands_by()
        self._in_role()
        self.ready.set()

    def _in_role(self) -> None:
        self._since = datetime.now(UTC)
        self._metrics.role(self.state.role)

    async def _answer_calls(self, held: Connections) -> None:
        """For `bridge cdc status`."""

        def tell() -> Answer:
            since = self._since.isoformat(timespec="seconds")
            return self.state.answer(socket.gethostname(), os.getpid(), held.replication.backend_pid, since)

        subject = Subjects(self._nats.namespace).roll_call(self._source.name)
        await answer_calls(held.nats, subject, tell)

    def _committed(self, tenure: Tenure, committed: Committed[Mark]) -> None:
        self._metrics.committed(committed.messages, committed.size, tenure.writer.commit_took)
        if committed.messages:
            self.state.events += committed.messages
            self._metrics.last_event.set_to_current_time()

    async def _own(self, tenure: Tenure, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        self.state.claims(lambda: tenure.writer.blocked)
        pulse, vital_signs = Pulse(tenure), VitalSigns(tenure, self.state, self._metrics, self._wal)
        pulsing, feeling = tasks.create_task(pulse.run()), tasks.create_task(vital_signs.run())
        try:
            await unless_stopped(stop, tenure.claim(self._consent))
        except StopRequested:
            pulsing.cancel()
            feeling.cancel()
            return
        self.state.owns(lambda: tenure.writer.blocked)
        self._in_role()
        self.ready.set()
        self._consent, self._pause = Consent(), _FIRST_PAUSE
        origin = self._origin(tenure)
        pulse.stream = stream = self._stream(tenure, origin)
        writing = tasks.create_task(tenure.writer.run())
        pumping = tasks.create_task(stream.pump())
        vital_signs.watch(stream)
        watching = [tasks.create_task(watch(tenure)) for watch in (watch_publication, watch_slot)]
        backfilling = tasks.create_task(self._backfills(tenure, stream, origin).run())
        await stop.wait()
        ending = (pumping, feeling, backfilling, *watching)
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)
        await tenure.writer.drain()
        writing.cancel()
        pulsing.cancel()

    def _origin(self, tenure: Tenure) -> Origin:
        position = tenure.position
        return Origin(self._source.name, position.database, position.epoch, Subjects(self._nats.namespace))

    def _backfills(self, tenure: Tenure, stream: CaptureStream, origin: Origin) -> Backfills:
        return Backfills(tenure, stream, self._runs(tenure), origin)

    def _runs(self, tenure: Tenure) -> RunStore:
        subjects = Subjects(self._nats.namespace)
        return RunStore(JetStream(tenure.connections.nats), subjects, self._source.name)

    def _stream(self, tenure: Tenure, origin: Origin) -> CaptureStream:
        nats = tenure.connections.nats
        objects = ObjectStore(JetStream(nats), origin.subjects.bucket("BIG_EVENTS"))
        decoder = Wal2jsonDecoder if self._source.plugin == WAL2JSON else Decoder
        return CaptureStream(
            tenure,
            decoder(origin, self._source.tables, tenure.noted, self._source.outbox),
            BigEvents(objects, nats.max_payload),
        )


def _may_pass(error: Exception) -> bool:
    if isinstance(error, JetStreamError):
        # a stream that was deleted is made again, and then the missing position says what is to be decided
        return error.err_code == STREAM_NOT_FOUND or classify_refusal(error.err_code) is not Refusal.FOREIGN
    return isinstance(error, _LOST)


def _gravest(errors: ExceptionGroup[Exception]) -> Exception:
    """Of what ended the tasks together, that which a later moment does not mend, if there is such."""
    flat = (_gravest(error) if isinstance(error, ExceptionGroup) else error for error in errors.exceptions)
    return min(flat, key=_may_pass)
