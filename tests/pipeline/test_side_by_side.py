"""Whoever owns something is not taken for gone while it still acts."""

import asyncio

import pytest

from pipeline.side_by_side import side_by_side


async def test_a_second_cancellation_waits_for_what_is_under_way_too() -> None:
    answer, ending, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def owner() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await answer.wait()
            ended.set()

    async def lost() -> None:
        await asyncio.sleep(0)

    work = asyncio.create_task(side_by_side(owner(), lost()))
    await ending.wait()
    work.cancel()
    done, _ = await asyncio.wait([work], timeout=0.05)
    assert not done
    answer.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert ended.is_set()
