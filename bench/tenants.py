"""Thousands of tenants: how long apply, list, a version's way to a running worker, and the start of worker and router take.

Each tenant has three routes, two connections and a crosswalk table; the mappings are the shipped ones.
"""

import argparse
import asyncio
import json
import os
import re
import resource
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bridge.demo.nats_server import EmbeddedNats
from bridge.listen import Listen
from connectors.egress import EgressPolicy
from eventbus.connection import Connection, connect
from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from pipeline.tenants.in_force import NotReady, TenantsInForce

TENANT = """\
key: "{number}"
timezone: America/Santiago
connections:
  sap:
    connector: rest
    base_url: https://sap-{number}.example
    auth: {{type: basic, username: bridge, password: "${{secret:sap_password}}"}}
    rate_limit: 10/s
  other: {{connector: rest, base_url: "https://erp-{number}.example"}}
routes:
  purchase-requisitions:
    mapping: sap_s4hana/purchase_requisition
    connection: sap
    params: {{plant: CL01, material_group: YBSVS1}}
    retry: {{max_attempts: 8, initial: 2s, factor: 3, max: 1h, jitter: 0.2}}
  work-orders: {{mapping: generic_rest/work_order, connection: other}}
  vendors: {{mapping: netsuite/vendor, connection: other}}
"""
ROUTES = ("purchase-requisitions", "work-orders", "vendors")
START_S = 120.0
Found = dict[str, Any]


def make_tenants(folder: Path, count: int) -> None:
    """A tenants folder."""
    for number in range(count):
        place = folder / f"tenant-{number:05}"
        (place / "lookups").mkdir(parents=True)
        (place / "tenant.yaml").write_text(TENANT.format(number=number))
        rows = "".join(f"cc{row};{number}{row:03}\n" for row in range(20))
        (place / "lookups/cost_centers.csv").write_text(f"ours;theirs\n{rows}")
        (place / "lookups/units.csv").write_text("ours;theirs\n")


async def measure(count: int, sync: str, folder: Path) -> Found:
    """Seconds and megabytes, by what was measured."""
    make_tenants(folder / "tenants", count)
    async with EmbeddedNats(folder / "nats", sync_interval=sync) as server:
        (folder / "bridge.yaml").write_text(
            f"nats: {{servers: ['{server.url}']}}\n"
            "streams: {events: {max_bytes: 256MB}, deliveries: {max_bytes: 256MB}, attempts: {max_bytes: 64MB},"
            " dlq: {max_bytes: 64MB}}\n"
            f"secrets: {{key: {'ab' * 32}}}\n"
        )
        found: Found = {"tenants": count}
        for name, words in {
            "apply": ("tenant", "apply"),
            "apply_again": ("tenant", "apply"),
            "list": ("tenant", "list", "--json"),
        }.items():
            found[f"{name}_s"], found[f"{name}_cpu_s"] = await timed(folder, *words)
        found |= await starts(folder, "worker", 'role="worker"')
        found |= await starts(folder, "router", 'role="owner"')
        async with await connect(
            NatsSettings(servers=(server.url,)), name="bench", reconnect=False
        ) as connection:
            found |= await in_force(connection, folder, count)
            found["versions_mb"] = await stored_mb(connection)
    return found


async def bridge(folder: Path, *words: str) -> asyncio.subprocess.Process:
    command = (sys.executable, "-P", "-m", "bridge", *words, "--config", str(folder / "bridge.yaml"))
    log = (folder / "log").open("ab")
    return await asyncio.create_subprocess_exec(
        *command, stdout=log, stderr=log, cwd=Path(__file__).parents[1]
    )


async def timed(folder: Path, *words: str) -> tuple[float, float]:
    """Seconds of one command, and of its CPU."""
    began, cpu = time.perf_counter(), children_cpu_s()
    process = await bridge(folder, *words)
    assert await process.wait() == 0, (folder / "log").read_text()[-2_000:]
    return round(time.perf_counter() - began, 2), round(children_cpu_s() - cpu, 2)


def children_cpu_s() -> float:
    """Of those that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def starts(folder: Path, role: str, ready: str) -> Found:
    """Until it works, and its memory then."""
    began = time.perf_counter()
    async with running(folder, role) as (process, place):

        async def is_ready() -> bool:
            assert process.returncode is None, (folder / "log").read_text()[-2_000:]
            return re.search(ready, await asked(place)) is not None

        await until(is_ready)
        seconds = time.perf_counter() - began
        return {f"{role}_start_s": round(seconds, 2), f"{role}_mb": memory_mb(process.pid)}


@asynccontextmanager
async def running(folder: Path, role: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Listen]]:
    place = Listen("127.0.0.1", free_port())
    process = await bridge(folder, "run", "--role", role, "--listen", str(place))
    try:
        yield process, place
    finally:
        process.terminate()
        await process.wait()


def free_port() -> int:
    import socket  # noqa: PLC0415 — of this function alone

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def asked(place: Listen) -> str:
    """What /readyz says; nothing while it is not served."""

    def ask() -> str:
        try:
            with urllib.request.urlopen(f"http://{place}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return ""

    return await asyncio.to_thread(ask)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(START_S):
        while not await holds():  # noqa: ASYNC110 — another process is asked
            await asyncio.sleep(0.02)


async def in_force(connection: Connection, folder: Path, count: int) -> Found:
    """From the command's start until a running worker has the new version of one tenant; all mappings compiled."""
    tenants, ready = TenantsInForce(Subjects(), (), EgressPolicy()), asyncio.Event()
    following = asyncio.create_task(tenants.follow(JetStream(connection), ready))
    await ready.wait()
    changed, last = asyncio.Event(), f"tenant-{count - 1:05}"
    tenants.tell(lambda name: changed.set() if name == last else None)
    text = (folder / f"tenants/{last}/tenant.yaml").read_text()
    (folder / f"tenants/{last}/tenant.yaml").write_text(text.replace("America/Santiago", "America/Lima"))
    began = time.perf_counter()
    process = await bridge(folder, "tenant", "apply")
    async with asyncio.timeout(START_S):
        await changed.wait()
    seconds = time.perf_counter() - began
    await process.wait()
    before, began, refused = memory_mb(os.getpid()), time.perf_counter(), 0
    for number in range(count):
        for route in ROUTES:
            found = tenants.find(f"tenant-{number:05}", route)
            assert found is not None
            try:
                await tenants.mapping(found)
            except NotReady:
                refused += 1
    following.cancel()
    await tenants.aclose()
    return {
        "one_in_force_s": round(seconds, 2),
        "all_mappings_s": round(time.perf_counter() - began, 2),
        "all_mappings_mb": round(memory_mb(os.getpid()) - before, 1),
        "mappings_refused": refused,
    }


async def stored_mb(connection: Connection) -> float:
    info = await JetStream(connection).stream_info("KV_TENANTS")
    assert info is not None
    return round(float(info["state"]["bytes"]) / 2**20, 1)


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return round(int(found[1]) / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=5_000)
    parser.add_argument("--sync", default="2m", help="the server's sync_interval")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = asyncio.run(measure(options.tenants, options.sync, Path(folder)))
    table = Table("what", "figure")
    for name, value in found.items():
        table.add_row(name, str(value))
    Console(width=100).print(table)
    print(json.dumps(found))


if __name__ == "__main__":
    os.environ.setdefault("BRIDGE_LOG_LEVEL", "warning")
    main()
