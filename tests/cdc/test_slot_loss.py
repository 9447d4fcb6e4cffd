"""A slot that is lost, at start and under capture: what is missing is said, and nothing is skipped."""

import asyncio
from typing import Any

import msgspec
import pytest
from psycopg import AsyncConnection

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from cdc.position import FINISHED, Identity, Mark, Position
from cdc.slot_loss import slot_refused
from cdc.source_errors import CaptureStopped
from cdc.source_facts import SlotState
from cdc.start_decision import Consent, Stop
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from tests.cdc.capturing import Source, eventually

HELD = msgspec.structs.replace(
    Position.at(Mark(500, FINISHED, 520), Identity("7001", 1, "shop", 16400, "bridge"), "aaaa", epoch=1),
    written="2026-01-01T12:00:00+00:00",
)
THERE = SlotState(
    exists=True,
    plugin="pgoutput",
    database="shop",
    two_phase=False,
    active_pid=None,
    confirmed_flush=510,
    wal_status="reserved",
    invalidation=None,
    publication_oid=1,
    recorded={},
    wal_end=2**20 + 520,
    connected_to="shop",
)


def told(held: Position | None, **state: Any) -> Stop:
    stop = slot_refused("bridge", THERE._replace(**state), held, "no")
    assert stop is not None
    return stop


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [
        (
            {"wal_status": "lost"},
            "slot_invalidated",
            "max_slot_wal_keep_size",
        ),  # before PostgreSQL 17 no reason is given
        ({"invalidation": "idle_timeout"}, "slot_invalidated", "idle_replication_slot_timeout"),
        ({"invalidation": "rows_removed"}, "slot_invalidated", "while this server was a standby"),
        ({"invalidation": "wal_level_insufficient"}, "slot_invalidated", "wal_level"),
        ({"exists": False}, "slot_missing", "was promoted and never had it"),
    ],
)
def test_what_is_lost_is_named(state: dict[str, Any], code: str, words: str) -> None:
    stop = told(HELD, **state)
    assert stop.code == code
    for said in (words, "0/208", "0/100208", "1024 kB", "2026-01-01T12:00:00", "bridge"):
        assert said in stop.message
    ways = " ".join(stop.ways)
    for way in ("--accept-gap", "cdc setup", "cdc drop", "cdc backfill TABLE"):
        assert way in ways
    assert ("pg_drop_replication_slot" in ways) == (code == "slot_invalidated")


def test_where_nothing_was_published_setup_is_enough() -> None:
    for held in (None, msgspec.structs.replace(HELD, dropped=True)):
        assert "setup" in told(held, exists=False).ways[0]
        assert "Nothing was published yet" in told(held, wal_status="lost").message


def test_a_standby_is_waited_for_and_what_is_not_understood_is_said() -> None:
    assert slot_refused("bridge", THERE._replace(wal_end=None, exists=False), HELD, "no") is None
    assert told(HELD).code == "slot_refused"


async def insert(source: Source, *ids: int) -> None:
    await source.sql(*(f"INSERT INTO orders VALUES ({id_}, 1, 'open', 1.10)" for id_ in ids))


async def stopped(source: Source, consent: Consent | None = None) -> Stop:
    """How capture stops by itself."""
    with pytest.raises(CaptureStopped) as caught:
        async with asyncio.timeout(20):
            await source.capture(consent).run(asyncio.Event())
    return caught.value.stop


async def published(source: Source) -> Position:
    position = await source.position()
    assert position is not None
    return position


async def store(source: Source, position: Position) -> None:
    """Puts it in place of the stored one."""
    async with source.jetstream() as jetstream:
        payload = msgspec.json.encode(position)
        await jetstream.publish(
            Subjects(source.nats.namespace).position("shop"), payload, b"Nats-Rollup: sub\r\n"
        )


