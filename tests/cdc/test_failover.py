"""Capture over a failover of PostgreSQL: it goes on where nothing is lost, and stops, saying what is, where something is."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from cdc.source_errors import CaptureStopped
from cdc.start_decision import Consent, Stop
from eventbus.settings import NatsSettings
from tests.cdc.capturing import AS_EVENTS_HOLDS, Source, Workload, assert_gap_free, eventually
from tests.cdc.standby import PHYSICAL_SLOT, Standby


@pytest.fixture
async def nats(nats_server: EmbeddedNats, namespace: str) -> NatsSettings:
    return NatsSettings((nats_server.url,), namespace, sync_interval=0.0)


@pytest.fixture
async def primary(own_postgres: EmbeddedPostgres, nats: NatsSettings) -> EmbeddedPostgres:
    await Source(own_postgres.dsn(), nats).create()
    return own_postgres


@contextlib.asynccontextmanager
async def standby_of(
    primary: EmbeddedPostgres, folder: Path, *, sync_slots: bool = True
) -> AsyncIterator[Standby]:
    async with Standby(folder / "standby", primary, sync_slots=sync_slots) as standby:
        yield standby


def either(primary: EmbeddedPostgres, standby: Standby, nats: NatsSettings) -> Source:
    """A source that is whichever of the two is the primary."""
    login, _, rest = primary.dsn().rpartition("@")
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    return Source(f"{login}@{hosts}/{rest.partition('/')[2]}?target_session_attrs=read-write", nats)


async def insert(source: Source, *ids: int) -> None:
    await source.sql(*(f"INSERT INTO orders VALUES ({id_}, 1, 'open', 1.10)" for id_ in ids))


async def stopped(source: Source, consent: Consent | None = None) -> Stop:
    with pytest.raises(CaptureStopped) as caught:
        async with asyncio.timeout(30):
            await source.capture(consent).run(asyncio.Event())
    return caught.value.stop


async def test_capture_goes_on_at_the_promoted_standby(
    primary: EmbeddedPostgres, nats: NatsSettings, tmp_path: Path
) -> None:
    async with standby_of(primary, tmp_path) as standby:
        source, workload = either(primary, standby, nats), Workload(seed=6)
        await source.sql(
            f"ALTER SYSTEM SET synchronized_standby_slots = '{PHYSICAL_SLOT}'", "SELECT pg_reload_conf()"
        )
        async with source.capturing():
            await workload.run(source, 200)
            await standby.synced(source.settings.slot)
            working = asyncio.create_task(workload.run(source, AS_EVENTS_HOLDS))
            await standby.kill()  # it falls behind, and capture has to wait for it
            before = workload.changes
            await eventually(lambda: asyncio.sleep(0, workload.changes), lambda now: now > before + 200)
            await primary.kill()
            with pytest.raises(psycopg.OperationalError):
                await working
            await standby.start()
            await standby.promote()
            after = Workload(seed=7, first=10**6)
            await after.run(source, 200)
            await source.captured()
        events = await assert_gap_free(source)
        assert len(events) >= 200 + after.changes
        position = await source.position()
        assert position is not None
        assert (position.timeline, position.epoch) == (2, 1)
        async with source.capturing():  # the timeline is adopted, not asked about again
            await source.captured()


async def test_a_standby_that_lacks_what_was_published_is_refused(
    primary: EmbeddedPostgres, nats: NatsSettings, tmp_path: Path
) -> None:
    async with standby_of(primary, tmp_path) as standby:
        source = either(primary, standby, nats)
        async with source.capturing():
            await insert(source, 1)
            await source.captured()
            await standby.synced(source.settings.slot)
        await standby.stop()
        async with source.capturing():
            await insert(source, 2)
            await source.captured()
        published = await source.position()
        assert published is not None
        await primary.kill()
        await standby.start()
        await standby.promote()
        await insert(source, 3)
        stop = await stopped(source)
        assert stop.code == "other_timeline"
        left = await source.value(
            "SELECT max(split_part(line, E'\\t', 2)::pg_lsn)::text FROM regexp_split_to_table("
            "pg_read_file('pg_wal/00000002.history'), E'\\n') line WHERE line <> ''"
        )
        for said in (published.flush, published.written, f"only up to {left}", "never committed here"):
            assert said in stop.message
        assert any("--new-epoch" in way for way in stop.ways)
        async with source.capturing(Consent(new_epoch=True)):
            await source.captured()
    events = await source.events()
    assert [(event["id"].partition(":")[0], event["key"]["id"]) for event in events] == [
        ("shop", 1),
        ("shop", 2),
        ("shop@2", 3),
    ]


async def test_a_promoted_standby_without_the_slot_is_refused(
    primary: EmbeddedPostgres, nats: NatsSettings, tmp_path: Path
) -> None:
    async with standby_of(primary, tmp_path, sync_slots=False) as standby:
        source = either(primary, standby, nats)
        running = asyncio.create_task(source.capture().run(asyncio.Event()))
        await insert(source, 1)
        await source.captured()
        await standby.caught_up()
        await primary.kill()
        await standby.promote()
        with pytest.raises(CaptureStopped) as caught:
            await asyncio.wait_for(running, 30)
        stop = caught.value.stop
        assert stop.code == "slot_missing"
        published = await source.position()  # a heartbeat may have moved it until the end
        assert published is not None
        assert published.flush in stop.message
        assert published.written in stop.message
        await insert(source, 2)
        await source.set_up()
        assert (await stopped(source)).code == "gap"
        async with source.capturing(Consent(accept_gap=True)):
            await insert(source, 3)
            await source.captured()
    assert [event["key"]["id"] for event in await source.events()] == [1, 3]


async def test_a_database_restored_from_an_older_copy_is_refused(
    primary: EmbeddedPostgres, nats: NatsSettings, tmp_path: Path
) -> None:
    source = Source(primary.dsn(), nats)
    await primary.stop()
    shutil.copytree(tmp_path / "own_postgres" / "pgdata", tmp_path / "copy", copy_function=shutil.copy2)
    await primary.start()
    async with source.capturing():
        await insert(source, *range(20))
        await source.captured()
    published = await source.position()
    assert published is not None
    await primary.stop()
    data = tmp_path / "own_postgres" / "pgdata"
    owner = data.stat()
    shutil.rmtree(data)
    (tmp_path / "copy").rename(data)
    for path in (data, *data.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    await primary.start()
    stop = await stopped(source)
    assert stop.code == "wal_lost"
    assert published.flush in stop.message
    assert published.written in stop.message
    assert any("--new-epoch" in way for way in stop.ways)
