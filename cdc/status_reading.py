"""Reads what `bridge cdc status` tells: from PostgreSQL, from JetStream, and from the captures that run."""

from datetime import UTC, datetime

from cdc.catalogue import Catalogue
from cdc.position import Position, decode_position
from cdc.roll_call import call_roll
from cdc.settings import SourceSettings
from cdc.status import CaptureStatus, Reader, StatusFacts, status_of
from eventbus.connection import Connection
from eventbus.errors import JetStreamError
from eventbus.jetstream import STREAM_NOT_FOUND, JetStream, StoredMessage
from eventbus.subjects import Subjects

_READER = """
SELECT application_name::text AS application, host(client_addr) AS address, backend_start
  FROM pg_catalog.pg_stat_replication WHERE pid = %(pid)s
"""


async def read_status(
    source: SourceSettings, catalogue: Catalogue, nats: Connection, namespace: str
) -> CaptureStatus:
    """Raises SourceLost, and as JetStream does."""
    jetstream, subjects = JetStream(nats), Subjects(namespace)
    stream = subjects.stream("EVENTS")
    last = await _last(jetstream, stream, subjects.events_of(source.name))
    position = await _last(jetstream, stream, subjects.position(source.name))
    slot = await catalogue.slot(source.slot, source.publication)
    answers = await call_roll(nats, subjects.roll_call(source.name), slot.active_pid)
    facts = StatusFacts(
        slot,
        _position(position),
        await _reader(catalogue, slot.active_pid),
        datetime.fromisoformat(last.time) if last else None,
        answers,
    )
    return status_of(source, facts, datetime.now(UTC))


def _position(found: StoredMessage | None) -> Position | None:
    return decode_position(found.payload) if found else None


async def _last(jetstream: JetStream, stream: str, subject: str) -> StoredMessage | None:
    """None also where there is no stream yet."""
    try:
        return await jetstream.last_message(stream, subject)
    except JetStreamError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        return None


async def _reader(catalogue: Catalogue, pid: int | None) -> Reader | None:
    if pid is None:
        return None
    rows = await catalogue.rows(_READER, {"pid": pid})
    if not rows or rows[0]["backend_start"] is None:
        return Reader(pid)  # another role's session: its details are not shown to us
    row = rows[0]
    return Reader(pid, row["application"], row["address"], row["backend_start"].isoformat(timespec="seconds"))
