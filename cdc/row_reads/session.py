"""One read-only session with a source, for rows by the values of their columns.

What is never done: a row of another tenant's is given, an excluded column read, a value put into SQL text, or a row
read as it was before the change that asks for it.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Self, cast

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg import errors as pg

from cdc.backfill.table_reader import as_in_events, as_texts
from cdc.backfill.visibility import Replayed, Snapshot, Visibility
from cdc.catalogue_facts import TYPES_SQL, Facts
from cdc.foreign_bytes import shown
from cdc.pgoutput import NULL
from cdc.row_encoder import RowEncoder
from cdc.row_reads.question import (
    Answer,
    Question,
    ReadRefused,
    ReadTooSlow,
    Row,
    Shape,
    TooLarge,
    ValueUnfit,
)
from cdc.row_reads.readable_table import (
    COLUMNS_SQL,
    TABLE_SQL,
    Column,
    ReadableTable,
    check_shape,
    readable_table,
    table_settings,
    unknown_types,
)
from cdc.row_reads.statement import Statement, array_text, statement
from cdc.settings import SourceSettings, split_table
from cdc.source_dsn import reading_by_value
from cdc.source_errors import SourceLost, first_line
from eventbus.event import decode_event
from eventbus.lsn import parse_lsn

TIMEOUT_S = 5
"""Of one statement."""
MOST_BYTES = 8 * 2**20
"""Of JSON that the rows of one question may have."""
_DATA = ("22", "23514")
"""Classes of SQLSTATE: data exceptions; a domain's check."""


class TableChanged(Exception):
    """The table is no longer as it was described: describe it again, in a new session."""


