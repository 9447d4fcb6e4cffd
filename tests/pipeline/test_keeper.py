"""The keeper, on a real server: what it deletes, what it leaves, and that one of several acts."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.demo.erp_plain import PlainErp
from bridge.demo.nats_server import EmbeddedNats
from eventbus.buckets import Bucket
from eventbus.errors import JetStreamError
from eventbus.jetstream import JetStream
from eventbus.objects import ObjectStore
from eventbus.pull_consumer import pinned_consumer
from eventbus.settings import DAY
from eventbus.subjects import lane_of
from pipeline.keeping.deliveries import Beside, DeliveriesPurge
from pipeline.keeping.events import EventsPurge
from pipeline.keeping.keeper import NAME, KeeperSettings
from pipeline.keeping.object_sweep import ObjectSweep
from pipeline.keeping.purge import Purged
from pipeline.lanes.lease import Lease, read_lease
from pipeline.lanes.takeover import State
from pipeline.routes.trouble import Trouble
from tests.pipeline.delivering import MB, Bus, acme, eventually, order_at_erp
from tests.pipeline.processes import running

LANES = 2
NOTHING = Purged()


async def caught_up() -> bool:
    return True


async def waits() -> bool:
    return False


async def no_replays() -> int | None:
    return None


def check() -> None:
    """Nobody else has taken over."""


async def deliveries(shop: Bus) -> list[int]:
    return [message.seq for message in await shop.stored("DELIVERIES", "deliveries.>")]


async def events(shop: Bus) -> list[int]:
    return [message.seq for message in await shop.stored("EVENTS", "events.>")]


@asynccontextmanager
async def delivered(shop: Bus, erp: PlainErp, count: int) -> AsyncIterator[None]:
    """So many changes are delivered, and nobody works any more."""
    await shop.apply(acme(erp))
    stop_router, stop_worker = shop.route(), shop.work()
    for n in range(count):
        await shop.change(n % 3, n)
    await shop.settled_of(count)
    await stop_worker()
    await stop_router()
    yield


QUIET = Beside(caught_up, no_replays)


def purge_of(
    shop: Bus, keep_s: float = 0.0, jetstream: JetStream | None = None, beside: Beside = QUIET
) -> DeliveriesPurge:
    return DeliveriesPurge(jetstream or shop.jetstream, shop.subjects, LANES, keep_s, beside)


async def write_state(shop: Bus, routes: Mapping[str, Trouble]) -> None:
    bucket = Bucket(shop.jetstream, shop.subjects.bucket("LANES"))
    state = State(9, routes=dict(routes))
    await bucket.put(f"state.{lane_of('acme', LANES)}", msgspec.json.encode(state))


async def test_what_is_settled_goes_and_what_is_younger_than_it_is_kept_stays(
    shop: Bus, erp: PlainErp
) -> None:
    async with delivered(shop, erp, 5):
        assert (await purge_of(shop, keep_s=60).once(check)).deleted == 0
        assert (await purge_of(shop).once(check)).deleted == 5
        assert await deliveries(shop) == []
        # the router's position is what tells a new one where to go on
        shop.route()
        shop.work()
        await shop.change(1, 99)
        await erp.until(lambda: len(erp.effects) == 6)
        assert len(erp.calls) == 6


async def test_nothing_is_deleted_that_a_route_in_trouble_has_not_settled(shop: Bus, erp: PlainErp) -> None:
    async with delivered(shop, erp, 6):
        held = await deliveries(shop)
        trouble = Trouble("on", 7, start=held[2], upto=held[5])
        await write_state(shop, {"acme/orders": trouble})
        assert (await purge_of(shop).once(check)).held_by == "route acme/orders"
        assert await deliveries(shop) == held[2:]
        lane = lane_of("acme", LANES)
        config = pinned_consumer(
            shop.subjects.own_consumer("acme", "orders", 7),
            shop.subjects.delivery(lane, "acme", "orders"),
            max_ack_pending=100,
            start=held[4],
        )
        await shop.jetstream.create_consumer(shop.subjects.stream("DELIVERIES"), config)
        await purge_of(shop).once(check)
        assert await deliveries(shop) == held[4:]
        await write_state(shop, {"acme/orders": Trouble("off", 7, settled_through=held[5])})
        await purge_of(shop).once(check)
        assert await deliveries(shop) == []


async def test_nothing_is_deleted_while_a_lane_changes_or_an_advisory_waits(shop: Bus, erp: PlainErp) -> None:
    class Changing(JetStream):
        """While it is asked for a consumer, the lane's owner writes that a route is in trouble."""

        async def consumer_info(self, stream: str, consumer: str) -> dict[str, Any] | None:
            await write_state(shop, {"acme/orders": Trouble("on", 7, start=1)})
            return await super().consumer_info(stream, consumer)

    async with delivered(shop, erp, 3):
        found = await purge_of(shop, jetstream=Changing(shop.jetstream.connection)).once(check)
        assert found.held_by == "a lane that is changing"
        await write_state(shop, {})
        await purge_of(shop, beside=replace(QUIET, caught_up=waits)).once(check)
        assert len(await deliveries(shop)) == 3
        await purge_of(shop).once(check)
        assert await deliveries(shop) == []


