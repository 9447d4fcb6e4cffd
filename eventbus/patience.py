"""How long to wait for something: again and again while its error may pass (tenacity), or until we are to stop.

Trying again is for questions and writes whose repeat does no harm. What must be decided between two tries (a batch, a
delivery, a position) has its own pure decider.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential

T = TypeVar("T")


async def patiently(
    ask: Callable[[], Awaitable[T]],
    may_pass: Callable[[BaseException], bool],
    *,
    first: float,
    longest: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    say: Callable[[BaseException], None] | None = None,
) -> T:
    """What `ask` answers in the end; an error that may not pass is raised as it is.

    first, longest: seconds between two tries, doubled from the one up to the other;
    sleep: may raise to end the waiting; say: told the error before each wait.
    """

    def told(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if say is not None and error is not None:
            say(error)

    async def asked() -> T:
        return await ask()

    retrying = AsyncRetrying(
        retry=retry_if_exception(may_pass),
        wait=wait_exponential(multiplier=first, max=longest),
        sleep=sleep,
        before_sleep=told,
        reraise=True,
    )
    return await retrying(asked)


class StopRequested(Exception):
    """We were to stop before what we waited for was done."""


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """What the work returns; cancelled, with StopRequested, where `stop` is set first: a claim may wait for ever."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise StopRequested
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.wait((working, stopping))
