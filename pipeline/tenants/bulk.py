"""Many requests at once: thousands of tenants are not to cost as many round trips."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

AT_ONCE = 256

T = TypeVar("T")


async def in_bulk(jobs: Iterable[Awaitable[T]]) -> list[T]:
    """Their results in order, so many at once; the first that fails ends it."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(job: Awaitable[T]) -> T:
        async with slots:
            return await job

    tasks = [asyncio.ensure_future(one(job)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