async def test_in_a_cluster_nothing_goes_that_a_replica_may_not_have_yet(shop: Bus, erp: PlainErp) -> None:
    class Clustered(JetStream):
        """Says that its streams have replicas."""

        async def stream_info(self, stream: str, request: object = None) -> dict[str, Any] | None:
            info = await super().stream_info(stream, request)
            if info is not None:
                info["config"]["num_replicas"] = 3
            return info

    async with delivered(shop, erp, 3):
        clustered = Clustered(shop.jetstream.connection)
        assert (await purge_of(shop, jetstream=clustered).once(check)).deleted == 0
        assert (await EventsPurge(clustered, shop.subjects, 0.0).once(check)).deleted == 0
        assert (await purge_of(shop).once(check)).deleted == 3


async def test_what_a_replay_under_way_may_look_at_stays(shop: Bus, erp: PlainErp) -> None:
    async with delivered(shop, erp, 4):
        held = await deliveries(shop)

        async def replays() -> int:
            return held[1]

        await purge_of(shop, beside=replace(QUIET, replays=replays)).once(check)
        assert await deliveries(shop) == held[1:]


async def test_a_torn_batch_behind_the_routers_position_stays(shop: Bus, erp: PlainErp) -> None:
    async with delivered(shop, erp, 3):
        lane = lane_of("acme", LANES)
        torn = await shop.jetstream.publish(shop.subjects.delivery(lane, "acme", "orders"), b"{}")
        stop = shop.work()
        await shop.settled()
        await stop()
        await purge_of(shop).once(check)
        assert await deliveries(shop) == [torn]


async def test_events_stay_for_whoever_has_not_read_them(shop: Bus, erp: PlainErp) -> None:
    async with delivered(shop, erp, 6):
        held = await events(shop)
        stream, purge = shop.subjects.stream("EVENTS"), EventsPurge(shop.jetstream, shop.subjects, 0.0)
        reader = {"name": "lake", "durable_name": "lake", "ack_policy": "explicit", "deliver_policy": "all"}
        await shop.jetstream.create_consumer(stream, reader)
        assert await purge.once(check) == Purged(held_by="consumer lake")
        await shop.jetstream.delete_consumer(stream, "lake")
        # where a capture that starts looks for a torn batch
        position = {"token": "x", "scan_from": 0}
        await shop.jetstream.publish(shop.subjects.position("shop"), json.dumps(position).encode())
        behind = await shop.change(1, 7)
        others = await shop.stored("EVENTS", "routes.*") + await shop.stored("EVENTS", "position.*")
        assert (await purge.once(check)).deleted == 5
        # the last one that was routed, by which the router knows the stream
        assert await events(shop) == [held[5], behind]
        stop = shop.route()
        last = await shop.jetstream.publish(
            shop.subjects.event("other", "4711", "public", "orders", "update"), b"{}"
        )
        await eventually(lambda: deliveries(shop), lambda found: len(found) == 8)
        await stop()
        await purge.once(check)
        assert await events(shop) == [behind, last]
        assert others == await shop.stored("EVENTS", "routes.*") + await shop.stored("EVENTS", "position.*")


