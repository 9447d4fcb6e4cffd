"""Reads a table's rows in chunks: one statement each, no lock beyond a SELECT's own, no transaction around them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg import errors as pg
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.types.string import StrDumperUnknown

from cdc.backfill.changes import ReadRow
from cdc.backfill.read_table import (
    COLUMNS_SQL,
    KEYS_SQL,
    TABLE_SQL,
    Query,
    Range,
    ReadTable,
    Refused,
    TableUnknown,
    facts_wanted,
    last_key,
    no_rows,
    read_table,
    relation_of,
    rows_left,
)
from cdc.backfill.visibility import Replayed, Snapshot, Visibility
from cdc.catalogue import Catalogue
from cdc.catalogue_facts import Facts
from cdc.foreign_bytes import AS_OCTAL, KEPT, shown
from cdc.pgoutput import NULL
from cdc.settings import SourceSettings, split_table
from cdc.source_dsn import reading
from cdc.source_errors import SourceLost, first_line
from eventbus.lsn import parse_lsn

CHUNK_TIMEOUT_S = 30
SETTLE_S = 10.0
"""How long a transaction may stand between its commit record and its end, once our own later one has passed there."""
_SETTLE_POLL_S = 0.02
_MOST_BYTES = 4 * 2**20
"""Of JSON in a chunk, and one row more."""
_MARKED = "SELECT pg_catalog.pg_logical_emit_message(false, 'bridge.backfill', %(token)s, true)"
_MARKED_BEFORE_17 = """
SELECT pg_catalog.set_config('synchronous_commit', 'local', true),
       pg_catalog.pg_logical_emit_message(false, 'bridge.backfill', %(token)s),
       pg_catalog.pg_logical_emit_message(true, 'bridge.flush', '')
"""
"""Only a commit has the WAL written out up to the message, without which the slot does not send it."""


_SETTLED = """
SELECT pg_catalog.set_config('synchronous_commit', 'on', true),
       pg_catalog.pg_logical_emit_message(true, 'bridge.settle', '')
