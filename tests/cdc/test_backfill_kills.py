"""Backfills whose capture is killed and whose servers restart, at random moments of its work."""

import asyncio
import random
from pathlib import Path

import pytest

from bridge.demo.nats_server import EmbeddedNats
from eventbus.settings import NatsSettings
from tests.cdc.backfilling import ask, assert_complete, ended, forget_all
from tests.cdc.bridge_processes import bridges, owned
from tests.cdc.capturing import Source, Workload


async def backfilled_through_kills(
    source: Source, nats: EmbeddedNats, folder: Path, *, rows: int, kills: int
) -> None:
    """Two runs, with live changes, through so many kills of whoever owns the slot, every fourth of JetStream."""
    chance = random.Random()
    workload = Workload(seed=chance.randrange(10**6))
    await workload.large(source, rows)
    await forget_all(source)
    async with bridges(source, folder) as both:
        for bridge in both:
            await bridge.start()
        await owned(source, both)
        for bridge in both:
            await bridge.logged("capturing", "standing by")
        working = asyncio.create_task(workload.run(source, 10**9))
        rate = rows // kills
        await ask(source, "whole", chunk=60, rate=rate)
        await ask(source, "three", chunk=20, tenant="3")
        by_name = {bridge.name: bridge for bridge in both}
        for number in range(kills):
            reading = await owned(source, both)
            await asyncio.sleep(chance.uniform(0.0, 0.6))  # a random moment of its work
            if number % 4 == 3:
                await nats.kill()
                await nats.start()
            else:
                await by_name[reading].kill()
                await by_name[reading].start()
        for run in ("whole", "three"):
            assert (await ended(source, run, within=90)).state == "done"
        working.cancel()
        await asyncio.wait((working,))
        await source.captured()
        assert [await bridge.stop() for bridge in both] == [0, 0]
    events = await source.events()
    for run in ("whole", "three"):
        numbers = [int(e["id"].rpartition(":")[2]) for e in events if e["id"].startswith(f"shop:b{run}:")]
        assert numbers == list(range(1, len(numbers) + 1))
    await assert_complete(source, events)


async def test_two_kills(database: str, own_nats: EmbeddedNats, tmp_path: Path) -> None:
    source = Source(database, NatsSettings((own_nats.url,), sync_interval=0.0))
    await source.create()
    await backfilled_through_kills(source, own_nats, tmp_path, rows=600, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_twenty_kills(database: str, own_nats: EmbeddedNats, tmp_path: Path) -> None:
    source = Source(database, NatsSettings((own_nats.url,), sync_interval=0.0))
    await source.create()
    await backfilled_through_kills(source, own_nats, tmp_path, rows=4_000, kills=20)
