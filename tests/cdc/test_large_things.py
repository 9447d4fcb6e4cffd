"""Large transactions, large rows and many tables through `bridge cdc start`: nothing is lost, and memory stays bounded."""

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from cdc.settings import TableSettings
from eventbus.event import HEADER_EVENT_ID, HEADER_OBJECT
from eventbus.jetstream import JetStream
from eventbus.objects import ObjectStore
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from tests.cdc.capturing import Source, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROWS = 1_000_000
BOUND_MB = 150
CONFIG = """
sources:
  shop:
    dsn: {dsn}
    slot: {slot}
    streaming: {streaming}
    tables: {tables}
nats: {{servers: ["{server}"], sync_interval: 2m}}
streams: {{events: {{max_bytes: 4GB}}, deliveries: {{max_bytes: 16MB}}, attempts: {{max_bytes: 1MB}}, dlq: {{max_bytes: 1MB}}}}
"""
MARKS = "CREATE TABLE marks (n bigserial PRIMARY KEY)"
ITEMS = "CREATE TABLE items (id int PRIMARY KEY, note text)"


@pytest.fixture
async def source(own_postgres: EmbeddedPostgres, own_nats: EmbeddedNats) -> Source:
    found = Source(own_postgres.dsn(), NatsSettings((own_nats.url,), sync_interval=120.0))
    found.settings = replace(
        found.settings, tables={"public.items": TableSettings(), "public.marks": TableSettings()}
    )
    await found.create(f"{MARKS}; {ITEMS}")
    return found


@contextlib.asynccontextmanager
async def bridge(source: Source, folder: Path, *, streaming: bool = True) -> AsyncIterator[int]:
    """`bridge cdc start`; its pid."""
    config = folder / "bridge.yaml"
    config.write_text(
        CONFIG.format(
            dsn=json.dumps(source.dsn),
            slot=source.settings.slot,
            streaming=json.dumps(streaming),
            tables=json.dumps({name: {"tenant_column": None} for name in source.settings.tables}),
            server=source.nats.servers[0],
        )
    )
    with (folder / "log").open("wb") as log:
        command = (sys.executable, "-m", "bridge", "cdc", "start", "--config", str(config))
        process = await asyncio.create_subprocess_exec(*command, stderr=log)
    try:
        yield process.pid
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def peak_mb(pid: int) -> int:
    """The most memory it ever had resident."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


async def event_ids(source: Source) -> list[str]:
    """In the stream's order."""
    subjects = Subjects(source.nats.namespace)
    async with source.jetstream() as jetstream:
        last = await jetstream.last_message(subjects.stream("EVENTS"), subjects.events_of("shop"))
        assert last is not None
        found: list[str] = []
        async with OrderedReader(
            jetstream, Reading(subjects.stream("EVENTS"), [subjects.events_of("shop")])
        ) as reader:
            while True:
                for message in await reader.next():
                    found.append(message.headers[HEADER_EVENT_ID])
                    if message.seq == last.seq:
                        return found


async def published(source: Source) -> None:
    """Everything that is committed; in the time that a large transaction takes."""
    target = await source.value(
        "INSERT INTO marks DEFAULT VALUES RETURNING pg_current_wal_insert_lsn()::text"
    )
    behind = f"SELECT '{target}'::pg_lsn <= '{{}}'::pg_lsn"

    async def reached() -> bool:
        position = await source.position()
        return position is not None and await source.value(behind.format(position.flush))

    await eventually(reached, bool, within=600)


@pytest.mark.parametrize("streaming", [True, False], ids=["streamed", "whole"])
async def test_a_transaction_of_a_million_rows(source: Source, tmp_path: Path, *, streaming: bool) -> None:
    async with bridge(source, tmp_path, streaming=streaming) as pid:
        await source.captured()
        await source.sql(f"INSERT INTO items SELECT i, repeat('x', 100) FROM generate_series(1, {ROWS}) i")
        await published(source)
        peak = peak_mb(pid)
    ids = await event_ids(source)
    commit = ids[1].rpartition(":")[0]
    assert ids[1:-1] == [f"{commit}:{n}" for n in range(1, ROWS + 1)]
    print(f"peak {peak} MB")  # noqa: T201 - a figure for whoever runs it
    assert peak < BOUND_MB


async def test_a_row_of_a_hundred_megabytes(source: Source, tmp_path: Path) -> None:
    size = 100 * 2**20
    async with bridge(source, tmp_path) as pid:
        await source.captured()
        await source.sql(f"INSERT INTO items VALUES (1, repeat('0123456789abcdef', {size // 16}))")
        await published(source)
        peak = peak_mb(pid)
    print(f"peak {peak} MB")  # noqa: T201 - a figure for whoever runs it
    subjects = Subjects()
    async with source.jetstream() as jetstream:
        payload = await _big(jetstream, subjects)
    assert payload.count(b"0123456789abcdef") == size // 16


async def _big(jetstream: JetStream, subjects: Subjects) -> bytes:
    found = await jetstream.last_message(
        subjects.stream("EVENTS"), subjects.event("shop", "_", "public", "items", "insert")
    )
    assert found is not None
    return await ObjectStore(jetstream, subjects.bucket("BIG_EVENTS")).get(found.headers[HEADER_OBJECT])


async def test_a_thousand_tables(source: Source, tmp_path: Path) -> None:
    names = [f"t{number}" for number in range(1000)]
    await source.sql("".join(f"CREATE TABLE {name} (id int PRIMARY KEY, n numeric(12,2));" for name in names))
    tables = {f"public.{name}": TableSettings() for name in names}
    source.settings = replace(source.settings, tables={**tables, **source.settings.tables})
    await source.set_up()
    async with bridge(source, tmp_path) as pid:
        await source.captured()
        for _ in range(3):
            await source.sql(
                "".join(f"INSERT INTO {name} SELECT count(*), 1.5 FROM {name};" for name in names)
            )
        await published(source)
        peak = peak_mb(pid)
    assert len(await event_ids(source)) == 3 * len(names) + 2
    print(f"peak {peak} MB")  # noqa: T201 - a figure for whoever runs it
    assert peak < BOUND_MB
