"""From EVENTS to the ERP, on a real nats-server and a real HTTP server."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Reply, Step
from eventbus.subjects import lane_of
from pipeline.lanes import owner as lane_owner
from pipeline.mapping_text import MappingText
from pipeline.tenants.model import RetryPolicy
from tests.pipeline.delivering import UNSAFE, UPSERT, Bus, acme, eventually, order_at_erp

BUSY = Reply(423, {"message": "locked"})
DOWN = Reply(503, {"message": "maintenance"})
NO = Reply(422, {"message": "no such cost centre"})


async def test_each_change_arrives_once_and_each_key_in_order(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    for n in range(60):
        await shop.change(n % 5, n)
    await erp.until(lambda: len(erp.effects) == 60)
    await shop.settled()
    assert order_at_erp(erp) == {str(key): list(range(key, 60, 5)) for key in range(5)}
    assert len(erp.calls) == 60
    assert await shop.dead_letters() == []


async def test_a_row_read_for_one_route_reaches_it_alone_whatever_its_operations(
    shop: Bus, erp: PlainErp
) -> None:
    tenant = acme(erp, UPSERT + "when: changed('n')\n")
    twin = replace(tenant.routes["orders"], name="twin")
    await shop.apply(replace(tenant, routes={**tenant.routes, "twin": twin}))
    shop.route()
    shop.work()
    await shop.read(1, 5, route="acme/twin")
    await shop.read(2, 6)  # no route asks for reads
    await shop.read(3, 7, route="globex/orders")
    await shop.change(9, 9, before={"n": 8})
    await erp.until(lambda: len(erp.calls) == 3)
    await shop.settled()
    assert order_at_erp(erp) == {"1": [5], "9": [9]}
    assert await shop.dead_letters() == []


async def test_a_key_waits_for_its_head_and_other_keys_do_not(shop: Bus, erp: PlainErp) -> None:
    held = asyncio.Event()
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    await shop.change(1, 0)
    await shop.settled_of(1)  # a new owner's first request is a probe, and goes alone
    erp.script([Step(hold=held)])
    await shop.change(1, 1)
    await erp.until(lambda: len(erp.calls) == 2)
    for n in range(2, 6):
        await shop.change(1, n)
        await shop.change(2, n)
    await erp.until(lambda: order_at_erp(erp).get("2") == [2, 3, 4, 5])
    assert order_at_erp(erp)["1"] == [0]
    held.set()
    await erp.until(lambda: order_at_erp(erp)["1"] == [0, 1, 2, 3, 4, 5])


async def test_a_full_stream_is_told_and_routing_goes_on_when_it_has_room(shop: Bus, erp: PlainErp) -> None:
    stream = shop.subjects.stream("DELIVERIES")
    info = await shop.jetstream.stream_info(stream)
    assert info is not None
    await shop.apply(acme(erp))
    shop.route()
    await shop.jetstream.update_stream(info["config"] | {"max_bytes": 2_000})
    with capture_logs() as logs:
        for n in range(20):
            await shop.change(n, n)

        async def said() -> list[str]:
            return [entry["event"] for entry in logs]

        await eventually(said, lambda found: "the stream takes nothing; events wait" in found)
        assert shop.hindrance == "the stream is full (max_bytes)"
        await shop.jetstream.update_stream(info["config"])
        await eventually(said, lambda found: "routing again" in found)
        assert not shop.hindrance
    shop.work()
    await erp.until(lambda: len(erp.effects) == 20)


async def test_a_router_that_finds_no_room_to_claim_still_stops_when_told(shop: Bus) -> None:
    stream = shop.subjects.stream("DELIVERIES")
    info = await shop.jetstream.stream_info(stream)
    assert info is not None
    await shop.jetstream.update_stream(info["config"] | {"max_bytes": 100})
    tried = asyncio.Event()
    position = shop.subjects.router_position(0)
    subscription = await shop.jetstream.connection.subscribe(position, lambda *_: tried.set())
    stop_router = shop.route()
    async with asyncio.timeout(10):
        await tried.wait()
        await stop_router()
    subscription.end()


async def test_retries_keep_the_order_and_the_idempotency_key(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(BUSY), Step(Reply(500, {"message": "deadlock"})), Step(BUSY)])
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    for n in range(3):
        await shop.change(7, n)
    await erp.until(lambda: order_at_erp(erp) == {"7": [0, 1, 2]})
    await shop.settled()
    assert [call.idempotency_key for call in erp.calls[:4]] == ["shop:0/1:1/acme/orders"] * 4
    records = await eventually(shop.attempts, lambda found: len(found) == 6)
    assert [(record["attempt"], record["then"]) for record in records[:4]] == [
        (1, "retry"),
        (2, "retry"),
        (3, "retry"),
        (4, "ack"),
    ]
    assert await shop.dead_letters() == []


async def test_a_retry_after_is_honoured_within_the_policys_bounds(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(Reply(429, None, {"Retry-After": "3600"}))])
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await erp.until(lambda: len(erp.effects) == 1, timeout_s=5)


async def test_a_throttled_connection_rests_and_spends_nothing(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(Reply(429, None, {"Retry-After": "1"}))])
    tenant = acme(erp, retry=RetryPolicy(max_attempts=1, initial_s=0.02, factor=1, max_s=60))
    await shop.apply(tenant)
    shop.route()
    shop.work()
    for key in range(10):
        await shop.change(key, key)
    await erp.until(lambda: len(erp.effects) == 10)
    assert erp.calls[1].at - erp.calls[0].at >= 1.0
    assert len(erp.calls) == 11  # the lane's first request is alone, the others waited for it
    await shop.settled()
    assert await shop.dead_letters() == []


async def test_an_endpoint_that_is_down_holds_its_route_and_spends_nothing(shop: Bus, erp: PlainErp) -> None:
    erp.unavailable()
    await shop.apply(acme(erp, retry=RetryPolicy(max_attempts=2, initial_s=0.02, factor=1, max_s=0.05)))
    shop.route()
    shop.work()
    for n in range(20):
        await shop.change(n % 4, n)
    await erp.until(lambda: len(erp.calls) >= 4)
    assert len(erp.calls) < 20  # one probe at a time, not a flood
    await erp.up()
    await erp.until(lambda: len(erp.effects) == 20)
    assert order_at_erp(erp) == {str(key): list(range(key, 20, 4)) for key in range(4)}
    await shop.settled()
    assert await shop.dead_letters() == []
    assert {record["attempt"] for record in await shop.attempts()} == {1}


async def test_a_refused_connection_is_no_failure_of_the_event(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp, retry=RetryPolicy(max_attempts=1, initial_s=0.02, factor=1, max_s=0.05)))
    await erp.down()
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await eventually(shop.attempts, lambda found: len(found) >= 2)
    await erp.up()
    await erp.until(lambda: len(erp.effects) == 1)


async def test_one_route_that_is_down_does_not_hold_up_another(shop: Bus, erp: PlainErp) -> None:
    erp.unavailable()
    async with PlainErp() as other:
        globex = replace(acme(other), name="globex", key="4712")
        await shop.apply(acme(erp), globex)
        shop.route()
        shop.work()
        await shop.change(1, 1)
        await shop.change(2, 2, tenant="4712")
        await other.until(lambda: order_at_erp(other) == {"2": [2]})
    assert erp.effects == []


async def test_a_lost_answer_is_repeated_where_that_is_safe(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(cut="after")])
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await shop.settled_of(1)
    assert len(erp.calls) == 2
    assert order_at_erp(erp) == {"1": [1]}


async def test_a_refusal_before_anything_happened_is_repeated_though_unsafe(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(BUSY), Step(DOWN)])
    await shop.apply(acme(erp, UNSAFE))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await erp.until(lambda: order_at_erp(erp) == {"1": [1]})
    await shop.settled()
    assert await shop.dead_letters() == []
    left = await eventually(lambda: shop.stored("KV_RETRY"), bool)
    assert [entry.headers["KV-Operation"] for entry in left] == ["DEL"]


async def test_a_missing_secret_holds_the_route_until_it_is_there(shop: Bus, erp: PlainErp) -> None:
    tenant = acme(erp)
    secret = {"type": "bearer", "token": "${secret:erp}"}
    await shop.apply(replace(tenant, connections={"erp": replace(tenant.connections["erp"], auth=secret)}))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await eventually(lambda: shop.stored("DELIVERIES", "deliveries.>"), bool)
    await shop.apply(tenant)
    await erp.until(lambda: len(erp.effects) == 1)
    assert await shop.dead_letters() == []


async def test_a_new_mapping_holds_from_the_next_attempt_on(shop: Bus, erp: PlainErp) -> None:
    tenant = acme(erp)
    erp.script([Step(BUSY)] * 3)
    await shop.apply(tenant)
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await erp.until(lambda: len(erp.calls) >= 1)
    doubled = UPSERT.replace("after.n", "after.n * 100")
    await shop.apply(replace(tenant, mappings={"order": MappingText("mappings/order.yaml", doubled)}))
    await erp.until(lambda: order_at_erp(erp) == {"1": [100]})
    tried = await eventually(shop.attempts, lambda found: bool(found) and found[-1]["outcome"] == "delivered")
    versions = [attempt["mapping_version"] for attempt in tried]
    assert versions[0] != versions[-1]
    assert all(versions)


async def test_a_worker_that_leaves_hands_over_at_once(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp))
    shop.route()
    stop = shop.work()
    await shop.change(1, 1)
    await erp.until(lambda: len(erp.effects) == 1)
    await stop()
    shop.work()
    await shop.change(1, 2)
    await erp.until(lambda: len(erp.effects) == 2, timeout_s=3)
    assert len(erp.calls) == 2


async def test_a_router_that_leaves_hands_over_at_once(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp))
    stop = shop.route()
    await shop.change(1, 1)
    await eventually(lambda: shop.stored("DELIVERIES", "deliveries.>"), lambda found: len(found) == 1)
    await stop()
    await shop.change(1, 2)
    shop.route()
    found = await eventually(
        lambda: shop.stored("DELIVERIES", "deliveries.>"), lambda found: len(found) == 2, within=5
    )
    assert [message.headers["Bridge-Event-Id"] for message in found] == ["shop:0/1:1", "shop:0/2:1"]


async def test_what_is_no_delivery_does_not_stop_its_lane(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp))
    lane = lane_of("acme", shop.nats.lanes)
    await shop.jetstream.publish(f"{shop.subjects.prefix}deliveries.{lane}.by.hand.here", b"{}")
    stop = shop.work()
    await shop.settled()
    await stop()
    assert await shop.dead_letters() == []


async def test_what_is_no_event_does_not_stop_the_router(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp))
    await shop.jetstream.publish(f"{shop.subjects.prefix}events.hello", b"hello")
    await shop.change(1, 1)
    shop.route()
    shop.work()
    await erp.until(lambda: order_at_erp(erp) == {"1": [1]})


async def test_a_route_that_cannot_deliver_yet_leaves_its_connection_to_others(
    shop: Bus, erp: PlainErp
) -> None:
    tenant = acme(erp)
    broken = replace(tenant.routes["orders"], name="broken", mapping="broken")
    mappings = {**tenant.mappings, "broken": MappingText("mappings/broken.yaml", "connector: unknown")}
    tenant = replace(tenant, routes={**tenant.routes, "broken": broken}, mappings=mappings)
    await shop.apply(tenant)
    shop.route()
    shop.work()
    for n in range(6):
        await shop.change(n, n)
    await erp.until(lambda: len(erp.effects) == 6, timeout_s=3)
    await shop.apply(replace(tenant, mappings={**mappings, "broken": mappings["order"]}))
    await erp.until(lambda: len(erp.calls) == 12)
    await shop.settled()
    assert await shop.dead_letters() == []


async def test_deliveries_of_a_stream_made_anew_are_not_taken_for_those_of_the_old_one(
    shop: Bus, erp: PlainErp
) -> None:
    await shop.apply(acme(erp))
    stop = shop.route()
    shop.work()
    erp.script([Step(NO)])
    for n in range(3):
        await shop.change(n, n)
    await erp.until(lambda: len(erp.calls) == 3)
    await shop.settled_of(3)
    await stop()
    await shop.jetstream.call(f"STREAM.DELETE.{shop.subjects.stream('DELIVERIES')}")
    await shop.make_streams()
    erp.script([Step(NO)])
    shop.route()
    await erp.until(lambda: len(erp.calls) == 6)
    await shop.settled_of(3)
    assert len(await shop.dead_letters()) == 2


async def test_a_worker_whose_memory_is_full_leaves_in_order_too(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.apply(acme(erp))
    shop.route()
    answered = asyncio.Event()
    erp.script([Step(hold=answered)])
    for n in range(6):
        await shop.change(n, n)
    await eventually(lambda: shop.stored("DELIVERIES", "deliveries.>"), lambda found: len(found) == 6)
    with monkeypatch.context() as patched:
        patched.setattr(lane_owner, "MAX_BYTES", 0)
        stop = shop.work()
        await erp.until(lambda: len(erp.calls) == 1)
        for n in range(6, 9):
            await shop.change(n, n)
        name = f"lane-{lane_of('acme', shop.nats.lanes)}"
        stream = shop.subjects.stream("DELIVERIES")
        await eventually(
            lambda: shop.jetstream.consumer_info(stream, name),
            lambda info: info is not None and info["num_ack_pending"] == 9,
        )
        async with asyncio.timeout(4):
            stopping = asyncio.ensure_future(stop())
            answered.set()
            await stopping
    shop.work()
    await erp.until(lambda: len(erp.effects) == 9, timeout_s=4)
