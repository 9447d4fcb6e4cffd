"""How long a change takes from the database to a reader of the stream, at a steady rate of small transactions.

Each row carries the server's clock from just before its commit; the reader, on the same machine, compares it with its
own when the message comes out of the stream. So the figure holds the commit's flush too.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import nats
import psycopg
from rich.console import Console
from rich.table import Table

from bench.contenders import FracttalBridge, IntoJetStream, MqBridge, NotHere, replication_start, running
from bench.source import Source, prepare
from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres

WARM_UP_S = 2.0
INSERT = """
INSERT INTO work_orders SELECT %s, (4700 + %s %% 20)::text, 'WO', 1, clock_timestamp(), clock_timestamp(), NULL, 3600,
  0.00, 1273.1000, false, 'planner', 'Replace the bearing and check its alignment afterwards', 'Two persons', 'Plant 3'
"""


async def measure(rate: int, seconds: float, sync: str, folder: Path) -> dict[str, Any]:
    """Milliseconds by contender; both read the same changes, one after the other."""
    found: dict[str, Any] = {}
    async with EmbeddedPostgres(folder / "postgres") as server:
        source = await prepare(server, 0)
        for kind in (MqBridge, FracttalBridge):
            place = folder / kind.__name__.lower()
            place.mkdir()
            contender = kind(place.name, place, sync)
            try:
                await contender.prepare(source)
                found_ms = await delays(contender, source, rate, seconds)
                found[contender.name] = {"events": len(found_ms), **summary(found_ms)}
            except NotHere as why:
                found[contender.name] = {"problem": f"skipped: {why}"}
            else:
                await source.drop_slot(contender.slot)
    return found


def summary(delays_ms: list[float]) -> dict[str, float]:
    """Milliseconds."""
    cuts = quantiles(delays_ms, n=100)
    return {
        "p50_ms": round(cuts[49], 1),
        "p99_ms": round(cuts[98], 1),
        "max_ms": round(max(delays_ms), 1),
    }


async def delays(contender: IntoJetStream, source: Source, rate: int, seconds: float) -> list[float]:
    """In milliseconds, one for each change after the warm-up."""
    async with EmbeddedNats(contender.folder / "nats", sync_interval=contender.sync or "2m") as server:
        command = await contender.command(source, server.url)
        async with running(command, contender.folder) as process:
            await replication_start(source, contender.slot, process)
            async with reading(server.url, contender) as arrived:
                total = await write(source, rate, WARM_UP_S + seconds)
                found = [await asyncio.wait_for(arrived.get(), 30) for _ in range(total)]
    return found[int(rate * WARM_UP_S) :]


@asynccontextmanager
async def reading(url: str, contender: IntoJetStream) -> AsyncIterator[asyncio.Queue[float]]:
    """The delay of each message, as an ordered consumer of the stream gets it."""
    arrived: asyncio.Queue[float] = asyncio.Queue()

    async def took(message: Any) -> None:
        arrived.put_nowait((time.time() - _written_at(json.loads(message.data))) * 1000)

    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        await stream.subscribe(contender.subjects, stream=contender.stream, cb=took, ordered_consumer=True)
        yield arrived
    finally:
        await client.close()


def _written_at(change: dict[str, Any]) -> float:
    """Seconds since 1970, from the row: mq-bridge's message is the row itself."""
    text = change.get("after", change)["creation_date"]
    return datetime.fromisoformat(text.replace(" ", "T")).timestamp()


async def write(source: Source, rate: int, seconds: float) -> int:
    """Inserts, each committed and flushed by itself, at `rate` a second; how many."""
    async with await psycopg.AsyncConnection.connect(source.dsn, autocommit=True) as connection:
        cursor = await connection.execute("SELECT coalesce(max(id), 0) FROM work_orders")
        (last,) = await cursor.fetchone() or (0,)
        began, total = time.monotonic(), int(rate * seconds)
        for number in range(total):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await connection.execute(INSERT, [last + number + 1, number])
    return total


def print_table(rate: int, sync: str, found: dict[str, Any]) -> None:
    table = Table(title=f"Commit to reader, {rate:,} single-row transactions a second, sync_interval {sync}")
    for heading in ("contender", "events", "p50 ms", "p99 ms", "max ms"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    for name, figures in found.items():
        cells = [str(figures.get(key, "–")) for key in ("events", "p50_ms", "p99_ms", "max_ms")]
        table.add_row(name, *cells)
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--sync", default="2m", help="the nats-server's sync_interval")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        found = asyncio.run(measure(options.rate, options.seconds, options.sync, Path(temporary)))
    print_table(options.rate, options.sync, found)
    print(json.dumps({"rate": options.rate, "sync_interval": options.sync, "results": found}))


if __name__ == "__main__":
    main()
