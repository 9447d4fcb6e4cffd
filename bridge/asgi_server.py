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
from functools import cache

import structlog
import uvicorn
from starlette.types import ASGIApp

from bridge.listen import AddressUnavailable, Listen

_ANSWERING_S = 2
"""How long requests under way may take to be answered once `stop` is set."""
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


async def serve(app: ASGIApp, listening: socket.socket, stop: asyncio.Event) -> None:
    """Answers requests until `stop` is set; then the socket is closed."""
    _hear_uvicorn()
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_ANSWERING_S,
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