async def test_the_event_of_a_webhook_that_was_stored_in_part_stays(shop: Bus, erp: PlainErp) -> None:
    async with delivered(shop, erp, 1):
        marker = shop.subjects.webhook("partner", "ab" * 16)
        opened = await shop.jetstream.publish(marker, b'{"id": "1", "tenant": "acme", "digest": "x"}')
        event = await shop.put(b"{}", "partner:w1", "4711")
        stop = shop.route()
        await shop.change(2, 2)
        await eventually(lambda: deliveries(shop), lambda found: len(found) == 3)
        purge = EventsPurge(shop.jetstream, shop.subjects, 0.0)

        async def left() -> list[int]:
            await purge.once(check)
            return await events(shop)

        # the router's position may follow its deliveries a little later
        await eventually(left, lambda found: found[0] == event == opened + 1)
        await shop.jetstream.publish(marker, b'{"id": "1", "tenant": "acme", "digest": "x", "stored": true}')
        await shop.change(2, 3)
        await eventually(lambda: deliveries(shop), lambda found: len(found) == 4)
        await eventually(lambda: purge.once(check), lambda found: not found.deleted)
        await stop()
        await purge.once(check)
        assert len(await events(shop)) == 1


async def test_without_a_router_no_event_goes(shop: Bus, erp: PlainErp) -> None:
    await shop.change(1, 1)
    purge = EventsPurge(shop.jetstream, shop.subjects, 0.0)
    assert await purge.once(check) == Purged(held_by="the router")


async def test_an_object_goes_when_event_delivery_and_dead_letter_have(shop: Bus, erp: PlainErp) -> None:
    objects = ObjectStore(shop.jetstream, shop.subjects.bucket("BIG_EVENTS"))
    sweep = ObjectSweep(shop.jetstream, shop.subjects)

    async def names() -> list[str]:
        return sorted(found.name for found in await objects.listing())

    await shop.apply(acme(erp))
    stop_router, stop_worker = shop.route(), shop.work()
    await shop.big_change(1, 1)
    await shop.settled_of(1)
    await stop_worker()
    await stop_router()
    await objects.put("shop:0/FFFF:1", b"not published yet")
    position = {"token": "x", "lsn": "0/F000", "ordinal": 1}
    await shop.jetstream.publish(shop.subjects.position("shop"), json.dumps(position).encode())
    assert await sweep.once(check) == 0
    await shop.jetstream.purge_stream(shop.subjects.stream("EVENTS"), subject=shop.subjects.all_events)
    assert await sweep.once(check) == 0
    letter = await shop.jetstream.publish(
        shop.subjects.dead_letter("acme", "orders", 5), b"{}", b"Bridge-Object: shop:0/B1:1\r\n"
    )
    await purge_of(shop).once(check)
    assert await sweep.once(check) == 0
    assert letter
    await shop.jetstream.purge_stream(shop.subjects.stream("DLQ"), subject=shop.subjects.all_dead_letters)
    assert await sweep.once(check) == 1
    assert await names() == ["shop:0/FFFF:1"]
    info = await shop.jetstream.stream_info(f"OBJ_{shop.subjects.bucket('BIG_EVENTS')}")
    assert info is not None
    assert info["state"]["messages"] == 2  # nothing is left of the other


