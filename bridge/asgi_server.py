"""An ASGI app served inside a command's own event loop, by uvicorn without its signals and its own log.

listening = bind(Listen.parse("127.0.0.1:9464"))   # first of all: a port that is taken is told at once
await serve(app, listening, stop)                   # until `stop` is set; requests under way are answered
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from bridge.listen import AddressUnavailable, Listen

HEAD_S = 10.0
"""Within which a request's head must come."""
_LIBRARY = "uvicorn.error"
log = structlog.get_logger()


def bind(listen: Listen) -> socket.socket:
    """Raises AddressUnavailable."""
    try:
        family, _, _, _, address = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address, family=family)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise AddressUnavailable(
            f"cannot listen at {listen}: {reason}; several commands on one machine need a port each: "
            "give them `--listen HOST:PORT` (it goes before http.listen of bridge.yaml)"
        ) from None
    return listening


@dataclass(frozen=True, slots=True)
class Limits:
    """answering: seconds that requests under way may take once `stop` is set; connections: at once, more are told 503."""

    answering: int = 2
    connections: int | None = None


async def serve(
    app: ASGIApp, listening: socket.socket, stop: asyncio.Event, limits: Limits | None = None
) -> None:
    """Answers requests until `stop` is set; then the socket is closed."""
    limits = limits or Limits()
    _hear_uvicorn()
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            http=_Protocol,
            limit_concurrency=limits.connections,
            timeout_graceful_shutdown=limits.answering,
        )
    )
    stopping = asyncio.ensure_future(_stop(server, stop))
    try:
        await server.serve([listening])
    finally:
        stopping.cancel()
        listening.close()


async def _stop(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


class _Protocol(H11Protocol):
    """Closes a connection that sends no whole request head in time: uvicorn waits for one for ever."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._waiting is not None:
            self._waiting.cancel()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait_for_head()

    def _wait_for_head(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self.loop.call_later(HEAD_S, self._close_unless_answering)

    def _close_unless_answering(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the command's: `bridge.cli.running` drains it first."""
        yield


class _Forward(logging.Handler):
    """What uvicorn says of itself goes into our log, where secrets are taken out."""

    def emit(self, record: logging.LogRecord) -> None:
        event = record.getMessage().strip().partition("\n")[0]
        error = record.exc_info[1] if record.exc_info else None
        log.log(record.levelno, event, because=repr(error) if error else None, by="uvicorn")


@cache
def _hear_uvicorn() -> None:
    """Once per process: loggers are global."""
    logger = logging.getLogger(_LIBRARY)
    logger.addHandler(_Forward())
    logger.propagate = False
