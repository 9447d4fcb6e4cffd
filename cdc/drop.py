"""`bridge cdc drop`: removes what setup recorded, and keeps the memory of it in the position."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import psycopg
from psycopg import AsyncConnection, sql

from cdc.catalogue import Catalogue
from cdc.position import decode_position
from cdc.settings import SourceSettings, split_table
from cdc.setup import OUTBOX, SetupRefused
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


_OUTBOX_MADE = """
SELECT pg_catalog.obj_description(c.oid, 'pg_class') LIKE %(mark)s AS made
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname || '.' || c.relname = %(outbox)s
"""
_SCHEMA_IS_OURS = """
SELECT FROM pg_catalog.pg_namespace n
 WHERE n.nspname = %(schema)s AND pg_catalog.obj_description(n.oid, 'pg_namespace') LIKE %(mark)s
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid)
"""
_MARK = '%"made_by": "fracttal-bridge"%'


class Removal(NamedTuple):
    """What is there to be removed; None where there is nothing. outbox: the table, which goes only if it is empty."""

    slot: str | None
    publication: str | None
    outbox: str | None = None


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
    outbox = source.outbox or OUTBOX
    made = await catalogue.rows(_OUTBOX_MADE, {"outbox": outbox, "mark": _MARK})
    return Removal(
        source.slot if state.exists else None,
        source.publication if recorded else None,
        outbox if any(row["made"] for row in made) else None,
    )


async def drop(source: SourceSettings, admin_dsn: str | None, nats: Connection, namespace: str) -> bool:
    """The slot, then the mark in the position, then the publication, then the outbox: interrupted, it is run again.

    False: the outbox holds rows, and is kept. Raises SetupRefused, SourceLost, and as JetStream does.
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
        return found.outbox is None or await _drop_outbox(connection, found.outbox)


async def _drop_outbox(connection: AsyncConnection[tuple[object, ...]], outbox: str) -> bool:
    """Table, procedure and, where it is ours and empty then, schema. False: it holds rows, and stays."""
    schema, table = split_table(outbox)
    named, prune = sql.Identifier(schema, table), sql.Identifier(schema, f"prune_{table}")
    async with connection.transaction():
        await _run(
            connection,
            sql.SQL("SET LOCAL lock_timeout = '5s'; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(named),
        )
        cursor = await connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(named))
        if await cursor.fetchone() is not None:
            return False
        await _run(connection, sql.SQL("DROP TABLE {}; DROP PROCEDURE IF EXISTS {}").format(named, prune))
        cursor = await connection.execute(_SCHEMA_IS_OURS, {"schema": schema, "mark": _MARK})
        if await cursor.fetchone() is not None:
            await _run(connection, sql.SQL("DROP SCHEMA {}").format(sql.Identifier(schema)))
    return True


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
    except psycopg.errors.LockNotAvailable as error:
        raise SetupRefused(
            f"{first_line(str(error))}: an open transaction holds it; end it or wait for it, and run drop again"
        ) from None
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