"""
"""A commit that waits for synchronous standbys, as those before it do, whatever is set for our role."""


class TableChanged(Exception):
    """The table is no longer as it was described."""


class ChunkTooSlow(Exception):
    """The query took longer than CHUNK_TIMEOUT_S."""


@dataclass(slots=True)
class Chunk:
    """Rows in the order in which they were read; visible: what they were read in, None where there are none.

    read_at: microseconds since 1970; cut: there may be more, for the rows are many or large.
    """

    rows: list[ReadRow] = field(default_factory=list)
    visible: Visibility | None = None
    read_at: int = 0
    cut: bool = False
    size: int = 0


class TableReader:
    """Two sessions: one with the primary, and one, there or at a standby (`read_dsn`), in which rows are read."""

    def __init__(self, source: SourceSettings, primary: Catalogue, rows: AsyncConnection[Any]) -> None:
        self._source = source
        self._primary = primary
        self._rows = rows
        self._standby = False
        self._version = rows.info.server_version

    @classmethod
    async def open(cls, source: SourceSettings) -> Self:
        """Raises SourceLost, DsnInvalid."""
        primary = await Catalogue.open(source.dsn)
        try:
            rows = await AsyncConnection.connect(
                reading(source.read_dsn or source.dsn, CHUNK_TIMEOUT_S),
                autocommit=True,
                context=as_texts(),
                cursor_factory=AsyncRawCursor,
            )
            reader = cls(source, primary, rows)
            ((standby,),) = await reader._texts(Query("SELECT pg_catalog.pg_is_in_recovery()"))
        except psycopg.OperationalError as error:
            await primary.close()
            raise SourceLost(f"PostgreSQL: {first_line(str(error))}", refused=True) from None
        reader._standby = standby == "t"
        return reader

    async def close(self) -> None:
        await self._rows.close()
        await self._primary.close()

    async def describe(self, name: str) -> ReadTable:
        """Raises Refused where the table is gone, is not sent, or has no key; SourceLost."""
        schema, table = split_table(name)
        asked = {"schema": schema, "table": table, "publication": self._source.publication}
        rows = await self._primary.rows(TABLE_SQL, asked)
        if not rows:
            raise TableUnknown(f"table {name} is not there: it was dropped or renamed")
        (row,) = rows
        if not row["published"]:
            raise Refused(
                f"publication {self._source.publication} does not send {name}: its changes would not follow what is "
                "read; `bridge cdc setup` adds it"
            )
        columns = await self._primary.rows(COLUMNS_SQL, {"oid": row["oid"], "sent": row["sent"]})
        relation = relation_of(name, row, columns)
        wanted = facts_wanted(self._source, relation)
        facts = Facts() if wanted is None else await self._primary.facts(wanted)
        keys = await self._primary.rows(KEYS_SQL, {"oid": row["oid"]})
        return read_table(self._source, relation, facts, [key["columns"] for key in keys], row)

    async def check(self, read: ReadTable) -> None:
        """Raises Refused where rows may not be read, or not all of them."""
        with _read_errors(read):
            await self._texts(no_rows(read))

    async def last_key(self, read: ReadTable) -> tuple[str, ...]:
        """Empty where there are no rows. Raises TableChanged, ChunkTooSlow, Refused, SourceLost."""
        with _read_errors(read):
            return next(iter(await self._texts(last_key(read))), ())

    async def estimate(self, read: ReadTable, keys: Range, tenant: str | None) -> int:
        """How many rows are still to be read, as the planner guesses. Raises Refused, SourceLost."""
        with _read_errors(read):
            ((plan,),) = await self._texts(rows_left(read, keys, tenant))
        return int(json.loads(plan)[0]["Plan"]["Plan Rows"])

    async def settle(self) -> None:
        """Waits until all is visible to later queries that had been published when this was called.

        A transaction's events may be published before it counts as ended. So: all that run now have to end. One that
        does not within SETTLE_S cannot be on its way out of its commit, for a later commit of ours has been that way,
        synchronous standbys included; it is one that lasts, and its changes are still to come.
        """
        await self._emit(_SETTLED)
        if self._standby:
            await self._replayed()
            return
        running = (await self._snapshot()).running
        try:
            async with asyncio.timeout(SETTLE_S):
                while running and not (await self._snapshot()).ended(running):  # noqa: ASYNC110 - PostgreSQL tells only who asks
                    await asyncio.sleep(_SETTLE_POLL_S)
        except TimeoutError:
            pass

    async def _snapshot(self) -> Snapshot:
        (row,) = await self._primary.rows("SELECT pg_catalog.pg_current_snapshot()::text AS snapshot")
        return Snapshot.parse(row["snapshot"])

    async def _replayed(self) -> None:
        (row,) = await self._primary.rows("SELECT pg_catalog.pg_current_wal_insert_lsn()::text AS lsn")
        reached = parse_lsn(row["lsn"])
        while (await self._replay()).lsn < reached:  # noqa: ASYNC110 - PostgreSQL tells only who asks
            await asyncio.sleep(_SETTLE_POLL_S)

    async def _replay(self) -> Replayed:
        ((lsn,),) = await self._texts(Query("SELECT coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0')"))
        return Replayed(parse_lsn(lsn))

    async def visible(self) -> Visibility:
        """What every later chunk sees. Raises SourceLost."""
        return await (self._replay() if self._standby else self._snapshot())

    async def chunk(self, read: ReadTable, query: Query, limit: int) -> Chunk:
        """Raises TableChanged, ChunkTooSlow, Refused, SourceLost."""
        replayed = await self._replay() if self._standby else None
        chunk, places = Chunk(), read.key_places
        with _read_errors(read):
            async with aclosing(self._stream(query)) as rows:
                async for row in rows:
                    self._take(chunk, row, read, places)
                    if chunk.size >= _MOST_BYTES:
                        break
        if replayed is not None and chunk.rows:
            chunk.visible = replayed
        chunk.cut = chunk.size >= _MOST_BYTES or len(chunk.rows) >= limit
        return chunk

    def _take(self, chunk: Chunk, row: Sequence[str | None], read: ReadTable, places: Sequence[int]) -> None:
        snapshot, read_at, same, *columns = row
        if same != "t":
            raise TableChanged
        values = [NULL if value is None else value for value in columns]
        if not chunk.rows:
            assert snapshot is not None
            assert read_at is not None
            chunk.visible, chunk.read_at = Snapshot.parse(snapshot), int(read_at)
        tenant, key, after = read.table.encoder.encode(values)
        cursor = tuple(str(values[place]) for place in places)
        known = shown(tenant) if isinstance(tenant, str) else tenant
        chunk.rows.append(ReadRow(cursor, as_in_events(key), known, as_in_events(after)))
        chunk.size += len(after)

    async def mark(self, token: str) -> None:
        """Writes the watermark. Raises SourceLost."""
        emit = _MARKED if self._version >= 170000 else _MARKED_BEFORE_17
        await self._emit(emit, {"token": token})

    async def _emit(self, query: str, parameters: Mapping[str, str] | None = None) -> None:
        try:
            await self._primary.rows(query, parameters)
        except pg.InsufficientPrivilege as error:
            raise Refused(
                f"the role of `dsn` may not write messages into the WAL: {first_line(str(error))}. Grant it EXECUTE on "
                "pg_logical_emit_message, which everybody has by default"
            ) from None

    def _stream(self, query: Query) -> AsyncGenerator[Sequence[str | None], None]:
        """Row by row; when it is closed early, the query is cancelled."""
        rows = self._rows.cursor().stream(query.text.encode(), query.parameters)
        return cast("AsyncGenerator[Sequence[str | None], None]", rows)

    async def _texts(self, query: Query) -> list[tuple[str, ...]]:
        cursor = await self._rows.execute(query.text.encode(), query.parameters or None)
        return await cursor.fetchall()


def as_in_events(json: str) -> str:
    return json if json.isascii() else json.encode("utf-8", AS_OCTAL).decode()


class _AsSent(Loader):
    """Text, with bytes that are no UTF-8 kept, as the stream's decoder keeps them."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", KEPT)


def as_texts() -> AdaptersMap:
    """Every value as the text that PostgreSQL prints, as the stream has it."""
    adapters = AdaptersMap()
    adapters.register_loader(0, _AsSent)
    adapters.register_dumper(str, StrDumperUnknown)
    return adapters


@contextmanager
def _read_errors(read: ReadTable) -> Iterator[None]:
    """What PostgreSQL says to a SELECT, as what is to be done about it."""
    name = read.relation.full_name
    try:
        yield
    except (pg.UndefinedTable, pg.UndefinedColumn, pg.InvalidSchemaName):
        raise TableChanged from None
    except pg.QueryCanceled:
        raise ChunkTooSlow from None
    except pg.InsufficientPrivilege as error:
        text = first_line(str(error))
        if "row-level security" in text or "row security" in text:
            raise Refused(
                f"row-level security of {name} would hide rows from role {read.rights.role}: {text}. Let it read with "
                f"`read_dsn`, or run: ALTER ROLE {read.rights.role} BYPASSRLS;"
            ) from None
        raise Refused(f"{text}. Run: {read.rights.grant}") from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise SourceLost(f"PostgreSQL: reading {name}: {first_line(str(error))}") from None
    except psycopg.Error as error:
        raise Refused(f"PostgreSQL refuses to read {name}: {first_line(str(error))}") from None
