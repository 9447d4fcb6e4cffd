"""Work that owns something on NATS: it ends with its connection and begins anew on the next one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from eventbus.connection import Connection, connect
from eventbus.errors import ConnectionLost, JetStreamError, NatsUnreachable, NoAnswer
from eventbus.settings import NatsSettings

MAX_PAUSE_S = 5.0

log = structlog.get_logger()


async def reconnecting(
    nats: NatsSettings, name: str, work: Callable[[Connection], Awaitable[None]], stop: asyncio.Event
) -> None:
    """Connects and works, again whenever the connection is lost, until the work returns or `stop` is set.

    Raises NatsUnreachable and NatsRefused for the first connection only, and whatever else the work raises.
    """
    connected, pause = False, 0.1
    while not stop.is_set():
        try:
            async with await connect(nats, name=name, reconnect=False) as connection:
                connected, pause = True, 0.1
                await work(connection)
                return
        except (ConnectionLost, NoAnswer) as error:
            log.warning("lost NATS; connecting again", what=name, error=str(error))
        except JetStreamError as error:
            if error.err_code not in (503, 10008, 10009):
                raise
            log.warning("JetStream is not ready; trying again", what=name, error=str(error))
        except NatsUnreachable as error:
            if not connected:
                raise
            log.warning("NATS cannot be reached; trying again", what=name, error=str(error))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stop.wait()
        pause = min(2 * pause, MAX_PAUSE_S)
