"""JetStream takes nothing: the slot waits, feedback goes on, memory stays bounded, and on return it goes on by itself."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from structlog.testing import capture_logs

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from tests.cdc.bridge_processes import Bridge
from tests.cdc.capturing import MB, STREAMS, Source, Workload, assert_gap_free, eventually

SENDER_TIMEOUT_S = 1.0


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    """PostgreSQL gives us up after one second without feedback."""
    options = f"-c wal_sender_timeout={SENDER_TIMEOUT_S:g}s"
    nats = NatsSettings((nats_server.url,), namespace, sync_interval=0.0)
    found = Source(make_conninfo(database, options=options), nats)
    await found.create()
    return found


async def told(logs: list[Any], words: str) -> None:
    await eventually(lambda: asyncio.sleep(0, logs), lambda lines: any(words in str(line) for line in lines))


async def fed_back(source: Source) -> None:
    """Waits for several times of what PostgreSQL waits for feedback, of one and the same reader."""
    pid, since = await eventually(lambda: walsender(source), lambda found: bool(found and found[1]))

    def still_read(now: Any) -> bool:
        assert now is not None, "the slot is not read any more"
        assert now[0] == pid, "another walsender reads the slot: the first was given up"
        return bool((now[1] - since).total_seconds() > 3 * SENDER_TIMEOUT_S)

    await eventually(lambda: walsender(source), still_read)


async def walsender(source: Source) -> Any:
    """Its pid and when it heard from us, None where nobody reads the slot."""
    rows = await source.sql(
        "SELECT r.pid, r.reply_time FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid "
        f"WHERE s.slot_name = '{source.settings.slot}'"
    )
    return rows[0] if rows else None


async def purge(source: Source) -> None:
    """Takes all events out of the stream, and leaves the position."""
    subjects = Subjects(source.nats.namespace)
    async with source.jetstream() as jetstream:
        await jetstream.call(
            f"STREAM.PURGE.{subjects.stream('EVENTS')}", {"filter": subjects.events_of("shop")}
        )


async def test_a_full_stream_is_waited_for(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.cdc.capturing.STREAMS", replace(STREAMS, events_max_bytes=2 * MB))
    workload = Workload(seed=21)
    with capture_logs() as logs:
        async with source.capturing():
            await source.captured()
            await workload.run(source, 100)
            await workload.large(source, 5_000)
            await told(logs, "takes nothing")
            await fed_back(source)
            earlier = await source.events()
            assert len(earlier) < workload.changes
            await purge(source)
            await source.captured()
    await assert_gap_free(source, earlier)
    assert any("publishing again" in str(line) for line in logs)


async def test_a_frozen_nats_server_is_waited_for(source: Source, own_nats: EmbeddedNats) -> None:
    far = Source(source.dsn, NatsSettings((own_nats.url,), sync_interval=0.0))
    workload = Workload(seed=22)
    async with far.capturing():
        await far.captured()
        os.kill(own_nats.pid, signal.SIGSTOP)
        try:
            await workload.run(far, 300)
            await workload.large(far, 3_000)
            await fed_back(far)
        finally:
            os.kill(own_nats.pid, signal.SIGCONT)
        await far.captured()
    await assert_gap_free(far)


@pytest.mark.slow
async def test_a_shutdown_of_postgres_does_not_wait_for_a_stream_that_is_full(
    own_postgres: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.cdc.capturing.STREAMS", replace(STREAMS, events_max_bytes=MB))
    monkeypatch.setattr("cdc.slot_watch.WATCH_EVERY_S", 0.5)
    source = Source(own_postgres.dsn(), NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await source.create()
    now = asyncio.get_running_loop().time
    with capture_logs() as logs:
        running = asyncio.create_task(source.capture().run(asyncio.Event()))
        await source.captured()
        # more than the 16 MiB that capture holds, and the sockets between
        await source.sql(
            "INSERT INTO orders SELECT i, 1, repeat('x', 5000), 1 FROM generate_series(1, 9000) i"
        )
        await told(logs, "takes nothing")
        began = now()
        await own_postgres.stop()
        assert now() - began < 10
        running.cancel()
        await asyncio.wait((running,))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if made.returncode != 0:
        pytest.skip(f"only root may mount a small file system: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class CrampedNats(EmbeddedNats):
    """It believes to have more room than its disk has."""

    def _write_config(self, name: str, port: int) -> Path:
        config = super()._write_config(name, port)
        config.write_text(config.read_text().replace("jetstream {", "jetstream { max_file_store: 1GB,"))
        return config


async def test_a_full_disk_costs_nothing_once_the_server_is_started_again(
    source: Source, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.fenced_writer.COMMIT_TIMEOUT_S", 1.0)
    ballast, workload = small_disk / "ballast", Workload(seed=24)
    async with CrampedNats(small_disk / "nats", sync_interval="2m") as nats:
        far = Source(source.dsn, NatsSettings((nats.url,), sync_interval=0.0))
        with capture_logs() as logs:
            async with far.capturing():
                await far.captured()
                ballast.write_bytes(bytes(20 * MB))
                await workload.run(far, 100)
                await workload.large(far, 8_000)
                await told(logs, "JetStream gives no answer")
                await (
                    nats.stop()
                )  # it takes nothing more by itself, whatever room there is (nats-server 2.15)
                ballast.unlink()
                await nats.start()
                await far.captured()
        await assert_gap_free(far)


async def test_memory_is_bounded_while_a_large_backlog_waits(source: Source, tmp_path: Path) -> None:
    bridge = Bridge(source, tmp_path, "bridge", f"{SENDER_TIMEOUT_S:g}s", events="16MB")
    try:
        await bridge.start()
        await source.captured()
        await source.sql(
            "INSERT INTO orders SELECT i, 1, repeat('x', 8000), 1 FROM generate_series(1, 8000) i"
        )
        await bridge.logged("takes nothing")
        await fed_back(source)
        assert bridge.peak_memory < 150 * MB
    finally:
        await bridge.kill()
