"""How commands run: an event loop, and signals that mean "finish what is under way"."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

import structlog
import uvloop

from bridge.logging_setup import set_up_logging
from bridge.readiness import notify_ready

T = TypeVar("T")
Service = Callable[[asyncio.Event], Coroutine[Any, Any, T]]
"""A long-running command: works until the event is set, then drains and returns."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOOKUP_THREADS = "64"
"""uvloop resolves names on libuv's threads, of which it takes half, and by itself there are four: two tenants whose name
servers hang would hold up the lookups of all others."""
log = structlog.get_logger()


def run(work: Coroutine[Any, Any, T]) -> T:
    """A command that ends by itself; Ctrl-C cancels it."""
    set_up_logging()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def run_service(
    service: Service[T],
    shutdown_timeout: float,
    ready: asyncio.Event | None = None,
    beside: AbstractAsyncContextManager[None] | None = None,
) -> T | None:
    """A command that works until SIGTERM or Ctrl-C: the first lets it drain, a second one exits at once.

    What is not drained within `shutdown_timeout` seconds is cancelled, and None is returned: nothing is lost by
    that, it is done again after the next start. Once `ready` is set, whoever started us is told (sd_notify).
    `beside` is entered before the work begins, and left when it has ended.
    """
    set_up_logging()
    os.environ.setdefault("UV_THREADPOOL_SIZE", _LOOKUP_THREADS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(
            _until_stopped(service, shutdown_timeout, ready or asyncio.Event(), beside or nullcontext())
        )


async def _until_stopped(
    service: Service[T],
    shutdown_timeout: float,
    ready: asyncio.Event,
    beside: AbstractAsyncContextManager[None],
) -> T | None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stopped(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("stopping", signal=number.name, within_s=shutdown_timeout)
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, stopped, number)
    announcing = asyncio.ensure_future(_announce(ready))
    try:
        async with beside:
            return await _drained(service(stop), stop, shutdown_timeout)
    finally:
        announcing.cancel()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def _announce(ready: asyncio.Event) -> None:
    await ready.wait()
    notify_ready()


async def _drained(work: Awaitable[T], stop: asyncio.Event, within: float) -> T | None:
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait((task,), timeout=within)
    finally:
        stopping.cancel()
    if task.done():
        return task.result()
    log.warning("not drained in time; what was under way is done again after the next start", within_s=within)
    task.cancel()
    await asyncio.wait((task,), timeout=1.0)
    return None