async def big_change_if_there_is_room(shop: Bus, n: int) -> int:
    """As capture does, which tries again."""
    try:
        return await shop.change(n, n, notes="x" * 400_000)
    except JetStreamError as error:
        if error.err_code != 10077:
            raise
        return 0


async def test_streams_that_delivered_work_would_fill_never_jam(shop: Bus, erp: PlainErp) -> None:
    for name in ("EVENTS", "DELIVERIES"):
        stream = shop.subjects.stream(name)
        info = await shop.jetstream.stream_info(stream)
        assert info is not None
        await shop.jetstream.update_stream(info["config"] | {"max_bytes": 16 * MB})
    await shop.apply(acme(erp))
    shop.route()
    shop.work(keeper=KeeperSettings(7 * DAY, DAY, look=0.1, purge=0.5))
    for n in range(60):
        await eventually(lambda: big_change_if_there_is_room(shop, n), bool)  # noqa: B023 — asked in this round
    await erp.until(lambda: len({call.idempotency_key for call in erp.calls}) >= 60)
    await shop.settled()
    assert await shop.dead_letters() == []
    assert len(await deliveries(shop)) < 42  # 16 MB of them


async def test_nothing_is_lost_that_waits_for_its_erp_while_everything_else_goes(
    shop: Bus, erp: PlainErp
) -> None:
    async with PlainErp() as down:
        down.unavailable()
        await shop.apply(acme(down), replace(acme(erp), name="globex", key="42"))
        shop.route()
        shop.work(keeper=KeeperSettings(0.0, 0.0, look=0.05, purge=0.05))
        for n in range(40):
            await shop.change(n % 5, n)
            await shop.change(n % 5, n, tenant="42")
        await erp.until(lambda: len(erp.effects) == 40)
        # the router's position names the last one
        await eventually(lambda: events(shop), lambda found: len(found) == 1)
        left = await deliveries(shop)
        assert len(left) >= 40
        await down.up()
        await down.until(lambda: len(down.effects) == 40, timeout_s=30)
        assert order_at_erp(down) == {str(key): list(range(key, 40, 5)) for key in range(5)}
        assert order_at_erp(erp) == order_at_erp(down)
        await eventually(lambda: deliveries(shop), lambda found: found == [])
        assert await shop.dead_letters() == []


async def keeper_of(shop: Bus) -> Lease | None:
    entry = await Bucket(shop.jetstream, shop.subjects.bucket("LANES")).get(f"lease.{NAME}")
    lease = read_lease(entry.value) if entry else None
    return None if lease is None or lease.released else lease


async def test_one_keeper_acts_and_when_it_stops_another_does(shop: Bus, erp: PlainErp) -> None:
    first = shop.work()
    one = await eventually(lambda: keeper_of(shop), lambda found: found is not None)
    shop.work()
    assert one is not None
    assert await keeper_of(shop) is not None
    await first()
    other = await eventually(lambda: keeper_of(shop), lambda found: found is not None)
    assert other is not None
    assert other.owner.partition(".")[0] != one.owner.partition(".")[0]


@pytest.mark.slow
async def test_a_killed_keepers_work_is_done_by_another(
    nats_server: EmbeddedNats, shop: Bus, erp: PlainErp, tmp_path: Path
) -> None:
    async with running(shop, tmp_path, "worker", "worker") as workers:
        lease = await eventually(lambda: keeper_of(shop), lambda found: found is not None)
        assert lease is not None
        [keeper] = [worker for worker in workers if worker.owns(lease)]
        await keeper.kill()
        other = await eventually(
            lambda: keeper_of(shop), lambda found: found is not None and found.owner != lease.owner
        )
        assert other is not None
        # and it does what a keeper does
        await shop.apply(acme(erp))
        shop.route()
        await shop.change(1, 1)
        await shop.settled_of(1)
        [delivery] = await shop.stored("DELIVERIES", "deliveries.>")
        await asyncio.sleep(0)
        await shop.terminate(delivery, "by hand")
