"""That the other tests are told "settled" when it is so, and no sooner."""

import pytest

from eventbus.jetstream import JetStream
from eventbus.pull_consumer import PIN_GROUP, PullConsumer, Source, pinned_consumer
from eventbus.settling import Settling
from tests.pipeline.delivering import Bus


async def delivery(shop: Bus) -> None:
    await shop.jetstream.publish(shop.subjects.delivery(0, "acme", "orders"), b"{}")


async def consumer(shop: Bus, name: str) -> None:
    subject = shop.subjects.delivery(0, "acme", "orders")
    config = pinned_consumer(name, subject, max_ack_pending=10)
    await shop.jetstream.create_consumer(shop.subjects.stream("DELIVERIES"), config)


async def test_a_lane_without_an_owner_has_settled_nothing(shop: Bus) -> None:
    assert await shop.unsettled() == 0
    await delivery(shop)
    assert await shop.unsettled() > 0
    await consumer(shop, "lane-0")
    assert await shop.unsettled() == 1


async def test_what_a_route_takes_along_from_its_lane_is_not_settled(
    shop: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves between the question which consumers there are and what each of them has."""
    await delivery(shop)
    await consumer(shop, "lane-0")
    source = Source(shop.subjects.stream("DELIVERIES"), "lane-0", PIN_GROUP)
    lane = PullConsumer(shop.jetstream.connection, source, 1)
    await lane.start()
    given = await lane.next()
    names = JetStream.consumer_names

    async def as_it_leaves(jetstream: JetStream, stream: str) -> list[str]:
        found = await names(jetstream, stream)
        if len(found) == 1:
            await consumer(shop, shop.subjects.own_consumer("acme", "orders", 1))
            await Settling(jetstream.connection).ack(given)
        return found

    monkeypatch.setattr(JetStream, "consumer_names", as_it_leaves)
    assert await shop.unsettled() > 0
    assert await shop.unsettled() == 1
    await lane.stop()
