"""When a stream is purged again (rules R12, T8)."""

import asyncio
from dataclasses import replace
from typing import Any

from bridge.demo.nats_server import EmbeddedNats
from eventbus.errors import NoAnswer
from eventbus.settings import DAY
from pipeline.keeping.keeper import Keeper, KeeperSettings
from pipeline.keeping.purge import Pace, Purged
from tests.pipeline.delivering import MB, STREAMS, bus


def test_what_holds_a_full_stream_back_is_asked_less_and_less_often() -> None:
    pace, held = Pace(5, 60), Purged(held_by="route acme/orders")
    assert [pace.after(held, pressed=True) for _ in range(5)] == [10, 20, 40, 60, 60]
    assert pace.urgency == 32
    assert pace.after(Purged(7), pressed=True) == 5
    assert pace.urgency == 1
    assert pace.after(held, pressed=False) == 60


def test_a_full_stream_is_looked_at_again_soon_where_lanes_were_changing() -> None:
    pace, changing = Pace(5, 60), Purged(held_by="a lane that is changing", unsure=True)
    assert [pace.after(changing, pressed=True) for _ in range(9)] == [5] * 9
    assert pace.urgency == 1
    pace.after(Purged(held_by="lane 3"), pressed=True)
    assert pace.after(changing, pressed=True) == 5
    assert pace.urgency == 2
    assert pace.after(changing, pressed=False) == 60


async def test_a_full_stream_is_purged_soon_after_a_purge_that_had_no_answer(
    nats_server: EmbeddedNats, namespace: str
) -> None:
    urgencies: list[float] = []
    again = asyncio.Event()

    async def once(urgency: float) -> Purged:
        urgencies.append(urgency)
        if len(urgencies) == 1:
            raise NoAnswer("the server does not say")
        again.set()
        return Purged()

    async with bus(nats_server.url, namespace, streams=replace(STREAMS, events_max_bytes=MB)) as shop:
        for n in range(9):
            await shop.change(1, n, note="x" * 90_000)
        settings = KeeperSettings(DAY, DAY, look=0.01)
        services: Any = None
        keeper = Keeper(shop.jetstream, shop.subjects, shop.nats.lanes, settings, services)
        purging = asyncio.create_task(keeper._purge("EVENTS", once))
        async with asyncio.timeout(10):
            await again.wait()
        purging.cancel()
        await asyncio.wait([purging])
    assert urgencies == [1.0, 1.0]
