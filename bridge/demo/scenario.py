"""The demo: `bridge up` on a PostgreSQL, three simulated ERPs and a live workload, all on this machine.

The ERPs misbehave on purpose: SAP's finds locks and refuses a closed cost centre, NetSuite's takes few requests a
second, and the small one goes down for a while and loses answers.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bridge.demo import erp_netsuite, erp_plain, erp_sap, workload
from bridge.demo.judge import Effect, Verdict, judge
from bridge.demo.lag import Lags
from bridge.demo.nats_server import EmbeddedNats, find_nats
from bridge.demo.observer import (
    Counts,
    effect_of,
    read_counts,
    read_dead_letters,
    read_history,
    read_latest,
)
from bridge.demo.postgres_server import EmbeddedPostgres
from bridge.demo.server_process import ServerFailed, ServerProcess
from bridge.demo.workspace import Workspace
from eventbus.connection import connect
from eventbus.errors import EventBusError
from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects

_BRIDGE = (sys.executable, "-P", "-m", "bridge")
_TABLES = Path(__file__).with_name("sample_tables.sql")
_SECRETS = (
    ("acme", "sap_password", erp_sap.PASSWORD),
    ("globex", "netsuite_token", erp_netsuite.TOKEN),
    ("initech", "erp_token", erp_plain.TOKEN),
)
SETTLED_WITHIN_S = 90.0
OUTAGE_AFTER_S = 3.0
OUTAGE_S = 5.0
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """events: how many changes to commit, None for a workload without end; rate: changes a second."""

    folder: Path
    events: int | None = None
    rate: float = 40.0
    seed: int = 7


@dataclass(slots=True)
class Erps:
    """The three ERPs."""

    sap: erp_sap.SapErp = field(default_factory=lambda: erp_sap.SapErp(locked_every=7))
    netsuite: erp_netsuite.NetSuiteErp = field(default_factory=lambda: erp_netsuite.NetSuiteErp(rate=20))
    plain: erp_plain.PlainErp = field(default_factory=lambda: erp_plain.PlainErp(cut_every=25))

    def effects(self) -> list[tuple[Effect, float]]:
        """What they did, and when (seconds since the epoch), in the order in which they did it."""
        logs = (
            (workload.SAP_TENANT, self.sap.effects),
            (workload.NETSUITE_TENANT, self.netsuite.effects),
            (workload.PLAIN_TENANT, self.plain.effects),
        )
        done = [(effect_of(tenant, effect), effect.at) for tenant, log in logs for effect in log]
        return sorted(done, key=lambda effect: effect[1])

    def endpoints(self) -> dict[str, str]:
        """What the sample tenants call them, and where they are."""
        return {
            "http://sap.example": self.sap.base_url,
            "http://netsuite.example": self.netsuite.base_url,
            "http://erp.example": self.plain.base_url,
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at everything.

    lag: seconds from change to ERP, the median of the last ones; latest: each route's last attempt, in words;
    outage: the small ERP is down just now.
    """

    committed: int
    counts: Counts
    delivered: int
    lag: float | None
    latest: Mapping[str, str]
    outage: bool


