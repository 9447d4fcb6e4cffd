"""What a source would publish: changes of every tenant in turn, each once, whatever is killed meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping

from eventbus.errors import EventBusError
from eventbus.event import HEADER_EVENT_ID
from tests.pipeline.delivering import Bus, eventually
from tests.pipeline.delivery_checker import Published

KEYS = 4
"""Of each tenant."""
LARGE = 24_000
"""Bytes of a large event."""


class Feeder:
    """keys: of the tenants, by name. All want every change, on their route `orders`.

    stored: the sequence in EVENTS of each delivery's event, by the delivery's id. large: so many more are `LARGE`.
    """

    def __init__(self, shop: Bus, keys: Mapping[str, str]) -> None:
        self.published: list[Published] = []
        self.stored: dict[str, int] = {}
        self.large = 0
        self._shop = shop
        self._keys = keys

    async def feed(self, changes: int, pause: float = 0.01) -> None:
        for _ in range(changes):
            await self._publish()
            await asyncio.sleep(pause)

    @contextlib.asynccontextmanager
    async def feeding(self, pause: float = 0.03) -> AsyncIterator[None]:
        """All the while."""
        stop = asyncio.Event()

        async def work() -> None:
            while not stop.is_set():
                await self.feed(1, pause)

        task = asyncio.create_task(work())
        try:
            yield
        finally:
            stop.set()
            await task

    async def _publish(self) -> None:
        number, names = len(self.published), list(self._keys)
        tenant, key = names[number % len(names)], number // len(names) % KEYS
        event_id = f"shop:0/{number + 1:X}:1"
        route, delivery = (tenant, "orders"), f"{event_id}/{tenant}/orders"
        self.published.append(Published(route, str(key), number, delivery, time.monotonic()))
        self.stored[delivery] = await self._store(tenant, key, number, event_id)

    async def _store(self, tenant: str, key: int, number: int, event_id: str) -> int:
        more = {"id": event_id, "tenant": self._keys[tenant]}
        if self.large:
            self.large -= 1
            more["note"] = "x" * LARGE
        while True:
            try:
                return await self._shop.change(key, number, **more)
            except EventBusError:
                found = await eventually(
                    lambda: self._stored_as(tenant, event_id), lambda found: found is not None, 60
                )
                if found:
                    return found

    async def _stored_as(self, tenant: str, event_id: str) -> int | None:
        """As nobody else publishes, it is the last one if it is there; 0: it is not. None: the server does not say."""
        subjects = self._shop.subjects
        subject = subjects.event("shop", self._keys[tenant], "public", "orders", "update")
        try:
            last = await self._shop.jetstream.last_message(subjects.stream("EVENTS"), subject)
        except EventBusError:
            return None
        return last.seq if last is not None and last.headers[HEADER_EVENT_ID] == event_id else 0
