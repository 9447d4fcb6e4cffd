"""`bridge cdc backfill` as an operator meets it: progress, what is under way, exit codes."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner

from bridge.cli.backfill_progress import Speed, record_text
from bridge.cli.main import main
from bridge.cli.whoever_asks import whoever_asks
from bridge.demo.nats_server import EmbeddedNats
from cdc.backfill.run_record import RunRecord, Target
from cdc.backfill.run_store import StoredRun
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from eventbus.topology import desired_streams, ensure_topology
from pipeline.tenants.apply import Application
from pipeline.tenants.model import Route, RouteSource, Tenant
from tests.cdc.backfilling import ask, ended
from tests.cdc.capturing import STREAMS, Source, Workload, eventually

CONFIG = """
sources:
  shop:
    dsn: {dsn}
    slot: {slot}
    tables:
      public.orders: {{tenant_column: company}}
      public.marks: {{tenant_column: null}}
      public.gone: {{tenant_column: null}}
nats: {{servers: ["{server}"], namespace: "{namespace}", sync_interval: always}}
streams: {{events: {{max_bytes: 64MB}}, deliveries: {{max_bytes: 16MB}}, attempts: {{max_bytes: 1MB}}, dlq: {{max_bytes: 1MB}}}}
"""


@dataclass
class Done:
    code: int
    out: str
    err: str


@dataclass
class Command:
    """`bridge cdc backfill` with a configuration."""

    config: Path

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", "cdc", "backfill", "--config", str(self.config), *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *words: str) -> Done:
        """In a thread of this process: an interpreter's start takes longer than all it does."""
        arguments = ["cdc", "backfill", "--config", str(self.config), *words]
        done = await asyncio.to_thread(CliRunner().invoke, main, arguments)
        return Done(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    """140 orders from before the slot, and tenant acme with key 3 in force."""
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await found.create()
    await Workload(seed=1).large(found, 140)
    await found.drop()
    await found.set_up()
    routes = {"orders": Route("orders", RouteSource("public.orders"), "m", "c")}
    async with found.jetstream() as jetstream:
        await ensure_topology(jetstream, desired_streams(found.nats, STREAMS))
        await Application(jetstream, Subjects(namespace)).apply([Tenant("acme", "3", routes=routes)])
    return found


@pytest.fixture
def command(source: Source, tmp_path: Path) -> Iterator[Command]:
    config = tmp_path / "bridge.yaml"
    config.write_text(
        CONFIG.format(
            dsn=json.dumps(source.dsn),
            slot=source.settings.slot,
            server=source.nats.servers[0],
            namespace=source.nats.namespace,
        )
    )
    yield Command(config)
    structlog.reset_defaults()  # commands that run in this process set it up


async def test_a_backfill_is_done_shown_and_listed(source: Source, command: Command) -> None:
    async with source.capturing():
        await source.captured()
        whole = await command.run("public.orders", "--json")
        mine = await command.run("public.orders", "--route", "acme/orders", "--tenant", "acme")
    lines = [json.loads(line) for line in whole.out.splitlines()]
    assert (whole.code, lines[-1]["state"], lines[-1]["done"]) == (0, "done", 140)
    assert (mine.code, "of acme" in mine.err) == (0, False)
    assert "public.orders: done, 20 rows" in mine.out
    listed = await command.run("--list")
    assert [line.split()[1:5] for line in listed.out.splitlines()] == [
        ["public.orders:", "done,", "140", "rows,"],
        ["public.orders", "of", "tenant", "3"],
    ]
    tenants = [event["tenant"] for event in await source.events()]
    assert (len(tenants), tenants.count("3")) == (160, 40)


async def test_a_backfill_waits_for_capture_is_watched_again_and_cancelled(
    source: Source, command: Command
) -> None:
    watching = await command.start("public.orders", "--rate", "20/s")
    assert watching.stderr is not None
    async with asyncio.timeout(30):
        while b"nobody captures source shop" not in await watching.stderr.readline():
            pass
    watching.send_signal(signal.SIGINT)
    await watching.wait()
    detached = await command.run("public.orders", "--detach")
    run = detached.out.split()[0]
    assert detached.code == 0
    async with source.capturing():
        await source.captured()
        again = await command.start("public.orders")

        async def listed() -> str:
            return (await command.run("--list")).out

        assert len((await eventually(listed, lambda out: "running" in out)).splitlines()) == 1
        assert again.stderr is not None
        assert f"backfill {run} is under way already" in (await again.stderr.readline()).decode()
        assert (await command.run("--cancel", run)).code == 0
        _, seen = await again.communicate()
    assert again.returncode == 1
    assert f"backfill {run} of public.orders is cancelled" in seen.decode()
    assert (await command.run("--cancel", run)).code == 1
    for other in ("other", "*"):
        assert (await command.run("--cancel", other)).code == 2


def test_who_asks_need_not_stand_in_etc_passwd(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 1000650000")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert whoever_asks().startswith(f"uid {os.getuid()}@")


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("public.order",), 2, "has no table 'public.order'"),
    (("public.gone",), 2, "table public.gone is not there"),
    ((), 2, "write a table"),
    (("public.orders", "--list"), 2, "write a table"),
    (("public.orders", "--rate", "fast"), 2, "write rows a second"),
    (("public.orders", "--tenant", "nobody"), 2, "no tenant 'nobody' is in force"),
    (("public.orders", "--route", "acme/order"), 2, "has no route 'order' in force"),
    (("public.marks", "--route", "acme/orders"), 2, "is for public.orders"),
    (("public.orders", "--route", "acme/orders", "--tenant", "key:4"), 2, "is not a route of tenant"),
    (("public.marks", "--tenant", "acme"), 1, "has no tenant column"),
    (("public.orders", "--tenant", "key:x"), 1, "invalid input syntax for type integer"),
]


async def test_what_cannot_be_done_is_refused(command: Command) -> None:
    for words, code, message in REFUSED:
        done = await command.run(*words)
        assert (words, done.code, done.out) == (words, code, "")
        assert message in done.err


async def test_a_run_that_fails_says_why(source: Source, command: Command) -> None:
    async with source.capturing():
        await source.captured()
        await ask(source, "doomed", "public.gone")
        assert (await ended(source, "doomed")).state == "failed"
        listed = await command.run("--list")
    assert "doomed  public.gone: failed, 0 rows" in listed.out
    assert "    table public.gone is not there" in listed.out


def test_rate_and_time_left() -> None:
    speed, record = (
        Speed(),
        RunRecord(target=Target("public.orders"), state="running", rows=10_000, done=4_000),
    )
    speed.heard(0.0, 0)
    assert speed.text(record) == "4,000 of about 10,000 rows, 0/s"
    speed.heard(2.0, 4_000)
    assert speed.text(record) == "4,000 of about 10,000 rows, 2,000/s, about 3s left"
    assert "asked for by me at now" in record_text(
        StoredRun("r", RunRecord(target=Target("a.b"), by="me", requested="now"), 1)
    )
