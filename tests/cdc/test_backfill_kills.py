"""Backfills whose capture is killed and whose servers restart, at random moments of its work."""

import asyncio
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from eventbus.settings import NatsSettings
from tests.cdc.backfilling import ask, assert_complete, ended, forget_all
from tests.cdc.bridge_processes import Bridge, bridges, owned
from tests.cdc.capturing import Source, Workload
from tests.cdc.proxy import when
from tests.cdc.test_named_points import COMMIT, Between, between


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
        working = asyncio.create_task(
            workload.run(source, workload.changes + 12_000)
        )  # what fits into EVENTS
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


WATERMARK = re.compile(rb"bridge\.backfill")


def before_the_watermark_is_written(links: Between) -> asyncio.Event:
    links.postgres.up.seen, reached = when(WATERMARK.search, links.postgres.up.hold)
    return reached


def before_the_watermark_comes_round(links: Between) -> asyncio.Event:
    links.postgres.down.seen, reached = when(WATERMARK.search, links.postgres.down.hold)
    return reached


def before_the_reads_commit(links: Between) -> asyncio.Event:
    links.nats.up.seen, reached = when(COMMIT.search, links.nats.up.hold)
    return reached


def before_their_ack_is_read(links: Between) -> asyncio.Event:
    """The reads are stored with the run's mark, and nobody knows."""
    links.nats.up.seen, reached = when(COMMIT.search, links.nats.down.hold)
    return reached


@pytest.mark.parametrize(
    "point",
    [
        before_the_watermark_is_written,
        before_the_watermark_comes_round,
        before_the_reads_commit,
        before_their_ack_is_read,
    ],
)
async def test_a_kill_at_a_named_point_of_a_chunk(
    point: Callable[[Between], asyncio.Event],
    database: str,
    namespace: str,
    postgres: EmbeddedPostgres,
    nats_server: EmbeddedNats,
    tmp_path: Path,
) -> None:
    source = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await source.create()
    await Workload(seed=1).large(source, 500)
    await forget_all(source)
    async with between(postgres, nats_server) as links:
        bridge = Bridge(links.source(source), tmp_path, "killed")
        await bridge.start()
        await source.captured()
        reached = point(links)
        await ask(source, "run", chunk=100)
        async with asyncio.timeout(20):
            await reached.wait()
        await bridge.kill()
        await links.cut()
    async with source.capturing():
        assert (await ended(source, "run")).done == 500
    events = await source.events()
    assert [event["id"] for event in events] == [f"shop:brun:{n}" for n in range(1, 501)]
    await assert_complete(source, events)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_twenty_kills(database: str, own_nats: EmbeddedNats, tmp_path: Path) -> None:
    source = Source(database, NatsSettings((own_nats.url,), sync_interval=0.0))
    await source.create()
    await backfilled_through_kills(source, own_nats, tmp_path, rows=4_000, kills=20)
