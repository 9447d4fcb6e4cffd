"""`bridge up`: from one bridge.yaml and a PostgreSQL to everything running, and to nothing left of it."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.cdc.capturing import eventually

DEADLINE_S = 60
TENANT = """\
key: "4711"
connections: {erp: {connector: rest, base_url: "https://erp.example", auth: {type: bearer, token: "${secret:t}"}}}
routes: {orders: {mapping: order, connection: erp}}
"""
MAPPING = "source: {table: public.work_orders}\nconnector: rest\nrequest: {method: POST, path: /orders}\n"


class Up:
    """A running `bridge up`, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []

    async def until(self, process: str, event: str) -> dict[str, Any]:
        """The next line of a process that holds `event`."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            while line := await self.process.stderr.readline():
                said: dict[str, Any] = json.loads(line)
                self.said.append(said)
                if said.get("process") == process and event in said["event"]:
                    return said
        raise AssertionError("\n".join(map(str, self.said)))

    def children(self) -> dict[str, int]:
        """Pids by command line, of those that live."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in task.read_text().split()]
        return {Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "): pid for pid in pids}


def free_ports(count: int) -> int:
    """The first of so many in a row that nobody has."""
    while True:
        first = random.randrange(20_000, 30_000)
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first


@pytest.fixture
async def folder(tmp_path: Path, database: str) -> Path:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute("CREATE TABLE work_orders (id int PRIMARY KEY, id_company text NOT NULL)")
    slot = f"up_{os.getpid()}"
    (tmp_path / "bridge.yaml").write_text(
        f"sources:\n  fracttal:\n    dsn: ${{BRIDGE_SOURCE_DSN}}\n    slot: {slot}\n"
        "    tables: {public.work_orders: {tenant_column: id_company}}\nnats: {embedded: data}\n"
        f"http: {{listen: {free_ports(5)}}}\nintake: {{partner: {{}}}}\n"
    )
    (tmp_path / "tenants/acme/mappings").mkdir(parents=True)
    (tmp_path / "tenants/acme/tenant.yaml").write_text(TENANT)
    (tmp_path / "tenants/acme/mappings/order.yaml").write_text(MAPPING)
    return tmp_path


@pytest.fixture
async def up(folder: Path, database: str) -> AsyncIterator[Up]:
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("bridge"), "up", "--setup"),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"BRIDGE_SOURCE_DSN": database},
    )
    yield Up(process)
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def test_everything_starts_survives_a_kill_and_stops_in_order(up: Up, folder: Path) -> None:
    places = (await up.until("up", "/readyz"))["event"]
    assert (await up.until("up", "tenant acme"))["event"].endswith(
        "new, with key '4711': 1 connection, 1 route"
    )
    await up.until(
        "up", "acme: secret t is not set, and the deliveries that need it wait: `bridge secret set acme t`"
    )
    await up.until("up", "ready: capture fracttal, router, worker, console")
    found = await eventually(lambda: roles(places), lambda found: len(found) == 5)
    assert found == {
        "up": "supervisor",
        "capture fracttal": "owner",
        "router": "owner",
        "worker": "worker",
        "console": "console",
    }
    nats = up.children()[next(line for line in up.children() if "nats-server" in line)]
    os.kill(nats, signal.SIGSTOP)
    try:
        await eventually(lambda: roles(places), lambda found: "up" not in found)
    finally:
        os.kill(nats, signal.SIGCONT)
    await eventually(lambda: roles(places), lambda found: len(found) == 5)
    assert (folder / "data/secrets.key").stat().st_mode & 0o777 == 0o600
    worker = next(pid for line, pid in up.children().items() if "--role worker" in line)
    os.kill(worker, signal.SIGKILL)
    await up.until("worker", "ended with SIGKILL; starting again")
    await up.until("worker", "working")
    up.process.send_signal(signal.SIGINT)
    for name in ("capture fracttal", "router", "worker", "console"):
        await up.until(name, "stopping")
    children = up.children().values()
    assert await asyncio.wait_for(up.process.wait(), DEADLINE_S) == 0
    assert not [pid for pid in children if lives(pid)]


async def roles(places: str) -> dict[str, str]:
    """Role by process, of those that are ready, at the addresses that `up` told: `…: NAME at HOST:PORT, …`."""
    found = {}
    async with httpx.AsyncClient() as client:
        for place in places.split(": ", 1)[1].split(", "):
            name, address = place.split(" at ")
            answer = await client.get(f"http://{address}/readyz")
            if answer.status_code == 200:
                found[name] = answer.json()["role"]
    return found


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
