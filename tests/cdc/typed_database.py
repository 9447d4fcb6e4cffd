"""A database of typed rows: changed with texts, and read back as texts and as the messages that are published."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg

from cdc.catalogue_facts import KEY_COLUMNS_SQL, TYPES_SQL, Facts, FactsWanted
from cdc.settings import TableSettings
from eventbus.group_commit import Outgoing
from tests.cdc.pgoutput_stream import decoder, frame
from tests.cdc.typed_columns import OBJECTS

SESSION = (
    "-c datestyle=ISO -c intervalstyle=iso_8601 -c bytea_output=hex -c extra_float_digits=1 -c timezone=UTC"
)
Texts = list[str | None]
"""A row as the server prints it."""


class TypedDatabase:
    """A database with a slot, and all types that tests have made."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self.asked: set[int] = set()
        """Types that the catalogue was asked about during the last `captured`."""

    async def run(self, statement: str, parameters: Sequence[str | None] | None = None) -> None:
        await self._connection.execute(statement.encode(), parameters)

    async def texts(self, query: str, parameters: Sequence[str | None] | None = None) -> list[Texts]:
        """Rows as the server prints them."""
        cursor = await self._connection.execute(query.encode(), parameters)
        result = cursor.pgresult
        assert result is not None
        return [
            [
                None if (raw := result.get_value(line, column)) is None else raw.decode()
                for column in range(result.nfields)
            ]
            for line in range(result.ntuples)
        ]

    async def rows(self, query: str, parameters: Any = None) -> list[Any]:
        return await (await self._connection.execute(query.encode(), parameters)).fetchall()

    async def captured(self, table: TableSettings) -> list[Outgoing]:
        """The messages of what was committed since the last call, of the table `typed`."""
        self.asked = set[int]()
        stream = decoder({"public.typed": table})
        sent = await self.rows(
            "SELECT (lsn - '0/0')::bigint, data FROM pg_logical_slot_get_binary_changes('bridge_' || current_database(),"
            " NULL, NULL, 'proto_version', '1', 'publication_names', 'bridge', 'messages', 'true')"
        )
        for lsn, payload in sent:
            wanted = stream.feed(iter([frame(payload, lsn)]))
            if isinstance(wanted, FactsWanted):
                self.asked.update(wanted.types)
                key = await self.rows(KEY_COLUMNS_SQL, [wanted.relation])
                stream.learn(Facts.of_rows(key, await self.rows(TYPES_SQL, [list(wanted.types)])))
        return [message for group in stream.take() for message in group.messages]


@contextlib.asynccontextmanager
async def listening(dsn: str) -> AsyncIterator[TypedDatabase]:
    async with await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, options=SESSION, prepare_threshold=None
    ) as connection:
        database = TypedDatabase(connection)
        await database.run("CREATE PUBLICATION bridge FOR ALL TABLES")
        await database.run(
            "SELECT pg_create_logical_replication_slot('bridge_' || current_database(), 'pgoutput')"
        )
        yield database


async def make_types(db: TypedDatabase) -> None:
    for statement in OBJECTS.split(";\n"):
        await db.run(statement)
