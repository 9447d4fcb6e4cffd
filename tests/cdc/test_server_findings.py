"""Findings about the server, the role, the way to it and the slot, each on a server that has it; a healthy source has none."""

import dataclasses
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bridge.demo.postgres_server import EmbeddedPostgres
from bridge.shipped_files import shipped
from cdc.preflight import check
from cdc.replication_connection import ReplicationConnection
from cdc.setup import set_up
from cdc.source_errors import SourceLost
from eventbus.settings import NatsSettings
from tests.cdc.capturing import TABLES, Source, eventually
from tests.cdc.checking import facts_of, found, one
from tests.cdc.conftest import SOUND
from tests.cdc.pooling import pooler


@pytest.fixture
def source(sound_source: Source) -> Source:
    return sound_source


async def test_a_healthy_source_has_none(source: Source) -> None:
    assert await found(source) == {}


# --- the server


SERVER_SETTINGS = [
    # setting, value, code, does its SQL mend it
    ("max_slot_wal_keep_size", "-1", "wal_keep_unbounded", True),
    ("max_slot_wal_keep_size", "1GB", "wal_limit_too_high", False),
    ("idle_replication_slot_timeout", "1d", "idle_slot_timeout", True),
    ("synchronous_commit", "off", "synchronous_commit", True),
    ("synchronous_standby_names", "ANY 1 (other, *)", "synchronous_standby", True),
    ("synchronous_standby_names", '"Fracttal-Bridge"', "synchronous_standby", True),
    ("wal_sender_timeout", "1h", "", False),  # ours is asked for in the session
]


async def test_settings_of_the_server(source: Source) -> None:
    for name, value, code, cured in SERVER_SETTINGS:
        await _setting_is_told(source, (name, value), code, cured=cured)


async def _setting_is_told(source: Source, setting: tuple[str, str], code: str, *, cured: bool) -> None:
    name, value = setting
    before = await source.value(f"SELECT current_setting('{name}')")

    async def in_force(wanted: str) -> None:
        shows = f"SELECT current_setting('{name}') = '{wanted}'"
        await source.sql("SELECT pg_reload_conf()")
        await eventually(lambda: source.value(shows), bool)

    try:
        await source.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        await in_force(value)
        findings = await found(source)
        assert {*findings} == ({code} if code else set())
        if cured:
            await source.sql(*findings[code].sql.partition("--")[0].strip().split("; "))
            await eventually(lambda: found(source), lambda left: not left)
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


async def test_our_sessions_sender_timeout(source: Source) -> None:
    for timeout in ("0", "2s", "10min"):
        asking = make_conninfo(source.settings.dsn, options=f"-c wal_sender_timeout={timeout}")
        await one(source, "wal_sender_timeout", dsn=asking)


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
