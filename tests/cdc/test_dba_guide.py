"""docs/dba.md: its SQL runs, its pg_hba.conf lines do what they say, and its steps lead where it says."""

import dataclasses
import re
from pathlib import Path

import psycopg
import pytest

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from bridge.shipped_files import shipped
from cdc.drop import drop
from cdc.replication_connection import ReplicationConnection
from cdc.settings import SourceSettings, TableSettings
from cdc.setup import set_up
from eventbus.connection import connect
from eventbus.settings import NatsSettings
from tests.cdc.capturing import Source, eventually
from tests.conftest import POSTGRES_SETTINGS

GUIDE = (Path(__file__).parents[2] / "docs" / "dba.md").read_text()
TABLE = "CREATE TABLE work_orders (id int PRIMARY KEY, id_company int NOT NULL, id_status_work_order int NOT NULL)"
MARKS = "CREATE TABLE marks (n bigserial PRIMARY KEY)"


def blocks(section: str, language: str = "sql") -> list[str]:
    """The code below a heading."""
    text = re.split(r"\n##+ ", GUIDE.partition(f"# {section}")[2], maxsplit=1)[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def statements(block: str) -> list[str]:
    plain = re.sub(r"--.*", "", block)
    return [statement for statement in plain.split(";") if statement.strip()]


@pytest.fixture
async def source(own_postgres: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str) -> Source:
    """With the names of the guide: database shop, role, slot and publication bridge."""
    await Source(own_postgres.dsn(), NatsSettings()).sql("CREATE DATABASE shop TEMPLATE template0")
    found = Source(own_postgres.dsn("shop"), NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    found.settings = SourceSettings(
        "shop",
        own_postgres.dsn("shop", "bridge", "secret"),
        {"public.work_orders": TableSettings("id_company"), "public.marks": TableSettings()},
        outbox="bridge.outbox",
    )
    await found.sql(TABLE, MARKS)
    await set_up(found.settings, found.dsn, shipped("migrations"))
    return found


async def removed(source: Source) -> bool:
    async with await connect(source.nats, name="test", reconnect=False) as connection:
        return await drop(source.settings, source.dsn, connection, source.nats.namespace)


async def test_its_sql_runs_and_leaving_leaves_no_trace(source: Source) -> None:
    for section in ("Outbox", "Replica identity", "WAL, and how much", "Failover"):
        assert blocks(section), section
        for block in blocks(section):
            await source.sql(*statements(block))
    identity = "SELECT relreplident::text FROM pg_class WHERE relname = 'work_orders'"
    assert await source.value(identity) == "i"
    (leave, trace) = blocks("Leaving without a trace")
    assert len(await source.sql(trace)) > 4
    await source.sql("INSERT INTO bridge.outbox (topic) VALUES ('kept')")
    assert await removed(source) is False
    assert len(await source.sql(trace)) == 4  # table, procedure, schema, role
    await source.sql(*statements(leave))
    assert await source.sql(trace) == []


async def test_its_pg_hba_lines_let_the_role_into_its_database_alone(
    source: Source, own_postgres: EmbeddedPostgres
) -> None:
    (lines,) = blocks("Rights, and why so few", "")
    # this server has no certificate, and we are on its machine
    lines = lines.replace("hostssl", "host").replace("10.1.2.3/32", "127.0.0.1/32")
    file = own_postgres._pgdata / "pg_hba.conf"
    file.write_text(lines + file.read_text())
    await source.sql("SELECT pg_reload_conf()")

    async def refused() -> bool:
        try:
            await (
                await psycopg.AsyncConnection.connect(own_postgres.dsn("postgres", "bridge", "secret"))
            ).close()
        except psycopg.OperationalError as error:
            assert "pg_hba.conf rejects connection" in str(error)  # noqa: PT017 — until it is reloaded there is none
            return True
        return False

    await eventually(refused, bool)
    await (await ReplicationConnection.open(source.settings.dsn)).close()
    await source.sql("SELECT 1")


@pytest.mark.slow
async def test_a_major_upgrade_by_drop_and_setup(source: Source, tmp_path: Path) -> None:
    source.settings = dataclasses.replace(source.settings, outbox=None)
    insert = "INSERT INTO work_orders VALUES ({}, 1, 1)"

    async with source.capturing():
        await source.sql(insert.format(1))
        await source.captured()
    await removed(source)
    async with EmbeddedPostgres(tmp_path / "upgraded", POSTGRES_SETTINGS) as upgraded:
        source.dsn = upgraded.dsn()
        source.settings = dataclasses.replace(source.settings, dsn=source.dsn)
        await source.sql(TABLE, MARKS, insert.format(1))
        await source.set_up()
        async with source.capturing():
            await source.sql(insert.format(2))
            both = await eventually(lambda: source.events("work_orders"), lambda events: len(events) == 2)
        first, second = both
        assert first["id"].startswith("shop:")
        assert second["id"].startswith("shop@2:")