class Demo:
    """Made by `running`; everything is up and the workload has not begun."""

    def __init__(
        self, options: Options, dsn: str, erps: Erps, jetstream: JetStream, bridge: ServerProcess
    ) -> None:
        self.bridge = bridge
        """The process of `bridge up`."""
        self._options = options
        self._dsn = dsn
        self._erps = erps
        self._jetstream = jetstream
        self._subjects = Subjects()
        self._counts = Counts()
        self._latest: dict[str, str] = {}
        self._lags = Lags()
        self._dead: list[Effect] = []
        self._outage = False

    async def run(self, stop: asyncio.Event, show: Callable[[Progress], None]) -> Verdict:
        """Commits the workload, waits until all of it has arrived somewhere, and judges.

        Without a number of events the workload ends with `stop`.
        """
        options = self._options
        plan = workload.plan(options.events, options.seed)
        work = asyncio.ensure_future(workload.write(self._dsn, plan, options.rate))
        outage = asyncio.ensure_future(self._outages(forever=options.events is None))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not work.done() and not stop.is_set():
                await asyncio.wait((work, stopped), timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                show(await self.look())
            if work.done():
                work.result()
        finally:
            for task in (work, outage, stopped):
                task.cancel()
            await asyncio.wait((work, outage, stopped))
        await self._end_outage()
        return await self._settled(show)

    async def _settled(self, show: Callable[[Progress], None]) -> Verdict:
        """The verdict as soon as nothing is missing; else what it is when nothing has moved any more for long."""
        last, quiet = 0, 0.0
        while True:
            verdict = await self.judge()
            show(await self.look())
            if not verdict.lost or quiet >= SETTLED_WITHIN_S:
                return verdict
            await asyncio.sleep(LOOK_EVERY_S)
            quiet = quiet + LOOK_EVERY_S if verdict.delivered == last else 0.0
            last = verdict.delivered

    async def judge(self) -> Verdict:
        history = await read_history(self._dsn)
        with contextlib.suppress(EventBusError):
            self._dead = await read_dead_letters(self._jetstream, self._subjects)
        return judge(history, (effect for effect, _ in self._erps.effects()), self._dead)

    async def look(self) -> Progress:
        async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
            await self._lags.read(connection)
        with contextlib.suppress(EventBusError):  # while nats-server is away we show what we saw last
            self._counts = await read_counts(self._jetstream, self._subjects)
            self._latest = await read_latest(self._jetstream, self._subjects)
        effects = self._erps.effects()
        return Progress(
            committed=self._lags.committed,
            counts=self._counts,
            delivered=len(effects),
            lag=self._lags.median(effects),
            latest=self._latest,
            outage=self._outage,
        )

    async def _outages(self, *, forever: bool) -> None:
        while True:
            await asyncio.sleep(OUTAGE_AFTER_S)
            self._outage = True
            await self._erps.plain.down()
            await asyncio.sleep(OUTAGE_S)
            await self._end_outage()
            if not forever:
                return
            await asyncio.sleep(10 * OUTAGE_S)

    async def _end_outage(self) -> None:
        await self._erps.plain.up()
        self._outage = False


@contextlib.asynccontextmanager
async def running(options: Options, say: Callable[[str], None]) -> AsyncIterator[Demo]:
    """Starts everything, in order, and stops it in the reverse one. `say`: one line a step.

    Raises ServerFailed.
    """
    workspace, erps = Workspace(options.folder), Erps()
    async with contextlib.AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(EmbeddedPostgres(options.folder / "postgres"))
        say(f"PostgreSQL listens on port {postgres.port}, with the tables of a maintenance system")
        dsn = await _create_database(postgres)
        for erp in (erps.sap, erps.netsuite, erps.plain):
            await stack.enter_async_context(erp)
        say("three simulated ERPs listen: SAP-like, NetSuite-like and a small REST one")
        workspace.write(dsn, erps.endpoints())
        await _set_secrets(workspace)
        bridge = await stack.enter_async_context(_bridge_up(workspace))
        say(f"`bridge up --setup` runs on {workspace.config}")
        url = find_nats(workspace.nats)
        if url is None:
            raise ServerFailed(f"the nats-server in {workspace.nats} ended")
        connection = await connect(NatsSettings(servers=(url,)), name="bridge demo", reconnect=True)
        stack.push_async_callback(connection.close)
        yield Demo(options, dsn, erps, JetStream(connection), bridge)


async def _create_database(postgres: EmbeddedPostgres) -> str:
    async with await psycopg.AsyncConnection.connect(postgres.dsn(), autocommit=True) as connection:
        await connection.execute("DROP DATABASE IF EXISTS fracttal WITH (FORCE)")
        await connection.execute("CREATE DATABASE fracttal")
    dsn = postgres.dsn("fracttal")
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(_TABLES.read_bytes())
    return dsn


async def _set_secrets(workspace: Workspace) -> None:
    """As an operator would: `echo … | bridge secret set TENANT NAME`."""
    async with EmbeddedNats(workspace.nats):
        await asyncio.gather(
            *(
                _command(workspace, ("secret", "set", tenant, name), value.encode())
                for tenant, name, value in _SECRETS
            )
        )


async def _command(workspace: Workspace, words: tuple[str, ...], stdin: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*_BRIDGE, *words, "--config", str(workspace.config)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(stdin)
    if process.returncode:
        raise ServerFailed(f"bridge {' '.join(words)}: {output.decode(errors='replace')}")


@contextlib.asynccontextmanager
async def _bridge_up(workspace: Workspace) -> AsyncIterator[ServerProcess]:
    process = ServerProcess(workspace.folder / "up", "bridge-up", signal.SIGTERM)
    async with process.locked() as lock:
        await process.launch([*_BRIDGE, "up", "--setup", "--config", str(workspace.config)], lock)
    try:
        await process.until_ready(lambda: b"ready: capture" in process.log.read_bytes())
        yield process
    finally:
        await process.end(signal.SIGTERM)
