"""Capture of large transactions, sent before they commit: nothing lost, nothing twice, whatever happens to the spool."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from bridge.demo.nats_server import EmbeddedNats
from cdc import transaction_spool
from cdc.heartbeat import HeartbeatSettings
from cdc.replication_connection import ReplicationConnection
from eventbus.settings import NatsSettings
from tests.cdc.capturing import Source, Workload, assert_gap_free, eventually


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    return await streaming_source(database, nats_server, namespace)


async def streaming_source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await found.create()
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    await found.sql(f"ALTER DATABASE {name} SET logical_decoding_work_mem = '64kB'")
    return found


def rows(first: int, last: int) -> str:
    return f"INSERT INTO orders SELECT i, i % 7, 'bulk', i / 3.0 FROM generate_series({first}, {last}) i"


@contextlib.asynccontextmanager
async def open_transaction(source: Source, *statements: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Whoever opens it commits it."""
    async with await psycopg.AsyncConnection.connect(source.dsn, autocommit=True) as session:
        await session.execute("BEGIN")
        for statement in statements:
            await session.execute(statement)
        yield session


async def streamed(source: Source, count: int = 1) -> None:
    """Waits until the server has sent so much of a transaction before its commit."""
    query = f"SELECT stream_count FROM pg_stat_replication_slots WHERE slot_name = '{source.settings.slot}'"
    await eventually(lambda: source.sql(query), lambda found: bool(found) and found[0][0] >= count)


async def test_large_transactions_among_small_ones(
    any_database: str, nats_server: EmbeddedNats, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction_spool, "MEMORY", 300_000)
    source = await streaming_source(any_database, nats_server, namespace)
    workload = Workload(seed=7)
    async with source.capturing():
        await source.captured()
        async with open_transaction(
            source, rows(50_001, 53_000), "SAVEPOINT a", rows(60_001, 62_000)
        ) as large:
            await streamed(source)
            await workload.run(source, 300)
            await large.execute("ROLLBACK TO a")
            await large.execute(rows(70_001, 71_500))
            await source.captured()
            await large.execute("COMMIT")
        await source.captured()
    events = await assert_gap_free(source, one_session=False)
    bulk = [event["key"]["id"] for event in events if event["key"]["id"] > 50_000]
    assert bulk == [*range(50_001, 53_001), *range(70_001, 71_501)]


async def test_an_open_transaction_does_not_pin_what_is_confirmed(source: Source) -> None:
    async with source.capturing():
        await source.captured()
        async with open_transaction(source, rows(1, 3_000)) as large:
            await streamed(source)
            await source.sql(rows(10_001, 10_001))
            await source.captured()
            reached = await source.value("SELECT pg_current_wal_lsn()")
            await source.sql(rows(10_002, 10_002))
            await source.confirmed(reached)
            await large.execute("COMMIT")
        await source.captured()
    assert len(await source.events()) == 3_002


async def test_a_replay_that_takes_long_is_no_stall(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = HeartbeatSettings(every=0.05, late_after=0.3, lost_after=60.0)
    monkeypatch.setattr("cdc.vital_signs.HeartbeatSettings.of", lambda _: beats)
    source.settings = replace(source.settings, heartbeat=0.1)
    read = transaction_spool.TransactionSpool.read

    async def slow(self: Any, transaction: Any) -> AsyncIterator[list[bytes]]:
        await asyncio.sleep(2 * beats.late_after)
        async for frames in read(self, transaction):
            yield frames

    monkeypatch.setattr(transaction_spool.TransactionSpool, "read", slow)
    with capture_logs() as logs:
        async with source.capturing():
            await source.captured()
            await source.sql(rows(1, 2_000))
            await source.captured()
    assert not [line for line in logs if "stalled" in line["event"]]


class Stop(Exception):
    """Capture dies here."""


async def test_a_crash_in_the_middle_of_a_streamed_transaction_is_resumed_exactly(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = transaction_spool.TransactionSpool.read
    slices = 0

    async def dies(self: Any, transaction: Any) -> AsyncIterator[list[bytes]]:
        nonlocal slices
        async for frames in read(self, transaction):
            yield frames
            slices += 1
            if slices == 5:
                position = await eventually(
                    source.position, lambda at: at is not None and at.mark.within_transaction
                )
                assert position is not None
                raise Stop

    monkeypatch.setattr(transaction_spool.TransactionSpool, "read", dies)
    await source.sql(rows(1, 6_000))
    with pytest.raises(Stop):
        await source.capture().run(asyncio.Event())
    position = await source.position()
    assert position is not None
    assert position.mark.within_transaction
    async with source.capturing():
        await source.captured()
    await assert_gap_free(source)
    assert slices > 5, "it was read from the spool again"


async def test_where_there_is_no_room_for_the_spool_postgresql_keeps_the_transaction(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transaction_spool, "MEMORY", 100_000)
    monkeypatch.setattr(os, "pwrite", full)
    with capture_logs() as logs:
        async with source.capturing():
            await source.captured()
            await source.sql(rows(1, 4_000))
            await source.captured()
    (told,) = [line["because"] for line in logs if line["event"] == "beginning again"]
    assert "No space left on device" in told
    assert "TMPDIR" in told
    assert "streaming: false" in told
    await assert_gap_free(source)


async def test_what_the_stream_cannot_tell_is_read_whole(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    start = ReplicationConnection.start

    async def remembering(self: Any, *names: str, streaming: bool) -> None:
        asked.append(streaming)
        await start(self, *names, streaming=streaming)

    monkeypatch.setattr(ReplicationConnection, "start", remembering)
    async with source.capturing():
        async with open_transaction(source, rows(1, 2_000), "SAVEPOINT a") as large:
            await large.execute("SELECT pg_logical_emit_message(true, 'app', repeat('y', 100000))")
            await large.execute("ROLLBACK TO a")
            await large.execute(rows(3_001, 5_000))
            await large.execute("COMMIT")
        await source.captured()
    await assert_gap_free(source)
    assert asked == [True, False]
