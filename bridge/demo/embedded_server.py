"""What the embedded servers have in common: a port of their own, kept over restarts, and `async with`."""

import signal
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from bridge.demo.server_process import PortTaken, ServerProcess, free_port

PORT_ATTEMPTS = 5


class EmbeddedServer(ABC):
    """One server on 127.0.0.1, as often started and ended as wanted; stopped at the end of `async with`.

    Raises (when started):
        ServerFailed: with the end of the server's log.
    """

    def __init__(self, process: ServerProcess, port: int | None = None) -> None:
        self._server = process
        self._folder = process.folder
        self._port = port

    @property
    def port(self) -> int:
        if self._port is None:
            raise RuntimeError("the server was not started")
        return self._port

    @property
    def pid(self) -> int:
        return self._server.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and wait until it serves; on the same port if it ran before."""
        if self._port is not None:
            await self._start_on(self._port)
            return
        for attempt in range(1, PORT_ATTEMPTS + 1):
            port = free_port()
            try:
                await self._start_on(port)
            except PortTaken:
                if attempt == PORT_ATTEMPTS:
                    raise
            else:
                self._port = port
                return

    @abstractmethod
    async def stop(self) -> None:
        """Shut it down; nothing to do is no error."""

    async def kill(self) -> None:
        """End it as a crash would; `start` brings it back."""
        await self._server.end(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until the server ends; its exit status (negative: the signal)."""
        return await self._server.wait()

    @abstractmethod
    async def _start_on(self, port: int) -> None: ...
