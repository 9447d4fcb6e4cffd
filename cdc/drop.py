"""`bridge cdc drop`: removes what setup recorded, and keeps the memory of it in the position."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import psycopg
from psycopg import AsyncConnection, sql

from cdc.catalogue import Catalogue
from cdc.position import decode_position
from cdc.settings import SourceSettings
from cdc.setup import SetupRefused
from cdc.source_dsn import ordinary
from cdc.source_errors import SourceLost, first_line, source_errors
from eventbus import position as stored_position
from eventbus.connection import Connection
from eventbus.fence import FenceMark
from eventbus.jetstream import JetStream
from eventbus.position import Place
from eventbus.subjects import Subjects

_OWNER = """
SELECT pg_catalog.pg_get_userbyid(pubowner)::text, pg_catalog.pg_has_role(pubowner, 'USAGE')
  FROM pg_catalog.pg_publication WHERE pubname = %s
"""


class Removal(NamedTuple):
    """What is there to be removed; empty where there is nothing."""

    slot: str | None
    publication: str | None


async def removal(source: SourceSettings, catalogue: Catalogue) -> Removal:
    """Only what setup made. Raises SetupRefused where the slot is read, or was made by somebody else."""
    state = await catalogue.slot(source.slot, source.publication)
    if state.exists and state.database != state.connected_to:
        raise SetupRefused(
            f"slot {source.slot} belongs to database {state.database}, the dsn names {state.connected_to}: correct `dsn` "
            "or `slot` of the source"
        )
    if state.active_pid is not None:
        raise SetupRefused(
            f"slot {source.slot} is read by process {state.active_pid}: stop `bridge cdc start` there first"
        )
    recorded: Mapping[str, str] = state.recorded
    if state.exists and recorded.get("slot") != source.slot:
        raise SetupRefused(
            f"slot {source.slot} was not made by `bridge cdc setup` (the comment on publication {source.publication} "
            f"does not record it): SELECT pg_drop_replication_slot('{source.slot}') removes it"
        )
    return Removal(source.slot if state.exists else None, source.publication if recorded else None)


async def drop(source: SourceSettings, admin_dsn: str | None, nats: Connection, namespace: str) -> None:
    """The slot, then the mark in the position, then the publication: interrupted anywhere, it is run again.

    Raises SetupRefused, SourceLost, and as JetStream does.
    """
    catalogue = await Catalogue.open(source.dsn)
    try:
        found = await removal(source, catalogue)
    finally:
        await catalogue.close()
    with source_errors("connecting"):
        connection = await AsyncConnection.connect(ordinary(admin_dsn or source.dsn), autocommit=True)
    async with connection:
        if found.publication:
            await _check_owner(connection, found.publication)
        if found.slot:
            await _run(connection, sql.SQL("SELECT pg_drop_replication_slot({})").format(found.slot))
        await _mark_dropped(source, nats, namespace)
        if found.publication:
            name = sql.Identifier(found.publication)
            await _run(connection, sql.SQL("SET lock_timeout = '5s'; DROP PUBLICATION {}").format(name))


async def _check_owner(connection: AsyncConnection[tuple[object, ...]], publication: str) -> None:
    """Refused here, while the slot is still there: without it nothing would be captured any more."""
    cursor = await connection.execute(_OWNER, [publication])
    row = await cursor.fetchone()
    if row is not None and not row[1]:
        raise SetupRefused(
            f"publication {publication} belongs to role {row[0]}, and only its owner may drop it: pass --admin-dsn with "
            "that login, or a superuser's; nothing was removed"
        )


async def _run(connection: AsyncConnection[tuple[object, ...]], command: sql.Composed) -> None:
    try:
        await connection.execute(command)
    except psycopg.errors.ObjectInUse as error:
        raise SetupRefused(f"{first_line(str(error))}: stop `bridge cdc start` there first") from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise SetupRefused(f"{first_line(str(error))}; pass --admin-dsn") from None
    except psycopg.OperationalError as error:
        raise SourceLost(f"PostgreSQL: {first_line(str(error))}") from None


async def _mark_dropped(source: SourceSettings, nats: Connection, namespace: str) -> None:
    subjects = Subjects(namespace)
    place = Place(
        subjects.stream("EVENTS"), subjects.position(source.name), subjects.events_of(source.name), "c-"
    )
    if await JetStream(nats).stream_info(place.stream) is None:
        return
    position = stored_position.Position(nats, place)
    stored = await position.read()
    if not stored.seq:
        return
    held = msgspec.structs.replace(decode_position(stored.payload), dropped=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")

    def encode(fence: FenceMark) -> bytes:
        return held.encode(held.mark, fence, now)

    # under the fence: a batch that a capture had under way cannot overwrite it
    await position.claim(stored, encode)
