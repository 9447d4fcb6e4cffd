"""`bridge cdc start` as processes that are killed, frozen and replaced."""

import asyncio
import dataclasses
import random
import signal
from pathlib import Path

import pytest

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from eventbus.settings import NatsSettings
from tests.cdc.bridge_processes import bridges, owned, owner
from tests.cdc.capturing import AS_EVENTS_HOLDS, Source, Workload, assert_gap_free
from tests.conftest import empty_database


async def test_ten_kills_leave_no_gap_and_no_duplicate(
    database: str, own_nats: EmbeddedNats, tmp_path: Path
) -> None:
    source = Source(database, NatsSettings((own_nats.url,), sync_interval=0.0))
    await source.create()
    chance, workload = random.Random(), Workload(seed=3)
    async with bridges(source, tmp_path) as both:
        for bridge in both:
            await bridge.start()
        working = asyncio.create_task(workload.run(source, AS_EVENTS_HOLDS))
        by_name = {bridge.name: bridge for bridge in both}
        for number in range(11):
            reading = await owned(source, both)
            await asyncio.sleep(chance.uniform(0.0, 0.5))  # a random moment of its work
            if number % 4 == 3:
                await own_nats.kill()
                await own_nats.start()
            else:
                await by_name[reading].kill()
                await by_name[reading].start()
        working.cancel()
        await asyncio.wait((working,))
        await source.captured()
        assert [await bridge.stop() for bridge in both] == [0, 0]
    assert len(await assert_gap_free(source)) > 100


async def test_a_frozen_owner_is_replaced_refused_and_stands_by(
    database: str, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await source.create()
    workload = Workload(seed=4)
    async with bridges(source, tmp_path, sender_timeout="2s") as both:
        first, second = both
        await first.start()
        assert await owned(source, both) == first.name
        await second.start()
        await second.logged("standing by")
        working = asyncio.create_task(workload.run(source, AS_EVENTS_HOLDS))
        await asyncio.sleep(0.3)  # into the middle of it
        first.send(signal.SIGSTOP)
        await second.logged("capturing")
        first.send(signal.SIGCONT)
        await first.logged("standing by")
        working.cancel()
        await asyncio.wait((working,))
        await source.captured()
        assert await owner(source) == second.name
        assert [await bridge.stop() for bridge in (first, second)] == [0, 0]
    await assert_gap_free(source)


@pytest.mark.slow
async def test_kills_leave_no_gap_and_no_duplicate_with_wal2json(
    postgres_15: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    async with empty_database(postgres_15) as dsn:
        source = Source(dsn, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
        source.settings = dataclasses.replace(source.settings, plugin="wal2json")
        await source.create()
        chance, workload = random.Random(), Workload(seed=6)

        async def work() -> None:
            while True:
                await workload.large(source, 2_500)  # more than a batch holds: killed in the midst of it, too
                await workload.run(source, workload.changes + 100)

        async with bridges(source, tmp_path) as (bridge, other):
            await bridge.start()
            working = asyncio.create_task(work())
            for _ in range(2):
                await owned(source, [bridge, other])
                await asyncio.sleep(chance.uniform(0.0, 0.5))  # a random moment of its work
                await bridge.kill()
                await bridge.start()
            working.cancel()
            await asyncio.wait((working,))
            await source.captured()
            assert await bridge.stop() == 0
        assert len(await assert_gap_free(source)) > 2_500


@pytest.mark.slow
async def test_twenty_thousand_mixed_changes(
    database: str, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await source.create()
    workload = Workload(seed=5)
    async with bridges(source, tmp_path) as (bridge, _):
        await bridge.start()
        await workload.run(source, 9_000)
        await workload.large(source, 3_000)
        await workload.run(source, 20_000)
        await source.captured()
        assert await bridge.stop() == 0
    assert len(await assert_gap_free(source)) >= 20_000
