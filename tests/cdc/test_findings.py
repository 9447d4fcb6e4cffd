"""Each finding of `bridge cdc check` on a server that has it, and a healthy source that has none."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo

from bridge.demo.postgres_server import EmbeddedPostgres
from bridge.shipped_files import shipped
from cdc.finding import Finding
from cdc.preflight import check
from cdc.replication_connection import ReplicationConnection
from cdc.settings import SourceSettings, TableSettings
from cdc.setup import set_up
from cdc.source_errors import SourceLost
from eventbus.settings import NatsSettings
from tests.cdc.capturing import TABLES, Source, eventually
from tests.cdc.checking import facts_of, findings_of
from tests.cdc.pooling import pooler
from tests.conftest import POSTGRES_SETTINGS

SOUND = {**POSTGRES_SETTINGS, "max_slot_wal_keep_size": "2GB"}
TENANT = TableSettings("company")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sound_postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """A cluster set up as docs/dba.md asks, for the findings about the whole server."""
    async with EmbeddedPostgres(tmp_path_factory.mktemp("sound"), SOUND) as server:
        yield server


@pytest.fixture
async def source(sound_postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> AsyncIterator[Source]:
    """Set up for the role `reader`, which has no other rights."""
    admin = Source(sound_postgres.dsn(), NatsSettings())
    await admin.sql("CREATE DATABASE shop TEMPLATE template0")
    found = Source(sound_postgres.dsn("shop"), NatsSettings())
    reader = sound_postgres.dsn("shop", "reader", "secret")
    found.settings = dataclasses.replace(found.settings, dsn=reader, outbox="bridge.outbox", wal_limit=2**30)
    await found.sql(TABLES)
    await set_up(found.settings, found.dsn, shipped("migrations"))
    yield found
    await admin.sql("DROP DATABASE shop WITH (FORCE)", "DROP ROLE reader")


async def found(source: Source, **changes: Any) -> dict[str, Finding]:
    return await findings_of(source.settings, **changes)


async def one(source: Source, code: str, **changes: Any) -> Finding:
    """The only finding."""
    findings = await found(source, **changes)
    assert {*findings} == {code}
    return findings[code]


async def test_a_healthy_source_has_none(source: Source) -> None:
    assert await found(source) == {}


# --- the server


@pytest.mark.parametrize(
    ("name", "value", "code", "cured"),
    [
        ("max_slot_wal_keep_size", "-1", "wal_keep_unbounded", True),
        ("max_slot_wal_keep_size", "1GB", "wal_limit_too_high", False),
        ("idle_replication_slot_timeout", "1d", "idle_slot_timeout", True),
        ("synchronous_commit", "off", "synchronous_commit", True),
        ("synchronous_standby_names", "ANY 1 (other, *)", "synchronous_standby", True),
        ("synchronous_standby_names", '"Fracttal-Bridge"', "synchronous_standby", True),
        ("wal_sender_timeout", "1h", "", False),  # ours is asked for in the session
    ],
)
async def test_settings_of_the_server(
    source: Source, name: str, value: str, code: str, *, cured: bool
) -> None:
    async def in_force(wanted: str) -> None:
        shows = f"SELECT current_setting('{name}') = '{wanted}'"
        await source.sql("SELECT pg_reload_conf()")
        await eventually(lambda: source.value(shows), bool)

    before = await source.value(f"SELECT current_setting('{name}')")
    quoted = value.replace("'", "''")
    try:
        await source.sql(f"ALTER SYSTEM SET {name} = '{quoted}'")
        await in_force(value)
        findings = await found(source)
        assert {*findings} == ({code} if code else set())
        if cured:
            await source.sql(*findings[code].sql.partition("--")[0].strip().split("; "))
            healed = await found(source)
            assert healed == {}
    finally:
        await source.sql(f"ALTER SYSTEM RESET {name}")
        await in_force(before)


async def test_a_database_without_an_encoding(source: Source) -> None:
    await source.sql(
        "CREATE DATABASE bytes TEMPLATE template0 ENCODING SQL_ASCII LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        findings = await found(source, dsn=make_conninfo(source.settings.dsn, dbname="bytes"))
        assert "server_encoding" in findings
    finally:
        await source.sql("DROP DATABASE bytes")


async def test_several_hosts(source: Source) -> None:
    port = psycopg.conninfo.conninfo_to_dict(source.dsn)["port"]
    several = make_conninfo(source.settings.dsn, host="127.0.0.1,127.0.0.1", port=f"{port},{port}")
    await one(source, "any_host", dsn=several)
    assert await found(source, dsn=make_conninfo(several, target_session_attrs="read-write")) == {}


# --- the role and the way to the server


async def test_a_superuser(source: Source) -> None:
    await one(source, "role_superuser", dsn=source.dsn)


async def test_a_role_without_the_right(source: Source) -> None:
    await source.sql("ALTER ROLE reader NOREPLICATION")
    finding = await one(source, "rights_missing")
    await source.sql(finding.sql)
    assert await found(source) == {}


async def test_a_connection_limit_that_is_too_low(source: Source) -> None:
    await source.sql("ALTER ROLE reader CONNECTION LIMIT 1")
    finding = await one(source, "connection_limit")
    await source.sql(finding.sql)
    assert await found(source) == {}


@pytest.mark.parametrize("seconds", ["0", "2s", "10min"])
async def test_our_sessions_sender_timeout(source: Source, seconds: str) -> None:
    await one(
        source,
        "wal_sender_timeout",
        dsn=make_conninfo(source.settings.dsn, options=f"-c wal_sender_timeout={seconds}"),
    )


async def test_pg_hba_where_it_may_be_seen(source: Source, sound_postgres: EmbeddedPostgres) -> None:
    file = sound_postgres._pgdata / "pg_hba.conf"
    before = file.read_text()
    await source.sql(
        "GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO reader", "GRANT pg_read_all_settings TO reader"
    )
    assert await found(source) == {}  # initdb lets everybody in from this machine, and from nowhere else
    try:
        file.write_text(f"host shop reader 0.0.0.0/0 scram-sha-256\n{before}")
        finding = await one(source, "pg_hba")
        assert "line 1 of pg_hba.conf lets reader in from everywhere" in finding.message
        assert "hostssl shop reader ADDRESS/32 scram-sha-256" in finding.sql
        file.write_text(
            f"host all other all trust\nhost shop reader 127.0.0.1/32 scram-sha-256\nhost all all all trust\n{before}"
        )
        assert await found(source) == {}
        file.write_text(f"{before}\nhost all nonsense\n")
        assert "cannot be read" in (await one(source, "pg_hba")).message
    finally:
        file.write_text(before)


async def test_a_pooler_in_between(source: Source) -> None:
    port = psycopg.conninfo.conninfo_to_dict(source.dsn)["port"]
    async with pooler(int(str(port))) as ours:
        pooled = dataclasses.replace(source.settings, dsn=make_conninfo(source.settings.dsn, port=ours))
        facts = await facts_of(pooled)
        assert {finding.code for finding in check(facts, pooled)} == {"pooler"}
        with pytest.raises(SourceLost, match="unsupported startup parameter"):
            await ReplicationConnection.open(pooled.dsn)


# --- the slot


async def make_slot(source: Source, arguments: str) -> None:
    slot = source.settings.slot
    await source.sql(
        f"SELECT pg_drop_replication_slot('{slot}')",
        f"SELECT pg_create_logical_replication_slot('{slot}', {arguments})",
    )


async def test_slots_that_cannot_be_used(source: Source) -> None:
    await make_slot(source, "'test_decoding', failover => true")
    await one(source, "slot_plugin")
    await make_slot(source, "'pgoutput', twophase => true, failover => true")
    await one(source, "slot_two_phase")
    await source.sql(f"SELECT pg_drop_replication_slot('{source.settings.slot}')")
    await one(source, "slot_missing")


async def test_a_slot_that_is_not_made_for_failover_can_be_altered(source: Source) -> None:
    await make_slot(source, "'pgoutput'")
    finding = await one(source, "slot_not_failover")
    replication = await ReplicationConnection.open(source.settings.dsn)
    try:
        await replication._connection.execute(finding.sql.partition(" --")[0].encode())
    finally:
        await replication.close()
    assert await found(source) == {}


# --- the publication


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("ALTER PUBLICATION bridge SET (publish = 'insert, update')", "operations_published"),
        ("ALTER PUBLICATION bridge DROP TABLE marks", "table_not_published"),
        ("ALTER PUBLICATION bridge DROP TABLE bridge.outbox", "table_not_published"),
        (
            "ALTER PUBLICATION bridge SET TABLE orders (id, company), marks, bridge.outbox",
            "columns_published",
        ),
        ("ALTER PUBLICATION bridge SET TABLE orders WHERE (id > 1), marks, bridge.outbox", "row_filter"),
        (
            "CREATE TABLE other (id int PRIMARY KEY); ALTER PUBLICATION bridge ADD TABLE other",
            "table_not_configured",
        ),
    ],
)
async def test_a_publication_that_sends_something_else(source: Source, change: str, code: str) -> None:
    await source.sql(change)
    finding = await one(source, code)
    await source.sql(*(command for command in finding.sql.partition("--")[0].strip().split("; COMMIT")[:1]))
    assert await found(source) == {}
    await source.sql("DROP PUBLICATION bridge")
    assert "publication_missing" in await found(source)


async def test_setup_mends_it_too(source: Source) -> None:
    await source.sql(
        "ALTER PUBLICATION bridge SET (publish = 'insert', publish_via_partition_root = false)",
        "ALTER PUBLICATION bridge SET TABLE orders WHERE (id > 1)",
    )
    await set_up(source.settings, source.dsn, shipped("migrations"))
    assert await found(source) == {}


async def test_a_publication_for_everything(source: Source) -> None:
    await source.sql(
        "DROP PUBLICATION bridge", "CREATE PUBLICATION bridge FOR TABLES IN SCHEMA public, bridge"
    )
    await one(source, "publication_whole")
    await source.sql("DROP PUBLICATION bridge", "CREATE PUBLICATION bridge FOR ALL TABLES")
    await one(source, "publication_whole")


async def test_an_outbox_that_is_missing_or_another_table(source: Source) -> None:
    findings = await found(source, outbox="bridge.other")
    assert {*findings} == {"outbox_missing", "table_not_configured"}
    await source.sql("ALTER TABLE bridge.outbox DROP COLUMN topic")
    assert "it lacks topic" in (await one(source, "outbox_columns")).message


# --- tables


async def of_table(
    source: Source, name: str, settings: TableSettings = TENANT, **more: Any
) -> dict[str, Finding]:
    """The findings about one more table, after setup."""
    tables = {**source.settings.tables, f"public.{name}": settings}
    changed: SourceSettings = dataclasses.replace(source.settings, tables=tables)
    await set_up(changed, source.dsn, shipped("migrations"))
    return await findings_of(changed, **more)


async def heal(source: Source, finding: Finding) -> None:
    await source.sql(*finding.sql.splitlines())


async def test_a_deferrable_key(source: Source) -> None:
    await source.sql("CREATE TABLE later (id int PRIMARY KEY DEFERRABLE, company int NOT NULL)")
    findings = await of_table(source, "later")
    assert {*findings} == {"deferrable_key"}
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        await source.sql("DELETE FROM later")
    await heal(source, findings["deferrable_key"])
    assert await of_table(source, "later") == {}


async def test_no_identity(source: Source) -> None:
    await source.sql("CREATE TABLE mute (id int PRIMARY KEY)", "ALTER TABLE mute REPLICA IDENTITY NOTHING")
    findings = await of_table(source, "mute", TableSettings())
    assert {*findings} == {"no_identity"}
    assert "REPLICA IDENTITY DEFAULT" in findings["no_identity"].sql
    await heal(source, findings["no_identity"])
    assert await of_table(source, "mute", TableSettings()) == {}


async def test_what_mappings_compare(source: Source) -> None:
    compared = {"public.orders": {"status", "id", "nonsense"}}
    findings = await findings_of(source.settings, compared)
    assert {*findings} == {"compared_unknown"}
    assert "lacks status, which mappings compare" in findings["compared_unknown"].message
    await heal(source, findings["compared_unknown"])
    assert await findings_of(source.settings, compared) == {}


PARTS = """
CREATE TABLE parts (id int, day int, company int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE "Parts 3" PARTITION OF parts_2 FOR VALUES FROM (0) TO (10);
"""


async def test_the_cure_of_a_partitioned_table_reaches_every_partition(source: Source) -> None:
    await source.sql(PARTS)
    findings = await of_table(source, "parts")
    assert {*findings} == {"delete_without_tenant", "tenant_nullable"}
    await heal(source, findings["delete_without_tenant"])
    assert await of_table(source, "parts") == {}
    assert await source.sql("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid") == []
    await source.sql("CREATE TABLE parts_4 PARTITION OF parts FOR VALUES FROM (20) TO (30)")
    findings = await of_table(source, "parts")
    assert {*findings} == {"partition_identity"}
    assert "(public.parts_4)" in findings["partition_identity"].message


async def test_partitions_that_are_named(source: Source) -> None:
    await source.sql(PARTS.replace("company int,", "company int NOT NULL,"))
    cure = (await of_table(source, "parts"))["delete_without_tenant"]
    await heal(source, cure)
    assert {*(await of_table(source, "parts_1"))} == {"partition_named"}
    tables = {**source.settings.tables, "public.parts": TENANT, "public.parts_1": TENANT}
    both = dataclasses.replace(source.settings, tables=tables)
    await set_up(both, source.dsn, shipped("migrations"))
    assert {*(await findings_of(both))} == {"partition_and_root"}
    await source.sql("ALTER PUBLICATION bridge SET (publish_via_partition_root = false)")
    assert {*(await findings_of(both))} == {"partition_and_root", "partition_root"}


async def test_a_partition_that_is_not_in_the_wal(source: Source) -> None:
    await source.sql(
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE UNLOGGED TABLE fast PARTITION OF parts FOR VALUES FROM (0) TO (10)",
    )
    findings = await of_table(source, "parts", TableSettings())
    assert {*findings} == {"table_not_logged"}
    await heal(source, findings["table_not_logged"])
    assert await of_table(source, "parts", TableSettings()) == {}


async def test_generated_columns(source: Source) -> None:
    await source.sql(
        "CREATE TABLE sums (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, "
        "thrice int GENERATED ALWAYS AS (id * 3) VIRTUAL)"
    )
    assert await of_table(source, "sums", TableSettings(exclude=("twice", "thrice"))) == {}
    assert {*(await of_table(source, "sums", TableSettings(exclude=("thrice",))))} == {"generated_column"}
    findings = await of_table(source, "sums", TableSettings(key=("twice",), exclude=("thrice",)))
    finding = findings["generated_column"]
    assert finding.level == "error"
    await source.sql("ALTER PUBLICATION bridge SET TABLE orders, marks, bridge.outbox, sums")
    await source.sql(finding.sql)
    tables = {**source.settings.tables, "public.sums": TableSettings()}
    left = (await findings_of(source.settings, tables=tables))["generated_column"]
    assert left.object == "public.sums.thrice"


async def test_what_the_reader_of_existing_rows_may_see(source: Source) -> None:
    port = psycopg.conninfo.conninfo_to_dict(source.dsn)["port"]
    reading = f"postgresql://backfill:b@127.0.0.1:{port}/shop"
    assert {*(await found(source, read_dsn=reading))} == {"read_refused"}
    await source.sql("CREATE ROLE backfill LOGIN PASSWORD 'b'")
    try:
        assert {*(await found(source, read_dsn=reading))} == {"select_missing"}
        await source.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO backfill")
        assert await found(source, read_dsn=reading) == {}
        await source.sql("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
        assert {*(await found(source, read_dsn=reading))} == {"row_security"}
        await source.sql("ALTER ROLE backfill BYPASSRLS")
        assert await found(source, read_dsn=reading) == {}
    finally:
        await source.sql("DROP OWNED BY backfill; DROP ROLE backfill")


# --- servers of their own


async def test_a_crowded_server(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    crowded = {
        **SOUND,
        "max_connections": "12",
        "max_wal_senders": "1",
        "max_replication_slots": "1",
        "max_prepared_transactions": "2",
    }
    async with EmbeddedPostgres(tmp_path / "crowded", crowded) as server:
        source = Source(server.dsn(), NatsSettings())
        source.settings = dataclasses.replace(source.settings, dsn=server.dsn(user="reader", password="r"))
        await source.sql(TABLES)
        await set_up(source.settings, source.dsn, shipped("migrations"))
        assert {*(await found(source, slot="another"))} == {"slot_missing", "slots_left"}
        held = await ReplicationConnection.open(source.settings.dsn)
        assert {*(await found(source))} == {"senders_left", "replication_refused"}
        await held.close()
        await _transactions(source, monkeypatch)
        others = [await psycopg.AsyncConnection.connect(source.dsn) for _ in range(5)]
        assert {*(await found(source))} == {"connections_left"}
        for other in others:
            await other.close()


async def _transactions(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await psycopg.AsyncConnection.connect(source.dsn) as writer:
        await writer.execute("INSERT INTO marks DEFAULT VALUES")
        await source.sql("BEGIN; INSERT INTO marks DEFAULT VALUES; PREPARE TRANSACTION 'it''s old'")
        assert await found(source) == {}
        monkeypatch.setattr("cdc.retention_findings.OLD_S", 0.0)
        assert {*(await found(source))} == {
            "prepared_transaction"
        }  # whose session it is, is not shown to reader
        await source.sql("GRANT pg_read_all_stats TO reader")
        findings = await found(source)
        assert {*findings} == {"prepared_transaction", "long_transaction"}
        await source.sql(*(finding.sql for finding in findings.values()))
        assert await found(source) == {}
        with pytest.raises(psycopg.errors.AdminShutdown):
            await writer.execute("SELECT")


async def test_a_standby_and_the_primary_that_it_becomes(tmp_path: Any) -> None:
    async with EmbeddedPostgres(tmp_path / "promoted", SOUND) as server:
        source = Source(server.dsn(), NatsSettings())
        await source.sql(TABLES)
        await source.set_up()
        await server.stop()
        (server._pgdata / "standby.signal").touch()
        await server.start()
        source = Source(server.dsn(), NatsSettings())
        findings = await found(source)
        assert {*findings} == {"standby", "role_superuser"}
        assert findings["standby"].stops
        await source.sql("SELECT pg_promote()")
        assert {*(await found(source))} == {"timeline", "role_superuser"}
        await source.sql(
            f"SELECT pg_replication_slot_advance('{source.settings.slot}', pg_current_wal_flush_lsn())"
        )
        assert {*(await found(source))} == {"role_superuser"}
