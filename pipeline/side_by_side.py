"""Jobs that belong together: when one ends, the others are of no use any more."""

import asyncio
from collections.abc import Coroutine
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
        await asyncio.wait(tasks)
        for task in tasks:
            # what the others raised in ending is nobody's news
            if not task.cancelled():
                task.exception()
    for task in done:
        task.result()
