"""`bridge cdc setup`, `check` and `drop` as a DBA meets them: objects, rights, messages and exit codes."""

import asyncio
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bridge.demo.nats_server import EmbeddedNats, find_nats
from bridge.demo.postgres_server import EmbeddedPostgres, postgres_programs
from bridge.shipped_files import shipped
from cdc.catalogue import Catalogue
from cdc.finding import Finding
from cdc.preflight import check
from cdc.settings import SourceSettings, TableSettings
from cdc.setup import SetupRefused, printed, scripts, set_up
from cdc.source_reading import read_facts
from eventbus.settings import NatsSettings
from tests.cdc.capturing import TABLES, Source

SQL = shipped("migrations")


@pytest.fixture
async def source(database: str) -> Source:
    found = Source(database, NatsSettings())
    await found.sql(TABLES)
    return found


async def published(source: Source) -> list[tuple[Any, ...]]:
    return await source.sql("SELECT tablename, attnames::text[] FROM pg_publication_tables ORDER BY 1")


async def test_setup_again_changes_nothing(source: Source) -> None:
    async def state() -> list[tuple[Any, ...]]:
        return await source.sql(
            "SELECT p.oid::int, p.xmin::text, obj_description(p.oid, 'pg_publication'), s.confirmed_flush_lsn::text, "
            "(SELECT array_agg(r.xmin::text) FROM pg_publication_rel r) FROM pg_publication p, pg_replication_slots s "
            f"WHERE s.slot_name = '{source.settings.slot}'"
        )

    await source.set_up()
    before = await state()
    await source.set_up()
    assert await state() == before
    recorded = json.loads(before[0][2])
    assert recorded == {"made_by": "fracttal-bridge", "slot": source.settings.slot, "slot_lsn": before[0][3]}


async def test_the_slot_is_made_for_failover_and_not_for_two_phase(source: Source) -> None:
    await source.set_up()
    query = "SELECT plugin, two_phase, failover, temporary FROM pg_replication_slots WHERE slot_name = '{}'"
    assert await source.sql(query.format(source.settings.slot)) == [("pgoutput", False, True, False)]


async def test_tables_come_and_go_with_the_configuration(source: Source) -> None:
    await source.set_up()
    await source.sql('CREATE TABLE "Odd name" (id int PRIMARY KEY, "a b" text, secret text)')
    tables = {"public.Odd name": TableSettings(exclude=("secret",)), "public.marks": TableSettings()}
    changed = dataclasses.replace(source.settings, tables=tables)
    await set_up(changed, None, SQL)
    assert await published(source) == [("Odd name", ["id", "a b"]), ("marks", ["n"])]
    await source.set_up()
    assert [name for name, _ in await published(source)] == ["marks", "orders"]


async def test_a_table_that_inherits_is_published_under_its_own_name_alone(source: Source) -> None:
    await source.sql("CREATE TABLE more_marks (more text) INHERITS (marks)")
    await source.set_up()
    assert [table for table, _ in await published(source)] == ["marks", "orders"]
    # as an older version of ours, or a hand, published it
    await source.sql("ALTER PUBLICATION bridge ADD TABLE more_marks")
    await source.set_up()
    assert [table for table, _ in await published(source)] == ["marks", "orders"]


async def test_setup_leaves_alone_what_others_made(source: Source) -> None:
    await source.sql("CREATE PUBLICATION bridge FOR TABLE marks")
    with pytest.raises(SetupRefused, match="publication bridge is there already"):
        await source.set_up()
    await source.sql(
        "DROP PUBLICATION bridge",
        f"SELECT pg_create_logical_replication_slot('{source.settings.slot}', 'pgoutput')",
    )
    with pytest.raises(SetupRefused, match="was not made for publication bridge"):
        await source.set_up()


