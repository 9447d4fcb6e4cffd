"""How long a change takes from its commit to the ERP, at a steady rate, with as many tenants as wanted.

Each row carries the database's clock from just before its commit, the mapping sends it along, and the ERP, on the same
machine, compares it with its own when the request has come. So the figure holds the commit's flush too.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

from bench.delivery_bus import BenchTenant, Pipeline, percentiles, pipeline
from bench.delivery_hops import hops
from bench.source import prepare
from bridge.demo.postgres_server import EmbeddedPostgres

WARM_UP_S = 5.0
INSERT = """
INSERT INTO work_orders SELECT %s, %s, 'WO', 1, clock_timestamp(), clock_timestamp(), NULL, 3600,
  0.00, 1273.1000, false, 'planner', 'Replace the bearing and check its alignment afterwards', 'Two persons', 'Plant 3'
"""


async def measure(tenants: int, routes: int, rate: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Milliseconds from commit to ERP, and what the worker took to start and keeps in memory."""
    some = [BenchTenant(number, routes=routes) for number in range(tenants)]
    async with EmbeddedPostgres(folder / "postgres") as server:
        source = await prepare(server, 0)
        tables = {"public.work_orders": {"tenant_column": "id_company"}}
        sources = {"shop": {"dsn": source.dsn, "slot": "bridge", "publication": "bridge", "tables": tables}}
        async with pipeline(folder / "bus", some, sources=sources) as line:
            await line.bridge("cdc", "setup")
            async with line.started("cdc", "start"), line.started("run", "--role", "router"):
                began = time.monotonic()
                async with line.started("run", "--role", "worker") as worker:
                    await write(source.dsn, some[:1], 0, rate, 1 / rate)
                    await line.erp.booked(1, 120)
                    start_s = time.monotonic() - began
                    return await _measured(line, source.dsn, some, rate, seconds) | {
                        "worker_start_s": round(start_s, 1),
                        "worker_rss_mb": _rss_mb(worker.pid),
                    }


async def _measured(
    line: Pipeline, dsn: str, tenants: Sequence[BenchTenant], rate: int, seconds: float
) -> dict[str, Any]:
    written = await write(dsn, tenants, 1, rate, WARM_UP_S + seconds)
    await line.erp.booked(1 + written, 120)
    warm = 1 + int(WARM_UP_S * rate)
    arrivals = await line.erp.arrivals()
    committed = {
        int(arrival.body["sequence"]): datetime.fromisoformat(arrival.body["written"]).timestamp()
        for arrival in arrivals
        if int(arrival.body["sequence"]) >= warm
    }
    delays = percentiles(
        arrival.at - committed[int(arrival.body["sequence"])]
        for arrival in arrivals
        if int(arrival.body["sequence"]) in committed
    )
    return delays | {"hops": await hops(line.nats.url, arrivals, committed)}


async def write(dsn: str, tenants: Sequence[BenchTenant], first: int, rate: int, seconds: float) -> int:
    """Inserts, each committed and flushed by itself; how many."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        began, total = time.monotonic(), max(1, int(rate * seconds))
        for number in range(first, first + total):
            await asyncio.sleep(max(0.0, began + (number - first) / rate - time.monotonic()))
            tenant = tenants[number * 7919 % len(tenants)]
            await connection.execute(INSERT, [number, tenant.key])
    return total


def _rss_mb(pid: int) -> int:
    """Of the process and those it has started: mappings are rendered in some of their own."""
    status = Path(f"/proc/{pid}/status").read_text()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = int(status.partition("VmRSS:")[2].split()[0]) // 1024
    return own + sum(_rss_mb(int(child)) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.delivery_latency", description=__doc__)
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--routes", type=int, default=1, help="routes a tenant; one of them gets the changes")
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        found = asyncio.run(
            measure(options.tenants, options.routes, options.rate, options.seconds, Path(temporary))
        )
    Console(width=100).print(
        f"{options.tenants:,} tenants with {options.routes} routes, {options.rate} changes a second, commit to ERP:"
        f" p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms, max {found['max_ms']} ms;"
        f" the worker delivered {found['worker_start_s']} s after its start, and keeps {found['worker_rss_mb']} MB"
    )
    for name, hop in found["hops"].items():
        Console(width=100).print(f"  {name}: p50 {hop['p50_ms']} ms, p99 {hop['p99_ms']} ms")
    print(json.dumps({"tenants": options.tenants, "rate": options.rate, "results": found}))


if __name__ == "__main__":
    main()
