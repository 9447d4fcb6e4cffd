"""Work that owns something on NATS: it ends with its connection and begins anew on the next one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from eventbus.connection import Connection, connect
from eventbus.errors import ConnectionLost, JetStreamError, NatsUnreachable, NoAnswer
from eventbus.fence import Refusal, classify_refusal
from eventbus.patience import patiently
from eventbus.settings import NatsSettings

FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 5.0

log = structlog.get_logger()


async def reconnecting(
    nats: NatsSettings, name: str, work: Callable[[Connection], Awaitable[None]], stop: asyncio.Event
) -> None:
    """Connects and works, again whenever the connection is lost, until the work returns or `stop` is set.

    Raises NatsUnreachable and NatsRefused for the first connection only, and whatever else the work raises.
    """
    connection: Connection | None = await connect(nats, name=name, reconnect=False)
    while connection is not None:
        async with connection:
            try:
                await work(connection)
            except (ConnectionLost, NoAnswer) as error:
                log.warning("lost NATS; connecting again", what=name, error=str(error))
            except JetStreamError as error:
                if classify_refusal(error.err_code) is not Refusal.UNKNOWN:
                    raise
                log.warning("JetStream is not ready; trying again", what=name, error=str(error))
            else:
                return
        connection = await _connect_again(nats, name, stop)


async def _connect_again(nats: NatsSettings, name: str, stop: asyncio.Event) -> Connection | None:
    """None where `stop` came first."""

    async def unless_stopped(seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()

    async def again() -> Connection | None:
        return None if stop.is_set() else await connect(nats, name=name, reconnect=False)

    def say(error: BaseException) -> None:
        log.warning("NATS cannot be reached; trying again", what=name, error=str(error))

    await unless_stopped(FIRST_PAUSE_S)
    return await patiently(
        again, _is_away, first=FIRST_PAUSE_S, longest=MAX_PAUSE_S, sleep=unless_stopped, say=say
    )


def _is_away(error: BaseException) -> bool:
    return isinstance(error, NatsUnreachable)
