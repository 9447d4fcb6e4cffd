"""One WAL, read with protocol version 1 and with version 2: the events are the same."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from cdc.catalogue_facts import Facts
from cdc.settings import TableSettings
from cdc.streamed_transactions import CannotStream
from eventbus.event import decode_event
from eventbus.group_commit import Outgoing
from tests.cdc.pgoutput_stream import decoder, feed_frames, frame, taken

SESSION = (
    "-c datestyle=ISO -c intervalstyle=iso_8601 -c bytea_output=hex -c extra_float_digits=1 -c timezone=UTC"
)
WHOLE = "'proto_version', '1'"
STREAMED = "'proto_version', '2', 'streaming', 'on'"
TABLES = {f"public.{name}": TableSettings() for name in ("t", "other", "renamed")}
KEY = Facts(key=("id",))


class Wal:
    """A slot that is only looked at, by a server that keeps hardly anything of a transaction in memory."""

    def __init__(self, dsn: str, connection: psycopg.AsyncConnection[Any]) -> None:
        self._dsn = dsn
        self._connection = connection

    async def run(self, *statements: str) -> None:
        """One session, one transaction, unless they say otherwise."""
        async with await psycopg.AsyncConnection.connect(self._dsn) as session:
            for statement in statements:
                await session.execute(statement)

    async def finish(self, *statements: str) -> None:
        """Outside a transaction."""
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as session:
            for statement in statements:
                await session.execute(statement)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """One whose transaction stays open until it says COMMIT."""
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as session:
            await session.execute("BEGIN")
            yield session

    async def sent(self, options: str) -> list[tuple[int, bytes]]:
        cursor = await self._connection.execute(
            "SELECT (lsn - '0/0')::bigint, data FROM pg_logical_slot_peek_binary_changes('bridge_' || current_database(),"
            f" NULL, NULL, {options}, 'publication_names', 'bridge', 'messages', 'true')"
        )
        return await cursor.fetchall()

    async def events(self, options: str) -> list[Outgoing]:
        stream = decoder(TABLES)
        feed_frames(stream, (frame(payload, lsn) for lsn, payload in await self.sent(options)), KEY)
        assert not stream.streamed
        return taken(stream)

    async def same(self) -> list[dict[str, Any]]:
        """The events, which are the same either way."""
        tags = {payload[:1] for _, payload in await self.sent(STREAMED)}
        assert {b"S", b"E"} <= tags, "nothing was streamed"
        streamed, whole = await self.events(STREAMED), await self.events(WHOLE)
        assert streamed == whole
        return [decode_event(message.payload) for message in streamed]


@pytest.fixture
async def wal(any_database: str) -> AsyncIterator[Wal]:
    async with await psycopg.AsyncConnection.connect(
        any_database, autocommit=True, options=SESSION
    ) as connection:
        for statement in (
            "CREATE TABLE t (id int PRIMARY KEY, note text)",
            "CREATE TABLE other (id int PRIMARY KEY, note text, n numeric)",
            "ALTER TABLE other REPLICA IDENTITY FULL",
            "CREATE TABLE unwanted (id int PRIMARY KEY)",
            "CREATE PUBLICATION bridge FOR TABLE t, other, unwanted",
            "SELECT pg_create_logical_replication_slot('bridge_' || current_database(), 'pgoutput')",
            "SET logical_decoding_work_mem = '64kB'",
        ):
            await connection.execute(statement)
        yield Wal(any_database, connection)


def rows(table: str, first: int, last: int, note: str = "repeat('x', 500)") -> str:
    return f"INSERT INTO {table} (id, note) SELECT i, {note} FROM generate_series({first}, {last}) i"


def message(content: str = "'x'") -> str:
    return f"SELECT pg_logical_emit_message(true, 'app', {content})"


async def test_savepoints_tables_and_schemas_in_one_large_transaction(wal: Wal) -> None:
    large = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i)"
    await wal.run(
        rows("t", 1, 300),
        "SAVEPOINT a",
        rows("other", 1, 300),
        message(),
        "SAVEPOINT b",
        rows("t", 1001, 1300),
        "RELEASE b",
        "SAVEPOINT c",
        "INSERT INTO unwanted VALUES (1)",
        rows("other", 1001, 1300),
        "ROLLBACK TO c",
        rows("other", 2001, 2300),
        "ROLLBACK TO a",
        rows("other", 3001, 3300),
        message(),
        f"INSERT INTO other VALUES (4000, {large}, 1.50)",
        "UPDATE other SET n = 2.50 WHERE id = 4000",
        "INSERT INTO unwanted VALUES (2)",
        "ALTER TABLE t ADD COLUMN more numeric DEFAULT 1.10",
        "UPDATE t SET more = 2.20 WHERE id < 200",
        "SAVEPOINT d",
        "ALTER TABLE t DROP COLUMN note",
        "INSERT INTO t SELECT i, 1 FROM generate_series(5001, 6500) i",
        "ROLLBACK TO d",
        rows("t", 7001, 7300),
        "ALTER TABLE t RENAME TO renamed",
        rows("renamed", 8001, 8300),
        "TRUNCATE other, unwanted",
        rows("other", 9001, 9300),
        message(f"repeat('y', {100_000})"),
        "COMMIT",
    )
    events = await wal.same()
    assert {e["source"]["table"] for e in events} == {"t", "other", "renamed"}
    assert {e["op"] for e in events} == {"insert", "update", "truncate"}
    assert not any(1001 <= (e["key"] or {"id": 0})["id"] <= 2300 for e in events)


async def test_several_large_transactions_at_once(wal: Wal) -> None:
    async with wal.session() as first, wal.session() as second, wal.session() as third:
        for part in range(4):
            for number, session in enumerate((first, second, third)):
                start = 10_000 * number + 1000 * part
                await session.execute(f"SAVEPOINT p{part}")
                await session.execute(rows(("t", "other")[part % 2], start, start + 200))
                if part == number:
                    await session.execute(f"ROLLBACK TO p{part}")
            await wal.run(f"INSERT INTO t VALUES ({90_000 + part})", "COMMIT")
        await second.execute("COMMIT")
        await third.execute("ROLLBACK")
        await first.execute("COMMIT")
    events = await wal.same()
    assert len(events) == 2 * 3 * 201 + 4
    assert [e["key"]["id"] for e in events[:4]] == [90_000, 90_001, 90_002, 90_003]
    assert events[4]["key"]["id"] >= 10_000


async def test_a_publication_changed_beside_an_open_transaction(wal: Wal) -> None:
    """Rows streamed before the change are sent as it was then, and with version 1 as it is at the commit."""
    async with wal.session() as large:
        await large.execute(rows("t", 1, 500))
        await wal.run("ALTER PUBLICATION bridge SET TABLE t (id), other", "COMMIT")
        await wal.run("INSERT INTO t VALUES (1000, 'excluded')", "COMMIT")
        await large.execute("COMMIT")
    await wal.run("INSERT INTO t VALUES (1001, 'excluded')", "COMMIT")
    for options in (WHOLE, STREAMED):
        events = [decode_event(message.payload) for message in await wal.events(options)]
        by_id = {e["key"]["id"]: set(e["after"]) for e in events}
        assert len(by_id) == 502
        assert by_id[1000] == by_id[1001] == {"id"}, options


async def test_a_message_before_a_savepoint_that_is_rolled_back_is_not_guessed_at(wal: Wal) -> None:
    """The server streams a message under the xid of the whole transaction, whoever wrote it."""
    await wal.run(
        rows("t", 1, 300),
        "SAVEPOINT a",
        message("repeat('y', 100000)"),
        "ROLLBACK TO a",
        rows("t", 1001, 1300),
        "COMMIT",
    )
    with pytest.raises(CannotStream, match="savepoint"):
        await wal.events(STREAMED)


async def test_where_a_change_comes_from_says_nothing(wal: Wal) -> None:
    try:
        await wal.run("SELECT pg_replication_origin_create(current_database())", "COMMIT")
        await wal.run(
            "SELECT pg_replication_origin_session_setup(current_database())",
            "SELECT pg_replication_origin_xact_setup('0/1', now())",
            rows("t", 1, 500),
            "COMMIT",
        )
        assert b"O" in {payload[:1] for _, payload in await wal.sent(STREAMED)}
        assert len(await wal.same()) == 500
    finally:
        await wal.run("SELECT pg_replication_origin_drop(current_database())", "COMMIT")


async def test_prepared_transactions_come_whole_once_they_commit(wal: Wal, any_database: str) -> None:
    database = psycopg.conninfo.conninfo_to_dict(any_database)["dbname"]  # their names are the cluster's
    names = [f"{name} {database}" for name in ("small", "large", "lost", "lost_large")]
    for number, name in enumerate(names):
        last = 1000 * number + (2 if number % 2 == 0 else 499)
        await wal.run(rows("t", 1000 * number, last), f"PREPARE TRANSACTION '{name}'")
    try:
        await wal.run("INSERT INTO other VALUES (1)", "COMMIT")
        before = [payload[:1] for _, payload in await wal.sent(WHOLE)]
    finally:
        await wal.finish(*(f"ROLLBACK PREPARED '{name}'" for name in names[2:]))
        await wal.finish(*(f"COMMIT PREPARED '{name}'" for name in names[1::-1]))
    assert before.count(b"B") == 1, "nothing at PREPARE"
    events = await wal.same()
    assert [e["key"]["id"] for e in events] == [1, *range(1000, 1500), 0, 1, 2]
