"""`bridge cdc drop`: removes what setup recorded, and keeps the memory of it in the position."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import AsyncConnection, sql

from cdc.catalogue import Catalogue
from cdc.lock_patience import LockHeld, Patience, patiently
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
_DROP_OUTBOX = """
DO $bridge$
DECLARE
  holds_rows boolean;
BEGIN
  EXECUTE format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE', {schema}, {table});
  EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', {schema}, {table}) INTO holds_rows;
  IF holds_rows THEN
    RETURN;
  END IF;
  EXECUTE format('DROP TABLE %I.%I', {schema}, {table});
  EXECUTE format('DROP PROCEDURE IF EXISTS %I.%I', {schema}, {prune});
  IF EXISTS (
    SELECT FROM pg_namespace n
     WHERE n.nspname = {schema} AND obj_description(n.oid, 'pg_namespace') LIKE '%"made_by": "fracttal-bridge"%'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid))
  THEN
    EXECUTE format('DROP SCHEMA %I', {schema});
  END IF;
END
$bridge$
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


async def drop(
    source: SourceSettings,
    admin_dsn: str | None,
    nats: Connection,
    namespace: str,
    patience: Patience = Patience(),  # noqa: B008 — frozen
) -> bool:
    """The slot, then the mark in the position, then the publication, then the outbox: interrupted, it is run again.

    False: the outbox holds rows, and is kept. Raises SetupRefused, SourceLost, and as JetStream does.
    """
    catalogue = await Catalogue.open(source.dsn)
    try:
        found = await removal(source, catalogue)
    finally:
        await catalogue.close()
    conninfo = ordinary(admin_dsn or source.dsn)
    with source_errors("connecting"):
        connection = await AsyncConnection.connect(conninfo, autocommit=True)
        watcher = await AsyncConnection.connect(conninfo, autocommit=True)
    async with connection, watcher:
        dropping = _Dropping(connection, watcher, patience)
        await dropping.run(sql.SQL("SET lock_timeout = {}").format(patience.lock_timeout))
        if found.publication:
            await _check_owner(connection, found.publication)
        if found.slot:
            await dropping.run(sql.SQL("SELECT pg_drop_replication_slot({})").format(found.slot))
        await _mark_dropped(source, nats, namespace)
        if found.publication:
            await dropping.run(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(found.publication)))
        return found.outbox is None or await dropping.outbox(found.outbox)


@dataclass(frozen=True, slots=True)
class _Dropping:
    """The session that drops, and the one that sees who holds it up."""

    connection: AsyncConnection[Any]
    watcher: AsyncConnection[Any]
    patience: Patience

    async def run(self, command: sql.Composed) -> None:
        try:
            await patiently(
                self.connection,
                self.watcher,
                lambda: self.connection.execute(command),
                "drop",
                self.patience,
            )
        except LockHeld as held:
            raise SetupRefused(f"{held}. End that transaction, or wait for it, and run drop again") from None
        except psycopg.errors.ObjectInUse as error:
            raise SetupRefused(f"{first_line(str(error))}: stop `bridge cdc start` there first") from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise SetupRefused(f"{first_line(str(error))}; pass --admin-dsn") from None
        except psycopg.OperationalError as error:
            raise SourceLost(f"PostgreSQL: {first_line(str(error))}") from None

    async def outbox(self, outbox: str) -> bool:
        """Table, procedure and, where it is ours and empty then, schema. False: it holds rows, and stays."""
        schema, table = split_table(outbox)
        await self.run(
            sql.SQL(_DROP_OUTBOX).format(
                table=sql.Literal(table), schema=sql.Literal(schema), prune=sql.Literal(f"prune_{table}")
            )
        )
        cursor = await self.connection.execute(
            "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) IS NULL", [schema, table]
        )
        row = await cursor.fetchone()
        return row is None or bool(row[0])


async def _check_owner(connection: AsyncConnection[tuple[object, ...]], publication: str) -> None:
    """Refused here, while the slot is still there: without it nothing would be captured any more."""
    cursor = await connection.execute(_OWNER, [publication])
    row = await cursor.fetchone()
    if row is not None and not row[1]:
        raise SetupRefused(
            f"publication {publication} belongs to role {row[0]}, and only its owner may drop it: pass --admin-dsn with "
            "that login, or a superuser's; nothing was removed"
        )


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
