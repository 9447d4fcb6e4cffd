"""Does what we own move? The heartbeat's way round, the WAL that the slot holds, and what follows for people and alarms.

Nothing here waits for an answer of the server: a question that is under way is looked at again in the next round.
"""

import asyncio
import secrets
from collections.abc import Coroutine
from typing import Any, NoReturn

import structlog

from cdc.capture_state import CaptureState
from cdc.capture_stream import CaptureStream
from cdc.catalogue import EmitRefused
from cdc.decoder import Note
from cdc.heartbeat import HEARTBEAT, Heartbeat, HeartbeatSettings
from cdc.metrics import CaptureMetrics
from cdc.source_errors import SourceLost
from cdc.source_facts import SlotState
from cdc.tenure import Tenure
from cdc.wal_watch import WalWatch
from eventbus.lsn import format_lsn

ROUND_S = 1.0
_PARTING_S = 1.0
log = structlog.get_logger()


class VitalSigns:
    """Of one tenure, from the lock on."""

    def __init__(self, tenure: Tenure, state: CaptureState, metrics: CaptureMetrics, wal: WalWatch) -> None:
        self._tenure = tenure
        self._stream: CaptureStream | None = None
        self._state = state
        self._metrics = metrics
        settings = HeartbeatSettings.of(tenure.source.heartbeat)
        self._round_s = min(ROUND_S, settings.every / 4)
        self._heartbeat = Heartbeat(settings, secrets.token_hex(8), _now())
        self._wal = wal
        self._slot: SlotState | None = None
        self._rate = state.rate
        self._blocked_since: float | None = None
        self._questions: dict[str, asyncio.Task[None]] = {}

    def watch(self, stream: CaptureStream) -> None:
        """From now on heartbeats go through it."""
        stream.listen(HEARTBEAT, self._came)
        self._stream = stream
        self._rate.seen(self._state.events, _now())

    async def run(self) -> NoReturn:
        """Raises SourceLost: where a question failed, or a stall lasts."""
        try:
            while True:
                self._round(_now())
                await asyncio.sleep(self._round_s)
        finally:
            for question in self._questions.values():
                question.cancel()
            if self._questions:
                # one that hangs in a frozen session ends with its connection
                await asyncio.wait(self._questions.values(), timeout=_PARTING_S)

    def _round(self, now: float) -> None:
        for question in self._questions.values():
            if question.done():
                question.result()
        if self._answered("slot") and self._wal.due():
            self._ask("slot", self._look())
        if self._stream is not None:
            self._beat(self._stream, now)
            self._judge(self._stream, now)
            self._measure(self._stream, now)
        self._metrics.blocked.set(self._tenure.writer.blocked or 0)

    def _beat(self, stream: CaptureStream, now: float) -> None:
        writer = self._tenure.writer
        if writer.blocked is not None or not writer.room or stream.replaying:
            self._heartbeat.held(now)
        # sent also then: its age is how far we are behind
        if self._answered("heartbeat") and (content := self._heartbeat.due(now)) is not None:
            self._ask("heartbeat", self._send(content))
        self._heartbeat.reached(stream.reached, now)

    def _answered(self, what: str) -> bool:
        last = self._questions.get(what)
        return last is None or last.done()

    def _ask(self, what: str, question: Coroutine[Any, Any, None]) -> None:
        """One at a time of each."""
        self._questions[what] = asyncio.create_task(question)

    async def _send(self, content: bytes) -> None:
        try:
            lsn = await self._tenure.connections.catalogue.emit(HEARTBEAT, content)
        except EmitRefused as refusal:
            self._heartbeat.refused()
            self._tell_refused(str(refusal))
        else:
            self._heartbeat.sent(lsn)
            self._state.findings.pop("heartbeat_refused", None)

    def _tell_refused(self, because: str) -> None:
        if "heartbeat_refused" not in self._state.findings:
            log.warning(
                "the server takes no heartbeat: capture goes on, but a stall is not seen",
                source=self._tenure.source.name,
                because=because,
            )
        self._state.findings["heartbeat_refused"] = f"no heartbeat, so a stall is not seen: {because}"

    def _came(self, note: Note) -> None:
        if self._heartbeat.came(note.content, _now()):
            self._metrics.heartbeat.set(round(self._heartbeat.round_trip or 0.0, 3))

    async def _look(self) -> None:
        source = self._tenure.source
        self._slot = await self._tenure.connections.catalogue.slot(source.slot, source.publication)
        self._wal.seen(self._slot)

    def _judge(self, stream: CaptureStream, now: float) -> None:
        if not self._heartbeat.late(now):
            if self._state.stalled is not None:
                log.info("the stream moves again", source=self._tenure.source.name)
            self._state.stalled = None
            return
        waited = self._heartbeat.waited(now)
        if self._state.stalled is None and self._answered("sender"):
            self._ask("sender", self._tell_stalled(stream))
        self._state.stalled = f"connected, yet nothing has come from PostgreSQL for {waited:.0f} s, not even a heartbeat of ours"
        if self._heartbeat.lost(now):
            raise SourceLost(f"PostgreSQL: {self._state.stalled}; a fresh connection may mend it")

    async def _tell_stalled(self, stream: CaptureStream) -> None:
        """What we know at once; what the server says of our walsender when it answers, which it may not."""
        source, replication = self._tenure.source.name, self._tenure.connections.replication
        log.warning(
            "the stream is stalled: connected, and nothing comes",
            source=source,
            waited_s=round(self._heartbeat.waited(_now())),
            last_frame_s=round(_now() - stream.heard_at),
            reached=format_lsn(stream.reached),
            walsender_pid=replication.backend_pid,
        )
        walsender = await self._tenure.connections.catalogue.sender(replication.backend_pid)
        log.warning("the server's word on the stalled stream", source=source, walsender=walsender)

    def _lag(self, now: float) -> float | None:
        """Up to 16 MB are read on while JetStream takes nothing, heartbeats among them."""
        blocked = self._tenure.writer.blocked is not None
        self._blocked_since = (self._blocked_since or now) if blocked else None
        taken = self._heartbeat.taken(now)
        return taken if self._blocked_since is None else max(taken or 0.0, now - self._blocked_since)

    def _measure(self, stream: CaptureStream, now: float) -> None:
        metrics, slot, tenure = self._metrics, self._slot, self._tenure
        self._rate.seen(self._state.events, now)
        metrics.stalled.set(self._state.stalled is not None)
        self._state.lag_seconds = lag = self._lag(now)
        metrics.lag_seconds.set(float("nan") if lag is None else round(lag, 3))
        if slot is not None:
            end = max(slot.wal_end or 0, stream.reached)
            metrics.lag_bytes.set(max(0, end - tenure.published.flush))
            metrics.unconfirmed.set(max(0, end - tenure.progress.confirmed))


def _now() -> float:
    return asyncio.get_running_loop().time()
