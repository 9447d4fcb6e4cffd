"""What a lane's turns tell of its routes."""

from typing import Protocol

from pipeline.delivery.delivery import Item
from pipeline.delivery.dispatch import GateKey


class Watch(Protocol):
    """Who looks after a lane's routes: what may put one into trouble, or end it."""

    def settled(self, item: Item) -> None: ...

    def waits(self, item: Item, until: float) -> None:
        """It is tried again then, on the loop's clock."""

    def closed(self, item: Item) -> None:
        """Its connection takes nothing for now."""

    def turned(self, gate: GateKey) -> None:
        """The connection's breaker opened or closed, or it rests for a while."""

    def paused(self, item: Item) -> None:
        """It may not be sent."""

    async def fill(self, item: Item) -> None:
        """Its payload is needed again."""
