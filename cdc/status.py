"""`bridge cdc status`: where a slot stands, in numbers and in a sentence."""

from dataclasses import dataclass
from datetime import UTC, datetime

from cdc.catalogue import Catalogue
from cdc.position import Position, decode_position
from cdc.settings import SourceSettings
from cdc.source_facts import SlotState
from eventbus.connection import Connection
from eventbus.errors import JetStreamError
from eventbus.jetstream import STREAM_NOT_FOUND, JetStream
from eventbus.lsn import format_lsn
from eventbus.subjects import Subjects

_READER = """
SELECT application_name::text AS name, host(client_addr) AS address, backend_start
  FROM pg_catalog.pg_stat_replication WHERE pid = %(pid)s
"""


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """LSNs as text, None where unknown. lag_bytes: WAL that is not published; lag_seconds: since when, at most.

    state: running, stopped, missing (no slot), lost (the slot cannot be read any more) or moved (it is confirmed beyond
    what is published).
    """

    source: str
    slot: str
    state: str
    reader: str | None
    confirmed: str | None
    published: str | None
    wal_end: str | None
    lag_bytes: int | None
    lag_seconds: float | None
    epoch: int | None
    summary: str


async def read_status(
    source: SourceSettings, catalogue: Catalogue, nats: Connection, namespace: str
) -> CaptureStatus:
    """Raises SourceLost, and as JetStream does."""
    position = await _position(JetStream(nats), Subjects(namespace), source.name)
    slot = await catalogue.slot(source.slot, source.publication)
    reader = await _reader(catalogue, slot.active_pid)
    return status_of(source, slot, position, reader, datetime.now(UTC))


def status_of(
    source: SourceSettings, slot: SlotState, position: Position | None, reader: str | None, now: datetime
) -> CaptureStatus:
    """Pure."""
    lag = max(0, slot.wal_end - position.mark.flush) if position and slot.wal_end is not None else None
    seconds = None
    if position is not None and position.written:
        seconds = max(0.0, (now - datetime.fromisoformat(position.written)).total_seconds()) if lag else 0.0
    state = _state(slot, position)
    return CaptureStatus(
        source=source.name,
        slot=source.slot,
        state=state,
        reader=reader,
        confirmed=_lsn(slot.confirmed_flush),
        published=position.flush if position else None,
        wal_end=_lsn(slot.wal_end),
        lag_bytes=lag,
        lag_seconds=seconds,
        epoch=position.epoch if position else None,
        summary=_summary(source, state, reader, position, lag, seconds),
    )


def _state(slot: SlotState, position: Position | None) -> str:
    if not slot.exists:
        return "missing"
    if slot.wal_status == "lost" or slot.invalidation is not None:
        return "lost"
    if slot.active_pid is not None:
        return "running"
    published = position.mark.flush if position and not position.dropped else None
    moved = published is not None and slot.confirmed_flush is not None and slot.confirmed_flush > published
    return "moved" if moved else "stopped"


def _summary(
    source: SourceSettings,
    state: str,
    reader: str | None,
    position: Position | None,
    lag: int | None,
    seconds: float | None,
) -> str:
    match state:
        case "missing":
            return f"There is no slot {source.slot}: run `bridge cdc setup`."
        case "lost":
            return f"Slot {source.slot} can no longer be read: `bridge cdc check` says why and what to do."
        case "running":
            who = f"Slot {source.slot} is read by {reader}"
        case "moved":
            return (
                f"Nobody reads slot {source.slot}, and it is confirmed beyond what was published: changes between the "
                "two may be missing in EVENTS. `bridge cdc start` says what is to be decided."
            )
        case _:
            who = f"Nobody reads slot {source.slot}: run `bridge cdc start`"
    if position is None or position.dropped:
        return f"{who}; nothing has been published yet."
    if not lag:
        return f"{who}; everything is published."
    return f"{who}; {_size(lag)} of WAL are not published yet, the last position is {seconds or 0:.0f} s old."


def _size(count: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 10_000:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} TB"


def _lsn(lsn: int | None) -> str | None:
    return None if lsn is None else format_lsn(lsn)


async def _position(jetstream: JetStream, subjects: Subjects, source: str) -> Position | None:
    try:
        found = await jetstream.last_message(subjects.stream("EVENTS"), subjects.position(source))
    except JetStreamError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        return None
    return decode_position(found.payload) if found else None


async def _reader(catalogue: Catalogue, pid: int | None) -> str | None:
    if pid is None:
        return None
    rows = await catalogue.rows(_READER, {"pid": pid})
    if (
        not rows or rows[0]["backend_start"] is None
    ):  # another role's session: its details are not shown to us
        return f"process {pid}"
    row = rows[0]
    return f"{row['name']} from {row['address'] or 'this machine'}, process {pid}, since {row['backend_start']:%F %T%z}"
