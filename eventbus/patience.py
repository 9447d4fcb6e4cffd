"""Trying again while an error may pass, with tenacity: the waits double from `first` to `longest` seconds.

For questions and writes whose repeat does no harm. What must be decided between two tries (a batch, a delivery, a
position) has its own pure decider.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

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