async def test_a_role_is_made_that_may_replicate_and_nothing_else(
    source: Source, postgres: EmbeddedPostgres
) -> None:
    name = str(conninfo_to_dict(source.dsn)["dbname"])
    limited = dataclasses.replace(source.settings, dsn=postgres.dsn(name, f"reader_{name}", "a secret: '\\"))
    try:
        await set_up(limited, source.dsn, SQL)
        assert not [finding for finding in await findings(limited) if finding.stops]  # it can log in and look
        with psycopg.connect(limited.dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM orders")
        role = await source.sql(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication FROM pg_roles "
            f"WHERE rolname = 'reader_{name}'"
        )
        assert role == [(False, False, False, False, True)]
        with pytest.raises(SetupRefused, match="pass --admin-dsn"):
            await set_up(dataclasses.replace(limited, publication="another"), None, SQL)
    finally:
        await source.sql(f'DROP ROLE IF EXISTS "reader_{name}"')


async def test_drop_without_the_rights_removes_nothing(
    source: Source, postgres: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source.nats = NatsSettings((nats_server.url,), namespace)
    name = str(conninfo_to_dict(source.dsn)["dbname"])
    reader = postgres.dsn(name, f"reader_{name}", "secret")
    await set_up(dataclasses.replace(source.settings, dsn=reader), source.dsn, SQL)
    try:
        file = config(tmp_path, source, dsn=reader)
        refused = await bridge("drop", "--yes", "--config", file)
        assert (refused.code, "pass --admin-dsn" in refused.error) == (1, True)
        wrong = make_conninfo(source.dsn, user="nobody_at_all")
        unknown = await bridge("drop", "--yes", "--admin-dsn", wrong, "--config", file)
        assert (unknown.code, "check `--admin-dsn`" in unknown.error) == (3, True)
        slot = f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{source.settings.slot}'"
        assert len(await source.sql(slot)) == 1
        assert (await bridge("drop", "--yes", "--admin-dsn", source.dsn, "--config", file)).code == 0
        assert await source.sql(slot) == []
    finally:
        await source.sql(f'DROP ROLE "reader_{name}"')


async def test_the_printed_scripts_run_in_psql_and_hold_no_password(source: Source) -> None:
    settings = dataclasses.replace(source.settings, dsn=make_conninfo(source.dsn, password="hunter2"))
    found = printed(scripts(settings, SQL))
    assert list(found) == ["the owner of the tables", "a superuser"]
    assert "hunter2" not in "".join(found.values())
    for _ in range(2):
        for text in found.values():
            await psql(source.dsn, text)
    assert [name for name, _ in await published(source)] == ["marks", "orders"]
    assert not [finding for finding in await findings(source.settings) if finding.stops]


async def psql(dsn: str, text: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(str(postgres_programs() / "psql"), "--no-psqlrc", "--quiet", dsn),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate(text.encode())
    assert process.returncode == 0, errors.decode()


async def findings(settings: SourceSettings) -> list[Finding]:
    catalogue = await Catalogue.open(settings.dsn)
    try:
        return check(await read_facts(catalogue, settings), settings)
    finally:
        await catalogue.close()


async def codes(source: Source, tables: dict[str, TableSettings]) -> set[str]:
    found = await findings(dataclasses.replace(source.settings, tables=tables))
    return {finding.code for finding in found if finding.object.startswith("public.")}


async def test_the_findings_about_tables(source: Source) -> None:
    await source.sql(
        "CREATE TABLE plain (id int PRIMARY KEY, company int, photo bytea)",
        "CREATE TABLE keyless (a int)",
        "CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY)",
        "CREATE VIEW seen AS SELECT 1 AS id",
        "CREATE TABLE whole (id int PRIMARY KEY, company int NOT NULL, photo bytea)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
    )
    of = TableSettings
    assert await codes(source, {"public.orders": of("company")}) == set()
    assert await codes(source, {"public.plain": of("company")}) == {
        "delete_without_tenant",
        "tenant_nullable",
    }
    assert await codes(source, {"public.plain": of(None, exclude=("photo",))}) == set()
    assert await codes(source, {"public.plain": of(None, exclude=("id",))}) == {"exclude_needed"}
    assert await codes(source, {"public.keyless": of()}) == {"no_identity", "no_key"}
    assert await codes(source, {"public.unlogged": of()}) == {"table_not_logged"}
    assert await codes(source, {"public.seen": of()}) == {"table_not_logged"}
    assert await codes(source, {"public.whole": of("company")}) == set()
    assert await codes(source, {"public.whole": of("company", exclude=("photo",))}) == {"exclude_with_full"}
    assert await codes(source, {"public.order": of("company")}) == {"table_unknown"}
    assert await codes(source, {"public.orders": of("compny")}) == {"column_unknown"}


async def test_the_cure_of_a_delete_without_tenant_is_printed_and_works(source: Source) -> None:
    await source.sql('CREATE TABLE "Plain" (id int PRIMARY KEY, company int)')
    tables = {"public.Plain": TableSettings("company")}
    settings = dataclasses.replace(source.settings, tables=tables)
    (cure,) = [finding.sql for finding in await findings(settings) if finding.code == "delete_without_tenant"]
    await source.sql(*(line for line in cure.splitlines()))
    assert await codes(source, tables) == set()


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    error: str


async def bridge(*arguments: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "cdc", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), error.decode())


def embedded(folder: Path, source: Source) -> str:
    """As `config`, with a nats-server of its own."""
    file = Path(config(folder, source))
    servers = re.compile("^nats: .*$", re.MULTILINE)
    file.write_text(servers.sub("nats: {embedded: data}", file.read_text()))
    return str(file)


def config(folder: Path, source: Source, *, table: str = "public.orders", dsn: str | None = None) -> str:
    file = folder / "bridge.yaml"
    file.write_text(
        "sources:\n"
        "  shop:\n"
        f"    dsn: {json.dumps(dsn or source.dsn)}\n"
        f"    slot: {source.settings.slot}\n"
        "    tables:\n"
        f"      {table}: {{tenant_column: company}}\n"
        f"nats: {{servers: [{json.dumps(source.nats.servers[0])}], namespace: '{source.nats.namespace}'}}\n"
        "streams: {events: {max_bytes: 16MB}, deliveries: {max_bytes: 16MB}, attempts: {max_bytes: 1MB}, dlq: "
        "{max_bytes: 1MB}}\n"
    )
    return str(file)


async def test_the_commands_and_their_exit_codes(
    source: Source, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source.nats = NatsSettings((nats_server.url,), namespace)
    file = config(tmp_path, source)
    started = await bridge("start", "--config", file)
    assert (started.code, "bridge cdc setup" in started.error) == (1, True)
    assert (await bridge("setup", "--config", file)).code == 0
    checked = await bridge("check", "--json", "--config", file)
    assert checked.code == 0
    assert {"level", "code", "object", "message", "sql"} == set(json.loads(checked.out.splitlines()[0]))
    assert (await bridge("drop", "--yes", "--config", file)).code == 0  # nothing was ever published
    assert await source.sql("SELECT FROM pg_publication") == []


async def test_status_and_drop(
    source: Source, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source.nats = NatsSettings((nats_server.url,), namespace, sync_interval=0.0)
    await source.set_up()
    file = config(tmp_path, source)
    async with source.capturing():
        await source.captured()
        running = json.loads((await bridge("status", "--json", "--config", file)).out)
        assert (running["state"], running["epoch"]) == ("running", 1)
        refused = await bridge("drop", "--yes", "--config", file)
        assert (refused.code, "stop `bridge cdc start`" in refused.error) == (1, True)
    stopped = await bridge("status", "--config", file)
    assert (stopped.code, "Nobody reads slot" in stopped.out) == (0, True)
    assert (await bridge("drop", "--yes", "--config", file)).code == 0
    assert await source.sql("SELECT FROM pg_publication") == []
    assert "There is no slot" in (await bridge("status", "--config", file)).out


async def test_status_tells_a_slot_that_somebody_moved(
    source: Source, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source.nats = NatsSettings((nats_server.url,), namespace, sync_interval=0.0)
    await source.set_up()
    async with source.capturing():
        await source.captured()
    await source.sql(
        "INSERT INTO marks VALUES (4711)",
        f"SELECT pg_replication_slot_advance('{source.settings.slot}', pg_current_wal_lsn())",
    )
    moved = json.loads((await bridge("status", "--json", "--config", config(tmp_path, source))).out)
    assert moved["state"] == "moved"
    assert "`bridge cdc start` says what is to be decided" in moved["summary"]


async def test_status_tells_what_postgres_knows_while_nats_is_away(source: Source, tmp_path: Path) -> None:
    source.nats = NatsSettings(("nats://127.0.0.1:1",))
    await source.set_up()
    told = await bridge("status", "--config", config(tmp_path, source))
    assert (told.code, told.out) == (3, "")
    assert f"slot {source.settings.slot} is read by nobody, confirmed up to 0/" in told.error
    assert "of WAL" in told.error


async def test_a_slot_of_another_database_is_left_alone(
    source: Source, postgres: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source.nats = NatsSettings((nats_server.url,), namespace)
    await source.set_up()
    elsewhere = Source(postgres.dsn(), source.nats)
    file = config(tmp_path, source, dsn=elsewhere.dsn)
    for command in (("check",), ("drop", "--yes")):
        refused = await bridge(*command, "--config", file)
        said = refused.out + refused.error
        assert refused.code in {1, 2}  # 2: its table is not there either
        assert "belongs to database" in said
        assert "pg_drop_replication_slot" not in said


async def test_streams_of_another_size_end_with_2(
    source: Source, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source.nats = NatsSettings((nats_server.url,), namespace)
    await source.set_up()
    async with source.capturing():
        await source.captured()
    refused = await bridge("start", "--config", config(tmp_path, source))
    assert refused.code == 2
    assert "max_bytes is" in refused.error


async def test_mistakes_name_file_line_and_remedy(source: Source, tmp_path: Path) -> None:
    file = config(tmp_path, source, table="public.ordrs")
    unknown = await bridge("check", "--config", file)
    assert unknown.code == 2
    assert f"{file}:6:" in unknown.error
    assert "did you mean public.orders?" in unknown.error
    wrong = make_conninfo(source.dsn, user="nobody", password="hunter2")
    refused = await bridge("start", "--config", config(tmp_path, source, dsn=wrong))
    assert refused.code == 3
    assert "hunter2" not in refused.error
    assert "Traceback" not in refused.error
    unreachable = make_conninfo(source.dsn, port=1)
    assert (await bridge("start", "--config", config(tmp_path, source, dsn=unreachable))).code == 3


async def test_drop_starts_an_embedded_nats_server_that_does_not_run(source: Source, tmp_path: Path) -> None:
    """While `bridge up` runs it, capture reads the slot, and drop refuses."""
    await source.set_up()
    dropped = await bridge("drop", "--yes", "--config", embedded(tmp_path, source))
    assert (dropped.code, "removed slot" in dropped.out) == (0, True), dropped.error
    assert await source.sql("SELECT FROM pg_publication") == []
    assert find_nats(tmp_path / "data") is None


async def test_wal_level_is_named_with_its_cure(own_postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    source = Source(own_postgres.dsn(), NatsSettings())
    await source.sql(TABLES, "ALTER SYSTEM SET wal_level = 'replica'")
    await own_postgres.stop()
    await own_postgres.start()
    for command in ("setup", "check", "start"):
        ended = await bridge(command, "--config", config(tmp_path, source))
        assert ended.code == 1
        assert "ALTER SYSTEM SET wal_level = 'logical'" in ended.out + ended.error
    elsewhere = await bridge("setup", "--provider", "rds", "--config", config(tmp_path, source))
    assert (elsewhere.code, "rds.logical_replication = 1" in elsewhere.error) == (1, True)
