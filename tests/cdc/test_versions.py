"""Setup, preflight and capture into EVENTS on each version of PostgreSQL."""

import asyncio
from dataclasses import replace

import pytest

from bridge.demo.nats_server import EmbeddedNats
from cdc.catalogue import Catalogue
from cdc.heartbeat import Heartbeat
from cdc.preflight import check
from cdc.source_reading import read_facts
from eventbus.settings import NatsSettings
from tests.cdc.capturing import Source, Workload, assert_gap_free


@pytest.fixture
async def source(any_database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(any_database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await found.create()
    return found


async def test_capture_on_each_version(source: Source) -> None:
    workload = Workload(seed=15)
    for changes in (150, 300):  # stopped and started in between
        async with source.capturing():
            await workload.run(source, changes)
            await workload.large(source, 1_200)
            await source.captured()
    await assert_gap_free(source)
    await source.drop()
    assert await source.sql("SELECT FROM pg_publication") == []


async def test_heartbeats_come_round_on_each_version(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to version 16 one may wait for the server's next flush."""
    took: asyncio.Queue[float | None] = asyncio.Queue()

    class Measured(Heartbeat):
        def came(self, content: bytes, now: float) -> bool:
            ours = super().came(content, now)
            took.put_nowait(self.round_trip)
            return ours

    monkeypatch.setattr("cdc.vital_signs.Heartbeat", Measured)
    source.settings = replace(source.settings, heartbeat=0.2)
    async with source.capturing():
        async with asyncio.timeout(40):
            assert all([await took.get() for _ in range(4)])


async def test_the_preflight_of_what_setup_made(source: Source) -> None:
    catalogue = await Catalogue.open(source.dsn)
    try:
        found = check(await read_facts(catalogue, source.settings), source.settings)
    finally:
        await catalogue.close()
    assert [finding for finding in found if finding.stops] == []
