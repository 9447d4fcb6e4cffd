"""Jobs that belong together: when one ends, the others are of no use any more."""

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any


async def side_by_side(*jobs: Coroutine[Any, Any, object]) -> None:
    """Runs the jobs until the first ends, cancels the others, and raises what the ended one raised.

    Unlike a TaskGroup it ends with the first job, and raises that job's error itself.
    """
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await all_ended(tasks)
    for task in done:
        task.result()


async def all_ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Returns when all have ended, whatever they raised.

    A cancellation meanwhile is raised only then: who owns something must not be taken for gone while it still acts.
    """
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        # what they raised in ending is nobody's news
        if not task.cancelled():
            task.exception()
    if cancelled is not None:
        raise cancelled
