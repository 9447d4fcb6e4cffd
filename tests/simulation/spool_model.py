"""The disk on which transactions wait for their commit: real files, and at any moment there may be no room."""

from collections.abc import Callable
from typing import Any, TypeVar

from cdc.streamed_transactions import CannotStream, StreamedTransaction
from tests.simulation.steps import pause

T = TypeVar("T")


async def on_disk(world: Any, transaction: StreamedTransaction, act: Callable[[], T]) -> T:
    """Without a thread, so that the seed alone decides."""
    await pause()
    if world.chance(0.02):
        raise CannotStream(f"transaction {transaction.xid}: no room")
    return act()