@pytest.fixture
async def own_source(own_postgres: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str) -> Source:
    """On a PostgreSQL of its own, so that its settings may be changed."""
    source = Source(own_postgres.dsn(), NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await source.create()
    return source


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await found.create()
    return found


async def reload(source: Source, *settings: str) -> None:
    await source.sql(*(f"ALTER SYSTEM SET {setting}" for setting in settings), "SELECT pg_reload_conf()")


async def test_a_slot_invalidated_under_capture_and_before_its_start(own_source: Source) -> None:
    source = own_source
    slot = source.settings.slot
    running = asyncio.create_task(source.capture().run(asyncio.Event()))
    await insert(source, 1)
    await source.captured()
    # a transaction that stays open holds the slot's restart_lsn while WAL goes on
    async with await AsyncConnection.connect(source.dsn) as other:
        await other.execute("INSERT INTO marks DEFAULT VALUES")
        await other.execute("SELECT pg_log_standby_snapshot()")
        await reload(source, "max_slot_wal_keep_size = '1MB'")
        for _ in range(3):
            await source.sql("SELECT pg_switch_wal()", "INSERT INTO marks DEFAULT VALUES")
        await source.sql("CHECKPOINT")
        with pytest.raises(CaptureStopped) as caught:
            await asyncio.wait_for(running, 20)
    at = await published(source)
    stop = caught.value.stop
    assert stop.code == "slot_invalidated"
    assert "max_slot_wal_keep_size" in stop.message
    assert f"up to {at.flush}, which was written at {at.written}" in stop.message
    assert (await stopped(source)).code == "slot_invalidated"

    await source.sql(
        f"SELECT pg_drop_replication_slot('{slot}')", "ALTER SYSTEM RESET max_slot_wal_keep_size"
    )
    await insert(source, 2)
    await source.set_up()
    assert (await stopped(source)).code == "gap"
    async with source.capturing(Consent(accept_gap=True)):
        await insert(source, 3)
        await source.captured()
    assert [event["key"]["id"] for event in await source.events()] == [1, 3]


async def test_a_slot_that_nobody_read_for_too_long(own_source: Source) -> None:
    source = own_source
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
    await reload(source, "idle_replication_slot_timeout = '1s'")
    reason = (
        f"SELECT invalidation_reason FROM pg_replication_slots WHERE slot_name = '{source.settings.slot}'"
    )

    async def checkpointed() -> Any:
        await source.sql("CHECKPOINT")
        return await source.value(reason)

    await eventually(checkpointed, lambda found: found == "idle_timeout")
    stop = await stopped(source)
    assert stop.code == "slot_invalidated"
    assert "idle_replication_slot_timeout" in stop.message


async def test_an_error_that_comes_back_at_one_place_stops(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.capture._FIRST_PAUSE", 0.01)
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
    at = await published(source)
    await source.sql("ALTER PUBLICATION bridge SET TABLE orders WHERE (100 / company >= 0), marks")
    await source.sql("INSERT INTO orders VALUES (2, 0, 'open', 1.10)")
    stop = await stopped(source)
    assert stop.code == "stream_failed"
    assert "division by zero" in stop.message
    assert at.lsn in stop.message


async def test_a_slot_dropped_and_made_anew_between_two_tenures_is_a_gap(source: Source) -> None:
    slot = source.settings.slot
    running = asyncio.create_task(source.capture().run(asyncio.Event()))
    await insert(source, 1)
    await source.captured()
    taken = f"""
    DO $$ BEGIN
      PERFORM pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = '{slot}';
      INSERT INTO orders VALUES (2, 1, 'open', 1.10);
      PERFORM pg_drop_replication_slot('{slot}');
    END $$"""
    await source.sql(taken, f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    with pytest.raises(CaptureStopped) as caught:
        await asyncio.wait_for(running, 20)
    at = await published(source)
    assert caught.value.stop.code in ("gap", "slot_missing")  # it may look between the drop and the new slot
    assert f"up to {at.flush}, which was written at {at.written}" in caught.value.stop.message
    assert (await stopped(source)).code == "gap"


async def test_changes_taken_by_another_consumer_are_a_gap(source: Source) -> None:
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
    await insert(source, 2)
    taken = "pg_logical_slot_get_binary_changes('{}', NULL, NULL, 'proto_version', '1', 'publication_names', 'bridge')"
    await source.sql(f"SELECT count(*) FROM {taken.format(source.settings.slot)}")
    at = await published(source)
    written = msgspec.structs.replace(at, written="2026-01-01T12:00:00+00:00")
    await store(source, written)
    assert (await stopped(source)).code == "gap"
    stop = await stopped(
        source
    )  # the first start claimed the position, and it still tells when it was written
    moved = await source.value(
        f"SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{source.settings.slot}'"
    )
    assert stop.code == "gap"
    assert f"changes committed from there to {moved}" in stop.message
    assert written.written in stop.message
    assert any("cdc backfill" in way for way in stop.ways)
