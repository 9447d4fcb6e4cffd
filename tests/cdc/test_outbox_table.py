"""The outbox table as setup makes it: its shape, its rights, how it is pruned, and when it goes."""

import asyncio
import dataclasses
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from bridge.demo.nats_server import EmbeddedNats
from bridge.shipped_files import shipped
from cdc.drop import drop
from cdc.lock_patience import Patience
from cdc.setup import SetupRefused, set_up
from eventbus.connection import connect
from eventbus.settings import NatsSettings
from tests.cdc.capturing import TABLES, Source, eventually
from tests.cdc.test_setup import bridge, config

SQL = shipped("migrations")
ROWS = "SELECT topic FROM bridge.outbox ORDER BY id"


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(database, NatsSettings((nats_server.url,), namespace))
    found.settings = dataclasses.replace(found.settings, outbox="bridge.outbox")
    await found.sql(TABLES)
    await found.set_up()
    return found


async def test_its_columns(source: Source) -> None:
    columns = await source.sql(
        "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, attidentity::text FROM pg_attribute "
        "WHERE attrelid = 'bridge.outbox'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert columns == [
        ("id", "bigint", True, "a"),
        ("tenant", "text", False, ""),
        ("topic", "text", True, ""),
        ("key", "jsonb", False, ""),
        ("payload", "jsonb", False, ""),
        ("created_at", "timestamp with time zone", True, ""),
    ]


async def test_the_two_grants_that_are_printed_suffice_to_write(source: Source, tmp_path: Path) -> None:
    file = config(tmp_path, source)
    made = await bridge("setup", "--with", "heartbeat,outbox", "--config", file)
    assert made.code == 0, made.error
    assert "the heartbeat needs no table" in made.out
    assert "write `outbox: bridge.outbox` into the source" in made.out
    writer = f"writer_{conninfo_to_dict(source.dsn)['dbname']}"
    grants = [line.replace("…", writer) for line in made.out.splitlines() if "GRANT" in line]
    await source.sql(f"CREATE ROLE {writer}", *grants)
    try:
        insert = "INSERT INTO bridge.outbox (tenant, topic, key, payload) VALUES ('1', 'paid', '{}', '{}')"
        await source.sql(f"SET ROLE {writer}; {insert}")
    finally:
        await source.sql(f"DROP OWNED BY {writer}; DROP ROLE {writer}")
    assert await source.sql(ROWS) == [("paid",)]


async def test_another_name_and_a_table_that_is_there_already(source: Source) -> None:
    await source.sql('CREATE SCHEMA "Odd one"', 'CREATE TABLE "Odd one"."out box" (id int PRIMARY KEY)')
    await set_up(dataclasses.replace(source.settings, outbox="Odd one.out box"), None, SQL)
    assert await source.sql(
        "SELECT schemaname::text, attnames::text[] FROM pg_publication_tables WHERE tablename = 'out box'"
    ) == [("Odd one", ["id"])]
    await set_up(dataclasses.replace(source.settings, outbox="Odd one.second"), None, SQL)
    await source.sql(f"""CALL "Odd one".prune_second('{source.settings.slot}')""")


async def test_only_what_is_published_is_pruned(source: Source) -> None:
    insert = "INSERT INTO bridge.outbox (topic) VALUES ('{}')"
    prune = f"CALL bridge.prune_outbox('{source.settings.slot}', patience => '{{}}')"
    advance = f"SELECT pg_replication_slot_advance('{source.settings.slot}', pg_current_wal_flush_lsn())"
    await source.sql(insert.format("published"))
    await source.sql(prune.format("0"))
    assert await source.sql(ROWS) == [("published",)]
    async with await psycopg.AsyncConnection.connect(source.dsn) as writer:
        await writer.execute(insert.format("still open").encode())
        pruning = asyncio.create_task(source.sql(prune.format("20 s")))
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        )
        await eventually(lambda: source.sql(waiting), bool)
        await writer.commit()

    async def pruned() -> bool:
        await source.sql("INSERT INTO marks DEFAULT VALUES", advance)
        return pruning.done()

    await eventually(pruned, bool)
    await pruning
    assert await source.sql(ROWS) == [("still open",)]


async def test_its_patience_is_longer_than_what_capture_holds_back_by_default(source: Source) -> None:
    arguments = await source.value("SELECT pg_get_function_arguments('bridge.prune_outbox'::regproc)")
    minutes = re.search(r"patience interval DEFAULT '00:(\d\d):00'", arguments)
    assert minutes is not None
    assert int(minutes[1]) * 60 > NatsSettings().hold_back


async def test_without_the_slot_nothing_is_pruned(source: Source) -> None:
    await source.sql("INSERT INTO bridge.outbox (topic) VALUES ('kept')")
    with pytest.raises(psycopg.errors.RaiseException, match="there is no slot gone"):
        await source.sql("CALL bridge.prune_outbox('gone')")
    await source.sql("CALL bridge.prune_outbox('gone', '1 day')")  # nothing is that old
    assert await source.sql(ROWS) == [("kept",)]


async def dropped(source: Source) -> bool:
    async with await connect(source.nats, name="test", reconnect=False) as connection:
        return await drop(source.settings, None, connection, source.nats.namespace)


async def made(source: Source) -> Any:
    query = "SELECT to_regclass('bridge.outbox') IS NULL, to_regnamespace('bridge') IS NULL, to_regproc('bridge.prune_outbox') IS NULL"
    return (await source.sql(query))[0]


async def test_drop_takes_an_empty_outbox_and_its_schema_along(source: Source) -> None:
    assert await dropped(source) is True
    assert await made(source) == (True, True, True)


async def test_drop_keeps_a_schema_with_something_else_in_it(source: Source) -> None:
    await source.sql("CREATE TABLE bridge.other (a int)")
    assert await dropped(source) is True
    assert await made(source) == (True, False, True)


async def test_drop_keeps_rows_and_says_so(source: Source, tmp_path: Path) -> None:
    await source.sql("INSERT INTO bridge.outbox (topic) VALUES ('kept')")
    ended = await bridge("drop", "--yes", "--config", config(tmp_path, source))
    assert (ended.code, "and outbox bridge.outbox, which holds rows" in ended.out) == (0, True)
    assert await source.sql(ROWS) == [("kept",)]
    assert await source.sql("SELECT FROM pg_publication") == []
    await source.sql("DELETE FROM bridge.outbox")
    again = await bridge("drop", "--yes", "--config", config(tmp_path, source))
    assert "removed outbox bridge.outbox" in again.out
    assert await made(source) == (True, True, True)


async def test_drop_leaves_somebody_elses_table_alone(source: Source) -> None:
    await source.sql("COMMENT ON TABLE bridge.outbox IS 'ours'")
    assert await dropped(source) is True
    assert (await made(source))[0] is False


async def test_drop_names_who_holds_the_outbox(source: Source) -> None:
    impatient = Patience(tries=2, pause_s=0.05, lock_timeout="600ms")
    async with await psycopg.AsyncConnection.connect(source.dsn) as writer:
        await writer.execute("INSERT INTO bridge.outbox (topic) VALUES ('open')")
        async with await connect(source.nats, name="test", reconnect=False) as connection:
            with pytest.raises(
                SetupRefused, match=f"held by process {writer.info.backend_pid} .*given up after 2 tries"
            ):
                await drop(source.settings, None, connection, source.nats.namespace, impatient)
        await writer.rollback()
    assert await dropped(source) is True
    assert await made(source) == (True, True, True)
