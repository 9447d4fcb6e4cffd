"""How many deliveries a second does a worker make, through mapping and REST, and what does one cost it?

What is to be delivered stands in DELIVERIES before a worker starts, so that it is never idle: routed, spread over tenants,
each with a connection of its own. The time runs from the first request that the ERP books to the last.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.delivery_bus import BenchTenant, Pipeline, event_writer, pipeline
from bench.kind_rows import KINDS
from eventbus.connection import connect
from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects

TENANTS = 32
CONNECTION = {"concurrency": 8}
WARM_UP = 1_000
IDLE_S = 5.0
"""A worker renews its leases and pulls although nothing is there: what that takes is measured, and taken off."""
TICKS = os.sysconf("SC_CLK_TCK")


async def measure(deliveries: int, workers: int, folder: Path, kind: str = "rest") -> dict[str, Any]:
    deliveries -= deliveries % TENANTS  # as many for each
    tenants = [BenchTenant(number, connection=CONNECTION, kind=KINDS[kind]) for number in range(TENANTS)]
    async with pipeline(folder, tenants) as line:
        await fill(line, tenants, deliveries)
        async with working(line, workers) as pids:
            await line.erp.booked(WARM_UP, 600)
            began, before = time.monotonic(), cpu_of(pids)
            await line.erp.booked(deliveries, 600)
            took, after = time.monotonic() - began, cpu_of(pids)
            await asyncio.sleep(IDLE_S)
            idle = (cpu_of(pids)[0] - after[0]) / IDLE_S
        times = sorted(await line.erp.times())
    begin, end = times[len(times) // 20], times[-len(times) // 20]
    seconds = end - begin
    return {
        "workers": workers,
        "deliveries": len(times),
        "per_second": round(len(times) * 0.9 / seconds),
        "worker_us": round((after[0] - before[0] - idle * took) / (deliveries - WARM_UP) * 1e6),
        "renderers_us": round((after[1] - before[1]) / (deliveries - WARM_UP) * 1e6),
        "idle_percent": round(idle * 100, 1),
    }


async def fill(line: Pipeline, tenants: Sequence[BenchTenant], deliveries: int) -> None:
    """Returns once so many are in DELIVERIES."""
    async with event_writer(line.nats.url) as writer:
        for tenant in tenants:
            await writer.put_many(tenant, deliveries // len(tenants))
    async with (
        line.started("run", "--role", "router"),
        await connect(NatsSettings(servers=(line.nats.url,)), name="bench", reconnect=False) as connection,
    ):
        jetstream, stream = JetStream(connection), Subjects().stream("DELIVERIES")
        async with asyncio.timeout(300):
            while (  # noqa: ASYNC110 — what is asked is a server
                not (info := await jetstream.stream_info(stream)) or info["state"]["messages"] < deliveries
            ):
                await asyncio.sleep(0.2)


@asynccontextmanager
async def working(line: Pipeline, workers: int) -> AsyncIterator[list[int]]:
    async with AsyncExitStack() as stack:
        processes = [
            await stack.enter_async_context(line.started("run", "--role", "worker")) for _ in range(workers)
        ]
        yield [process.pid for process in processes]


def cpu_of(workers: Sequence[int]) -> tuple[float, float]:
    """Seconds of CPU that workers have taken, and their renderers."""
    children = [
        int(child)
        for pid in workers
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]
    return sum(map(_cpu, workers)), sum(map(_cpu, children))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.delivery", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=32_000)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    options = parser.parse_args()
    found = []
    for workers in options.workers:
        with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
            found.append(asyncio.run(measure(options.deliveries, workers, Path(temporary))))
    table = Table(
        title=f"{options.deliveries:,} deliveries of {TENANTS} tenants, to an ERP that answers at once"
    )
    for heading in ("workers", "deliveries/s", "CPU µs each, worker", "its renderers"):
        table.add_column(heading, justify="right")
    for each in found:
        table.add_row(*(str(each[key]) for key in ("workers", "per_second", "worker_us", "renderers_us")))
    Console(width=100).print(table)
    print(json.dumps({"results": found}))


if __name__ == "__main__":
    main()
