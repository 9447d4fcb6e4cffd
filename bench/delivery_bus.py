"""What the benches of delivery share: nats-server, tenants in force, routers and workers as processes, an ERP that logs."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from bench.contenders import running
from bench.kind_rows import KINDS, BenchKind
from bench.latency import summary
from bridge.demo.nats_server import EmbeddedNats
from eventbus.connection import connect
from eventbus.event import HEADER_EVENT_ID, encode_json
from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from eventbus.wire import header_lines

STOP_S = 20.0
KEYS = 1_000


class Arrival(NamedTuple):
    """A request as the ERP had it: seconds since the epoch, the path below the tenant's base_url, the JSON body."""

    at: float
    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BenchTenant:
    """base: the path at the ERP, before `/<name>`; connection: more members of its connection in tenant.yaml.

    kind: of connector; only `rest` has several routes.
    """

    number: int
    base: str = ""
    routes: int = 1
    connection: Mapping[str, Any] | None = None
    kind: BenchKind = KINDS["rest"]

    @property
    def name(self) -> str:
        return f"t{self.number}"

    @property
    def key(self) -> str:
        return str(4700 + self.number)

    def write(self, folder: Path, port: int) -> None:
        place = folder / self.name
        (place / "mappings").mkdir(parents=True)
        (place / "mappings" / "order.yaml").write_text(self.kind.mapping)
        for path, text in self.kind.files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)
        sources = [["insert", "update"], ["delete"], ["read"]]
        for number, operations in enumerate(sources[1 : self.routes], 1):
            other = self.kind.mapping.replace("[insert, update]", json.dumps(operations))
            (place / "mappings" / f"order{number}.yaml").write_text(other)
        names = ["order", *(f"order{number}" for number in range(1, self.routes))]
        tenant = {
            "key": self.key,
            "connections": {
                "erp": {
                    "connector": self.kind.name,
                    "base_url": f"http://127.0.0.1:{port}{self.base}/{self.name}",
                    **self.kind.connection,
                    **(self.connection or {}),
                }
            },
            "routes": {name: {"mapping": name, "connection": "erp"} for name in names},
        }
        (place / "tenant.yaml").write_text(json.dumps(tenant))


class ErpLog:
    """The ERP's process."""

    def __init__(self, port: int, file: Path, process: asyncio.subprocess.Process) -> None:
        self.port = port
        self._file = file
        self._process = process

    async def count(self) -> int:
        """How many requests it has booked."""
        return int(await self._ask("/_count"))

    async def up(self) -> None:
        """What was down answers from now on."""
        await self._ask("/_up")

    async def _ask(self, path: str) -> str:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{self.port}{path}", timeout=30)).text

    async def booked(self, count: int, within_s: float) -> None:
        """Returns once it has booked so many."""
        async with asyncio.timeout(within_s):
            while await self.count() < count:  # noqa: ASYNC110 — what is asked is another process
                await asyncio.sleep(0.2)

    async def arrivals(self) -> list[Arrival]:
        """Ends it; what it had, in order."""
        return [Arrival(at, path, json.loads(body)) for at, path, body in await self._ended()]

    async def times(self) -> list[float]:
        """Ends it; when each request was there, in order."""
        return [at for at, _, _ in await self._ended()]

    async def _ended(self) -> list[tuple[float, str, str]]:
        self._process.send_signal(signal.SIGTERM)
        await self._process.wait()
        with self._file.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


@asynccontextmanager
async def erp_log(folder: Path, kind: str = "rest") -> AsyncIterator[ErpLog]:
    file = folder / "erp.log"
    command = [sys.executable, "-m", "bench.erp_sink", str(file), kind]
    async with running(command, folder, stdout=asyncio.subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(await asyncio.wait_for(process.stdout.readline(), 30))
        yield ErpLog(port, file, process)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A bridge.yaml, its nats-server, and the ERP that its tenants' connections lead to."""

    folder: Path
    nats: EmbeddedNats
    erp: ErpLog

    async def bridge(self, *arguments: str) -> str:
        """Runs a command to its end; its stdout."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", *arguments, "--config", str(self.folder / "bridge.yaml")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        if process.returncode:
            raise RuntimeError(
                f"bridge {' '.join(arguments)} ended with {process.returncode}: {errors.decode()}"
            )
        return out.decode()

    @asynccontextmanager
    async def started(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A long-running command, until it is left."""
        command = [sys.executable, "-m", "bridge", *arguments, "--config", str(self.folder / "bridge.yaml")]
        async with running(command, self.folder) as process:
            yield process
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), STOP_S)