class RowSession:
    """Not for two questions at once."""

    def __init__(self, source: SourceSettings, connection: AsyncConnection[Any], *, standby: bool) -> None:
        self._source = source
        self._connection = connection
        self._standby = standby
        self._tables: dict[str, ReadableTable] = {}

    @classmethod
    async def open(cls, source: SourceSettings) -> Self:
        """Raises SourceLost."""
        try:
            connection = await AsyncConnection.connect(
                reading_by_value(source.read_dsn or source.dsn, TIMEOUT_S),
                autocommit=True,
                context=as_texts(),
                cursor_factory=AsyncRawCursor,
            )
        except psycopg.OperationalError as error:
            raise SourceLost(f"PostgreSQL: {first_line(str(error))}", refused=True) from None
        try:
            cursor = await connection.execute("SELECT pg_catalog.pg_is_in_recovery()")
            standby = await cursor.fetchone() == ("t",)
        except psycopg.Error as error:
            await connection.close()
            raise SourceLost(f"PostgreSQL: {first_line(str(error))}") from None
        return cls(source, connection, standby=standby)

    async def close(self) -> None:
        await self._connection.close()

    async def read(self, question: Question) -> Answer:
        """Raises ReadRefused, ReadTooSlow, TableChanged, SourceLost."""
        with _read_errors(question.shape.table, self._source):
            table = await self._table(question.shape.table)
            check_shape(table, question.shape)
            return await self._answer(table, question)

    async def check(self, shape: Shape) -> None:
        """Whether what has this shape can be asked at all. Raises as `read` does."""
        with _read_errors(shape.table, self._source):
            table = await self._table(shape.table)
            check_shape(table, shape)
            asked = statement(table, shape, None, [(None,) * len(shape.where)])
            await self._query(asked.text, *asked.parameters)

    async def _answer(self, table: ReadableTable, question: Question) -> Answer:
        replayed = await self._replayed() if self._standby else None
        texts = [_texts(table, question.shape, values) for values in question.values]
        fit = [values for values in texts if not isinstance(values, ValueUnfit)]
        if not fit:
            return Answer([cast("ValueUnfit", unfit) for unfit in texts], Replayed(0))
        try:
            rows, snapshot = await self._rows(table, question, fit)
        except (TooLarge, pg.DataError, pg.CheckViolation) as error:
            if len(question.values) > 1:
                return await self._one_by_one(table, question)
            said = error if isinstance(error, TooLarge) else ValueUnfit(first_line(str(error)))
            return Answer([said], Replayed(0))
        found = iter(rows)
        answers = [values if isinstance(values, ValueUnfit) else next(found) for values in texts]
        return Answer(answers, replayed or snapshot)

    async def _one_by_one(self, table: ReadableTable, question: Question) -> Answer:
        """One of them does not fit: only that one is to hear of it."""
        rows: list[Sequence[Row] | Exception] = []
        seen: Visibility | None = None
        for values in question.values:
            answer = await self._answer(table, Question(question.shape, question.tenant, [values]))
            rows += answer.rows
            if seen is None and not isinstance(answer.rows[0], Exception):
                seen = answer.seen  # what a later one sees, this one need not
        return Answer(rows, seen or Replayed(0))

    async def _rows(
        self, table: ReadableTable, question: Question, values: Sequence[tuple[str | None, ...]]
    ) -> tuple[list[list[Row]], Snapshot]:
        """Raises TooLarge for all of them together, and psycopg's errors."""
        shape = question.shape
        asked = statement(table, shape, question.tenant, values)
        encoder = table.encoder(asked.wanted)
        rows: list[list[Row]] = [[] for _ in values]
        size, snapshot = 0, ""
        async with aclosing(self._stream(asked)) as stream:
            async for row in stream:
                snapshot, same, number, here, *columns = row
                if same != "t":
                    raise TableChanged
                if here is None:
                    continue
                size += sum(len(column) for column in columns if column)
                if size > MOST_BYTES:
                    raise TooLarge(f"{table.name}: the rows have more than {MOST_BYTES // 2**20} MB")
                of_tenant = _row(encoder, columns, question.tenant if table.tenant else None)
                if of_tenant is not None:
                    rows[int(number) - 1].append(of_tenant)
        return rows, Snapshot.parse(snapshot)

    def _stream(self, asked: Statement) -> AsyncGenerator[Sequence[Any], None]:
        rows = self._connection.cursor().stream(asked.text.encode(), asked.parameters)
        return cast("AsyncGenerator[Sequence[Any], None]", rows)

    async def _replayed(self) -> Replayed:
        """Asked before the rows are: they may be newer, never older."""
        rows = await self._query("SELECT coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0')")
        return Replayed(parse_lsn(str(rows[0][0])))

    async def _table(self, name: str) -> ReadableTable:
        known = self._tables.get(name)
        if known is None:
            known = self._tables[name] = await self._described(name)
        return known

    async def _described(self, name: str) -> ReadableTable:
        settings = table_settings(self._source, name)
        rows = await self._query(TABLE_SQL, *split_table(name))
        if not rows:
            raise ReadRefused(f"table {name} is not there: it was dropped or renamed")
        described = [Column.of_row(row) for row in await self._query(COLUMNS_SQL, rows[0][0])]
        facts = Facts()
        if types := unknown_types(described):
            found = await self._query(TYPES_SQL.replace("%s", "$1"), array_text([str(oid) for oid in types]))
            facts = Facts.of_rows((), map(_type_row, found))
        return readable_table(name, settings, rows[0], described, facts)

    async def _query(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = await self._connection.execute(query.encode(), parameters or None)
        return await cursor.fetchall()


def _type_row(row: Sequence[str]) -> tuple[int, str, str, int, int, str]:
    oid, name, kind, base, element, delimiter = row
    return int(oid), name, kind, int(base), int(element), delimiter


def _texts(table: ReadableTable, shape: Shape, values: Sequence[Any]) -> tuple[str | None, ...] | ValueUnfit:
    texts: list[str | None] = []
    try:
        for (name, listed), value in zip(shape.where, values, strict=True):
            column = table.column(name, "`where` compares")
            texts.append(
                array_text([column.text_of(one) for one in value]) if listed else column.text_of(value)
            )
    except ValueUnfit as unfit:
        return unfit
    return tuple(texts)


def _row(encoder: RowEncoder, columns: Sequence[str | None], tenant: str | None) -> Row | None:
    """None for another tenant's: equal to this one for the column's type, but not the same (`citext`, a collation)."""
    owner, _, row = encoder.encode([NULL if value is None else value for value in columns])
    if tenant is not None and (not isinstance(owner, str) or shown(owner) != tenant):
        return None
    return cast("Mapping[str, Any]", decode_event(as_in_events(row).encode()))


@contextmanager
def _read_errors(name: str, source: SourceSettings) -> Iterator[None]:
    """What PostgreSQL says to a SELECT, as what is to be done about it."""
    whose = "`read_dsn`" if source.read_dsn else "`dsn`"
    try:
        yield
    except (pg.UndefinedTable, pg.UndefinedColumn, pg.InvalidSchemaName, pg.FeatureNotSupported):
        raise TableChanged from None
    except pg.QueryCanceled:
        raise ReadTooSlow(f"reading {name} took longer than {TIMEOUT_S} s") from None
    except pg.UndefinedFunction as error:
        raise ReadRefused(
            f"{name}: {first_line(str(error))}: a column that `where` names cannot be compared"
        ) from None
    except pg.InsufficientPrivilege as error:
        raise ReadRefused(
            f"the role of {whose} of source {source.name} may not read {name}: {first_line(str(error))}; docs/dba.md,"
            ' "What enrichment reads", has the GRANT'
        ) from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise SourceLost(f"PostgreSQL: reading {name}: {first_line(str(error))}") from None
    except psycopg.Error as error:
        raise ReadRefused(f"PostgreSQL refuses to read {name}: {first_line(str(error))}") from None
