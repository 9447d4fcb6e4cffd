"""`bridge cdc start` as processes that a test freezes, kills and replaces."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from psycopg.conninfo import make_conninfo

from tests.cdc.capturing import Source, eventually

CONFIG = """
sources:
  shop:
    dsn: {dsn}
    slot: {slot}
    plugin: {plugin}
    tables:
      public.orders: {{tenant_column: company}}
      public.marks: {{tenant_column: null}}
nats: {{servers: ["{server}"], namespace: "{namespace}", sync_interval: always}}
streams: {{events: {{max_bytes: {events}}}, deliveries: {{max_bytes: 16MB}}, attempts: {{max_bytes: 1MB}}, dlq: {{max_bytes: 1MB}}}}
"""


class Bridge:
    """One `bridge cdc start`; `name` is what PostgreSQL knows it by."""

    def __init__(
        self, source: Source, folder: Path, name: str, sender_timeout: str = "15s", events: str = "64MB"
    ) -> None:
        self.name = name
        self._config = folder / f"{name}.yaml"
        self._log = folder / f"{name}.log"
        options = f"-c wal_sender_timeout={sender_timeout}"
        self._config.write_text(
            CONFIG.format(
                dsn=json.dumps(make_conninfo(source.dsn, application_name=name, options=options)),
                slot=source.settings.slot,
                plugin=source.settings.plugin,
                server=source.nats.servers[0],
                namespace=source.nats.namespace,
                events=events,
            )
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> None:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bridge", "cdc", "start", "--config", str(self._config), *options),
                stderr=log,
            )

    async def revive(self) -> None:
        """As a supervisor would, where a server that was being killed was unreachable at its start (exit 3)."""
        if self._process is not None and self._process.returncode == 3:
            await self.start()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def wait(self) -> int:
        assert self._process is not None
        async with asyncio.timeout(20):
            return await self._process.wait()

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.send(signal.SIGKILL)
            await self._process.wait()

    async def stop(self) -> int:
        await self.logged("capturing", "standing by")
        self.send(signal.SIGTERM)
        return await self.wait()

    async def logged(self, *words: str) -> None:
        """Waits until the log since the last start says one of them."""

        async def log() -> str:
            await self.revive()
            return self.log

        await eventually(log, lambda text: any(word in text for word in words))

    @property
    def peak_memory(self) -> int:
        """The most that it ever had in memory, in bytes."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""


@contextlib.asynccontextmanager
async def bridges(source: Source, folder: Path, sender_timeout: str = "15s") -> AsyncIterator[list[Bridge]]:
    """Two of them; whatever still runs at the end is killed."""
    both = [Bridge(source, folder, f"bridge_{number}", sender_timeout) for number in range(2)]
    try:
        yield both
    finally:
        for bridge in both:
            with contextlib.suppress(ProcessLookupError):
                await bridge.kill()


async def owned(source: Source, both: list[Bridge]) -> str:
    """Waits until one of them reads the slot; which one. Where none does in time, what they logged is told."""
    try:
        found = await eventually(lambda: owner(source, both), lambda name: name is not None)
    except AssertionError as error:
        raise AssertionError("\n".join(bridge.log for bridge in both)) from error
    assert found is not None
    return found


async def owner(source: Source, revived: Sequence[Bridge] = ()) -> str | None:
    """The application_name of who reads the slot."""
    for bridge in revived:
        await bridge.revive()
    rows = await source.sql(
        "SELECT a.application_name FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid "
        f"WHERE s.slot_name = '{source.settings.slot}'"
    )
    return str(rows[0][0]) if rows else None
