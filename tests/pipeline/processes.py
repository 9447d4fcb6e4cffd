"""`bridge run` as a process, to be killed, frozen and started again."""

import asyncio
import contextlib
import json
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

from eventbus.settings import StreamSettings
from pipeline.lanes.lease import Lease
from tests.pipeline.delivering import Bus


class Runner:
    """`bridge run` of one role, as a process. Its log is in the folder."""

    def __init__(self, shop: Bus, folder: Path, role: str) -> None:
        self._config = folder / "bridge.yaml"
        self._role = role
        self._log = folder / f"{role}-{id(self):x}.log"
        self._process: Process | None = None
        nats = {
            "servers": list(shop.nats.servers),
            "namespace": shop.nats.namespace,
            "lanes": shop.nats.lanes,
        }
        settings = {
            "sources": {"shop": {"dsn": "postgresql://nowhere/shop", "tables": {"public.orders": {}}}},
            "nats": nats,
            "streams": _section(shop.streams),
            "egress": {"allow": ["127.0.0.0/8"]},
        }
        self._config.write_text(json.dumps(settings))

    async def start(self) -> None:
        command = (sys.executable, "-m", "bridge", "run", "--role", self._role, "--config", str(self._config))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*command, stderr=log)

    async def kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def owns(self, lease: Lease) -> bool:
        assert self._process is not None
        return f"-{self._process.pid}-" in lease.owner

    async def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Waits for its end; its exit status."""
        assert self._process is not None
        return await self._process.wait()


def _section(streams: StreamSettings) -> dict[str, dict[str, str]]:
    """As bridge.yaml has it."""
    return {
        "events": {"max_bytes": f"{streams.events_max_bytes}B", "keep": f"{streams.events_keep:.0f}s"},
        "deliveries": {
            "max_bytes": f"{streams.deliveries_max_bytes}B",
            "keep": f"{streams.deliveries_keep:.0f}s",
        },
        "attempts": {"max_bytes": f"{streams.attempts_max_bytes}B"},
        "dlq": {"max_bytes": f"{streams.dlq_max_bytes}B"},
    }


@contextlib.asynccontextmanager
async def running(shop: Bus, folder: Path, *roles: str) -> AsyncIterator[list[Runner]]:
    runners = [Runner(shop, folder, role) for role in roles]
    try:
        for runner in runners:
            await runner.start()
        yield runners
    finally:
        for runner in runners:
            await runner.kill()
