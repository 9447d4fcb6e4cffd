"""SIGKILL exactly where it hurts: what passes between capture and its servers is held there, and then it is killed."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from cdc.position import Position
from eventbus.lsn import parse_lsn
from eventbus.settings import NatsSettings
from tests.cdc.backfilling import ask, assert_complete, ended, forget_all
from tests.cdc.bridge_processes import Bridge
from tests.cdc.capturing import Source, Workload, assert_gap_free, eventually
from tests.cdc.proxy import Proxy, when

COMMIT = re.compile(rb"Nats-Batch-Sequence: (?!1\r)\d+\r\nNats-Batch-Commit: 1")  # of a batch with events
EVENT = re.compile(rb"Nats-Batch-Sequence: 700\r\n")
CHUNK = re.compile(rb"Bridge-Backfill: ")
STREAM_START = re.compile(
    rb"d.{4}w.{24}S.{4}[\x00\x01]", re.DOTALL
)  # CopyData, XLogData, a block of an open transaction
CONFIRMATION = re.compile(
    rb"d\x00\x00\x00\x26r(.{8})", re.DOTALL
)  # CopyData of 34 bytes: a standby status update


class Between:
    """Proxies before both servers."""

    def __init__(self, postgres: Proxy, nats: Proxy) -> None:
        self.postgres = postgres
        self.nats = nats

    async def cut(self) -> None:
        await self.postgres.cut()
        await self.nats.cut()

    def source(self, source: Source) -> Source:
        """The same source through us."""
        servers = tuple(self.nats.instead_of(url) for url in source.nats.servers)
        return Source(self.postgres.instead_of(source.dsn), replace(source.nats, servers=servers))


@contextlib.asynccontextmanager
async def between(postgres: EmbeddedPostgres, nats: EmbeddedNats) -> AsyncIterator[Between]:
    async with Proxy(postgres.port) as to_postgres, Proxy(nats.port) as to_nats:
        yield Between(to_postgres, to_nats)


def before_the_batch_commits(links: Between, _position: Position) -> asyncio.Event:
    """All but its last message has reached the server, perhaps."""
    links.nats.up.seen, reached = when(COMMIT.search, links.nats.up.hold)
    return reached


def in_the_middle_of_a_batch(links: Between, _position: Position) -> asyncio.Event:
    links.nats.up.seen, reached = when(EVENT.search, links.nats.up.hold)
    return reached


def before_the_ack_is_read(links: Between, _position: Position) -> asyncio.Event:
    """The batch is stored, and nobody knows."""
    links.nats.up.seen, reached = when(COMMIT.search, links.nats.down.hold)
    return reached


def after_the_ack_before_the_confirmation(links: Between, position: Position) -> asyncio.Event:
    published = position.mark.flush

    def confirms_more(data: bytes) -> bool:
        return any(int.from_bytes(lsn, "big") > published for lsn in CONFIRMATION.findall(data))

    links.postgres.up.seen, reached = when(confirms_more, links.postgres.up.hold)
    return reached


Point = Callable[[Between, Position], asyncio.Event]
POINTS = (
    in_the_middle_of_a_batch,
    before_the_batch_commits,
    before_the_ack_is_read,
    after_the_ack_before_the_confirmation,
)


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await found.create()
    return found


async def killed_at(point: Point, source: Source, links: Between, bridge: Bridge, workload: Workload) -> None:
    """Starts capture, lets it come to the point in the middle of work, and kills it there."""
    await bridge.start()
    await source.captured()
    position = await source.position()
    assert position is not None
    reached = point(links, position)
    await workload.run(source, workload.changes + 30)
    await workload.large(source, 1_500)
    await asyncio.wait_for(reached.wait(), 20)
    if point is before_the_batch_commits:
        assert await source.position() == position
    if point is before_the_ack_is_read:
        await eventually(source.position, lambda now: now != position)
    await bridge.kill()
    await links.cut()


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_at_a_named_point_leaves_no_gap_and_no_duplicate(
    point: Point, source: Source, postgres: EmbeddedPostgres, nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    workload = Workload(seed=8)
    async with between(postgres, nats_server) as links:
        bridge = Bridge(links.source(source), tmp_path, "killed")
        await killed_at(point, source, links, bridge, workload)
        before = await source.position()
        assert before is not None
        confirmed = await source.value(
            f"SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{source.settings.slot}'"
        )
        if point is after_the_ack_before_the_confirmation:
            assert parse_lsn(confirmed) < before.mark.flush  # it was killed where it should be
    async with source.capturing():
        await source.captured()
    assert len(await assert_gap_free(source)) >= workload.changes


def a_chunk_commits() -> Callable[[bytes], object]:
    begun = False

    def found(data: bytes) -> object:
        nonlocal begun
        chunk = None if begun else CHUNK.search(data)
        begun = begun or chunk is not None
        return begun and COMMIT.search(data, chunk.end() if chunk else 0)

    return found


@pytest.mark.parametrize("way", ["up", "down"])  # before the chunk's batch commits; before its ack is read
async def test_a_kill_in_a_chunk_of_a_backfill_reads_nothing_twice(
    way: str, source: Source, postgres: EmbeddedPostgres, nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    workload = Workload(seed=25)
    await workload.large(source, 400)
    await forget_all(source)
    async with between(postgres, nats_server) as links:
        bridge = Bridge(links.source(source), tmp_path, "killed")
        await bridge.start()
        await source.captured()
        links.nats.up.seen, reached = when(a_chunk_commits(), getattr(links.nats, way).hold)
        await ask(source, "whole", chunk=100)
        await workload.run(source, workload.changes + 50)
        await asyncio.wait_for(reached.wait(), 20)
        if way == "down":
            await eventually(source.events, lambda found: any(event["op"] == "read" for event in found))
        await bridge.kill()
        await links.cut()
    async with source.capturing():
        assert (await ended(source, "whole")).state == "done"
        await source.captured()
    await assert_complete(source, await source.events())


async def test_a_kill_in_a_transaction_that_is_spooled_costs_nothing(
    source: Source, postgres: EmbeddedPostgres, nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    name = conninfo_to_dict(source.dsn)["dbname"]
    await source.sql(f"ALTER DATABASE {name} SET logical_decoding_work_mem = '64kB'")
    workload, blocks = Workload(seed=26), 0

    def fifth(data: bytes) -> bool:
        nonlocal blocks
        blocks += len(STREAM_START.findall(data))
        return blocks >= 5

    async with between(postgres, nats_server) as links:
        bridge = Bridge(links.source(source), tmp_path, "killed")
        await bridge.start()
        await source.captured()
        links.postgres.down.seen, reached = when(fifth, links.postgres.down.hold)
        await workload.run(source, 30)
        await workload.large(source, 3_000)
        await asyncio.wait_for(reached.wait(), 20)
        await bridge.kill()
        await links.cut()
    async with source.capturing():
        await source.captured()
    await assert_gap_free(source)


async def test_a_batch_that_commits_after_its_sender_was_replaced_is_refused(
    source: Source, postgres: EmbeddedPostgres, nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    workload = Workload(seed=9)
    async with between(postgres, nats_server) as links:
        bridge = Bridge(links.source(source), tmp_path, "slow")
        await bridge.start()
        await source.captured()
        links.nats.up.seen, reached = when(COMMIT.search, links.nats.up.hold)
        await workload.run(source, 50)
        await asyncio.wait_for(reached.wait(), 20)
        await links.postgres.cut()  # the slot is free; what it sent to NATS is still on its way
        async with source.capturing():
            await source.captured()
            links.nats.up.release()
            await workload.run(source, 100)
            await source.captured()
        await bridge.kill()
    await assert_gap_free(source)


@pytest.mark.slow
async def test_many_kills_at_named_points(
    database: str, own_postgres: EmbeddedPostgres, own_nats: EmbeddedNats, tmp_path: Path
) -> None:
    source = Source(own_postgres.dsn(), NatsSettings((own_nats.url,), sync_interval=0.0))
    await source.create()
    workload = Workload(seed=10)
    async with between(own_postgres, own_nats) as links:
        bridge = Bridge(links.source(source), tmp_path, "killed")
        for number in range(5 * len(POINTS)):
            await killed_at(POINTS[number % len(POINTS)], source, links, bridge, workload)
            if number % 3 == 1:
                await own_nats.kill()
                await own_nats.start()
            if number % 3 == 2:
                await own_postgres.kill()
                await own_postgres.start()
            await links.postgres.mend()
            await links.nats.mend()
    async with source.capturing():
        await source.captured()
    assert len(await assert_gap_free(source)) >= workload.changes