def _write_files(folder: Path, nats: Mapping[str, Any], sources: Mapping[str, Any] | None) -> None:
    settings = {
        "sources": sources or {"shop": {"dsn": "dbname=none", "tables": {"public.work_orders": {}}}},
        "nats": nats,
        "streams": {
            "events": {"max_bytes": "2GB"},
            "deliveries": {"max_bytes": "2GB"},
            "attempts": {"max_bytes": "512MB"},
            "dlq": {"max_bytes": "64MB"},
        },
        "egress": {"allow": ["127.0.0.0/8"]},
    }
    (folder / "bridge.yaml").write_text(json.dumps(settings))


@asynccontextmanager
async def pipeline(
    folder: Path,
    tenants: Iterable[BenchTenant],
    *,
    sources: Mapping[str, Any] | None = None,
    lanes: int = 16,
) -> AsyncIterator[Pipeline]:
    """Everything but the processes of the bridge; the tenants, all of one kind, are in force."""
    tenants = list(tenants)
    kind = tenants[0].kind.name
    (folder / "nats").mkdir(parents=True)
    async with EmbeddedNats(folder / "nats", sync_interval="2m") as nats, erp_log(folder, kind) as erp:
        _write_files(folder, {"servers": [nats.url], "lanes": lanes}, sources)
        for tenant in tenants:
            tenant.write(folder / "tenants", erp.port)
        made = Pipeline(folder, nats, erp)
        await made.bridge("tenant", "apply")
        yield made


class EventWriter:
    """Puts events by hand, as capture would: what is measured begins at EVENTS."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._subjects = Subjects()
        self._number = 0

    async def put(self, tenant: BenchTenant, written: float) -> None:
        """One event of the tenant's, with the moment in it."""
        await self._jetstream.publish(*self._event(tenant, written))

    async def put_many(self, tenant: BenchTenant, count: int, rate: float = float("inf")) -> None:
        """In order, `rate` a second, or as fast as the stream takes them."""
        at_once = int(min(500, max(1, rate / 50)))
        began = time.monotonic()
        for begin in range(0, count, at_once):
            await asyncio.sleep(max(0.0, began + begin / rate - time.monotonic()))
            events = [self._event(tenant, 0.0) for _ in range(min(at_once, count - begin))]
            await asyncio.gather(*(self._jetstream.publish(*event) for event in events))

    def _event(self, tenant: BenchTenant, written: float) -> tuple[str, bytes, bytes]:
        self._number += 1
        number = self._number
        event_id = f"shop:0/{number:X}:1"
        event = {
            "v": 1,
            "id": event_id,
            "op": "update",
            "tenant": tenant.key,
            "source": {"name": "shop", "schema": "public", "table": "work_orders"},
            "key": {"id": number % KEYS},
            "before": None,
            "after": {
                "id": number,
                "id_company": tenant.key,
                "wo_folio": f"WO-{number}",
                "creation_date": written,
                "total_cost": 1273.1,
                "description": "Replace the bearing of the conveyor and check its alignment afterwards",
                "note": "Needs two persons and the small crane",
                "costs_center_description": "Plant 3, conveyors",
            },
        }
        subject = self._subjects.event("shop", tenant.key, "public", "work_orders", "update")
        return subject, encode_json(event), header_lines({HEADER_EVENT_ID: event_id})


@asynccontextmanager
async def event_writer(url: str) -> AsyncIterator[EventWriter]:
    async with await connect(NatsSettings(servers=(url,)), name="bench", reconnect=False) as connection:
        yield EventWriter(JetStream(connection))


def percentiles(delays_s: Iterable[float]) -> dict[str, float]:
    """Milliseconds."""
    delays = [delay * 1000 for delay in delays_s]
    return {"deliveries": len(delays), **summary(delays)}
