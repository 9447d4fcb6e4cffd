"""The network between capture and its servers: cut, slow, or silently gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from eventbus.settings import NatsSettings
from tests.cdc.bridge_processes import bridges
from tests.cdc.capturing import AS_EVENTS_HOLDS, Source, Workload, assert_gap_free, eventually
from tests.cdc.proxy import Proxy


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await found.create()
    return found


@pytest.fixture
async def to_postgres(postgres: EmbeddedPostgres) -> AsyncIterator[Proxy]:
    async with Proxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
async def to_nats(nats_server: EmbeddedNats) -> AsyncIterator[Proxy]:
    async with Proxy(nats_server.port) as proxy:
        yield proxy


@pytest.fixture
def far(source: Source, to_postgres: Proxy, to_nats: Proxy) -> Source:
    """The source, through the proxies."""
    servers = tuple(to_nats.instead_of(url) for url in source.nats.servers)
    return Source(to_postgres.instead_of(source.dsn), replace(source.nats, servers=servers))


@contextlib.asynccontextmanager
async def working(source: Source, seed: int) -> AsyncIterator[Workload]:
    """A workload that goes on until the end of the block."""
    workload = Workload(seed)
    task = asyncio.create_task(workload.run(source, AS_EVENTS_HOLDS))
    try:
        yield workload
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, psycopg.Error):
            await task


async def more(workload: Workload, changes: int) -> None:
    enough = workload.changes + changes
    await eventually(lambda: asyncio.sleep(0, workload.changes), lambda now: now >= enough)


async def reader(source: Source) -> Any:
    """The walsender's pid, None where nobody reads."""
    return await source.value(
        f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{source.settings.slot}'"
    )


async def test_a_network_that_is_cut_costs_nothing(
    source: Source, far: Source, to_postgres: Proxy, to_nats: Proxy
) -> None:
    async with far.capturing():
        await source.captured()
        async with working(source, seed=11) as workload:
            for proxy in (to_postgres, to_nats, to_postgres, to_nats):
                await more(workload, 50)
                await proxy.cut()
                await more(workload, 20)
                await proxy.mend()
                await source.captured()
        await source.captured()
    await assert_gap_free(source)


async def test_a_slow_network_costs_nothing(
    source: Source, far: Source, to_postgres: Proxy, to_nats: Proxy
) -> None:
    for way in (to_postgres.down, to_nats.up, to_nats.down):
        way.delay = 0.05
    async with far.capturing():
        await source.captured()
        workload = Workload(seed=12)
        await workload.run(source, 100)
        await source.captured()
    await assert_gap_free(source)


async def test_a_silent_postgres_is_noticed_and_found_again(
    source: Source, far: Source, to_postgres: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.slot_watch.WATCH_EVERY_S", 0.1)
    monkeypatch.setattr("cdc.slot_watch.ANSWER_WITHIN_S", 0.5)
    with capture_logs() as logs:
        async with far.capturing():
            await source.captured()
            async with working(source, seed=13) as workload:
                await more(workload, 50)
                to_postgres.stall()
                await eventually(
                    lambda: asyncio.sleep(0, logs), lambda lines: _says(lines, "gave no answer about slot")
                )
                await more(workload, 50)
            to_postgres.go_on()
            await source.captured()
    await assert_gap_free(source)


async def test_a_stream_that_died_in_between_is_noticed_by_the_slot(
    source: Source, far: Source, to_postgres: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.slot_watch.WATCH_EVERY_S", 0.1)
    with capture_logs() as logs:
        async with far.capturing():
            await source.captured()
            await Workload(seed=14).run(source, 50)
            to_postgres.down.silent_after = b"terminating connection"
            await source.sql(f"SELECT pg_terminate_backend({await reader(source)})")
            await eventually(
                lambda: asyncio.sleep(0, logs), lambda lines: _says(lines, "the stream did not say so")
            )
            await source.captured()
    await assert_gap_free(source)


async def test_a_stream_whose_end_comes_in_pieces_does_not_hold_up_a_stop(
    source: Source, far: Source, to_postgres: Proxy, tmp_path: Path
) -> None:
    async with bridges(far, tmp_path) as (bridge, _):
        await bridge.start()
        await Workload(seed=16).run(source, 50)
        await source.captured()
        to_postgres.down.silent_after = (
            b"c\0\0\0\4"  # CopyDone: what it answers to the command is still to come
        )
        assert await bridge.stop() == 0
    await assert_gap_free(source)


async def test_a_silent_nats_is_noticed_and_found_again(
    source: Source, far: Source, to_nats: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.connection.PING_INTERVAL_S", 0.2)
    monkeypatch.setattr("eventbus.fenced_writer.COMMIT_TIMEOUT_S", 0.5)
    with capture_logs() as logs:
        async with far.capturing():
            await source.captured()
            async with working(source, seed=15) as workload:
                await more(workload, 50)
                to_nats.stall()
                await eventually(
                    lambda: asyncio.sleep(0, logs), lambda lines: _says(lines, "lost the connection to NATS")
                )
                await more(workload, 50)
            to_nats.go_on()
            await source.captured()
    await assert_gap_free(source)


def _says(lines: list[Any], words: str) -> bool:
    return any(words in str(line) for line in lines)


@pytest.mark.slow
async def test_half_open_connections_are_noticed_within_the_documented_times(
    source: Source, far: Source, to_postgres: Proxy, to_nats: Proxy
) -> None:
    now = asyncio.get_running_loop().time
    for proxy, within, words in (
        (to_postgres, 30, "gave no answer about slot"),
        (to_nats, 25, "lost the connection to NATS"),
    ):
        with capture_logs() as logs:
            async with far.capturing():
                await source.captured()
                proxy.stall()
                began = now()
                await eventually(lambda: asyncio.sleep(0, logs), partial(_says, words=words), within=within)
                assert now() - began < within
                proxy.go_on()
                await source.captured(within=60)
