"""What becomes a dead letter, why, and what does not: on a real nats-server and a real HTTP server."""

import asyncio
import json
import time
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Reply, Step
from eventbus.event import HEADER_EVENT_ID
from eventbus.pull_consumer import PullConsumer, Source
from eventbus.subjects import lane_of
from eventbus.wire import header_lines
from pipeline.delivery.attempt import DeliveryId
from pipeline.dlq.keeper import CONSUMER, _config
from pipeline.dlq.store import DeadLetterStore, WriteHooks
from pipeline.tenants.apply import Application, Manner
from pipeline.tenants.model import BreakerPolicy, RetryPolicy
from tests.pipeline.delivering import UNSAFE, UPSERT, Bus, acme, eventually, order_at_erp

BUSY = Reply(500, {"message": "deadlock"})
DOWN = Reply(503, {"message": "maintenance"})
NO = Reply(422, {"message": "no such cost centre"})


async def test_what_passes_never_spends_its_attempts_and_is_buried(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(BUSY)] * 3)
    await shop.apply(acme(erp, retry=RetryPolicy(max_attempts=3, initial_s=0.02, factor=1, max_s=0.1)))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await shop.change(1, 2)
    await erp.until(lambda: order_at_erp(erp) == {"1": [2]})
    (letter,) = await shop.dead_letters()
    assert (letter["reason"], letter["attempts"], letter["error"]["status"]) == ("exhausted", 3, 500)


async def test_a_rejection_is_a_dead_letter_and_the_message_ends_with_its_reason(
    shop: Bus, erp: PlainErp
) -> None:
    erp.script([Step(NO)])
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await shop.change(1, 2)
    await erp.until(lambda: order_at_erp(erp) == {"1": [2]})
    await shop.settled()
    (letter,) = await shop.dead_letters()
    assert letter["reason"] == "rejected"
    assert letter["event"]["after"] == {"id": 1, "n": 1}
    assert letter["error"]["response"] == {"message": "no such cost centre"}
    assert letter["delivery_id"] == "shop:0/1:1/acme/orders"
    (advisory,) = await shop.advisories()
    assert (advisory["stream_seq"], advisory["reason"]) == (letter["delivery_seq"], "rejected acme/orders")


async def test_a_mapping_that_fails_is_a_dead_letter_at_once(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp, UPSERT.replace("after.n", "after.absent")))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    (letter,) = await eventually(shop.dead_letters, bool)
    assert (letter["reason"], letter["error"]["class"]) == ("mapping", "missing")
    assert "mappings/order.yaml" in letter["error"]["message"]
    assert erp.calls == []


async def test_a_route_whose_dead_letter_finds_no_room_stands_and_says_so(shop: Bus, erp: PlainErp) -> None:
    stream = shop.subjects.stream("DLQ")
    info = await shop.jetstream.stream_info(stream)
    assert info is not None
    await shop.jetstream.update_stream(info["config"] | {"max_bytes": 100})
    erp.script([Step(NO)])
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    refused = "a dead letter cannot be written; its route stands until it is"
    lane = f"lane-{lane_of('acme', shop.nats.lanes)}"
    logs: list[MutableMapping[str, Any]]

    async def said() -> list[str]:
        return [entry["event"] for entry in logs]

    async def under_way() -> int:
        found = await shop.jetstream.consumer_info(shop.subjects.stream("DELIVERIES"), lane)
        return found["num_ack_pending"] if found else 0

    with capture_logs() as logs:
        await shop.change(1, 1)
        await eventually(said, lambda found: refused in found)
        await shop.change(2, 1)
        await eventually(under_way, lambda count: count == 2)
        # a second try to write it: by then the other delivery would long have been sent
        await eventually(said, lambda found: found.count(refused) == 2)
    enlarged = time.time()
    await shop.jetstream.update_stream(info["config"])
    await erp.until(lambda: order_at_erp(erp) == {"2": [1]}, timeout_s=20)
    assert erp.calls[1].at > enlarged
    (letter,) = await shop.dead_letters()
    assert letter["reason"] == "rejected"


async def test_a_requirement_that_does_not_hold_is_a_rejection(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp, UPSERT + "require: after.n > 5\n"))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    (letter,) = await eventually(shop.dead_letters, bool)
    assert letter["reason"] == "rejected"


async def test_a_payload_that_is_no_event_is_a_dead_letter(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    await shop.put(b"{not json", "shop:0/AA:1")
    (letter,) = await eventually(shop.dead_letters, bool)
    assert (letter["reason"], letter["event"]) == ("mapping", "{not json")


async def test_half_of_a_surrogate_pair_ends_one_delivery_and_no_lane(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp, UPSERT + "ordering: after.n\n"))
    shop.route()
    shop.work()
    event = {
        "id": "shop:0/AA:1",
        "op": "update",
        "tenant": "4711",
        "source": {"schema": "public", "table": "orders"},
    }
    await shop.put(json.dumps(event | {"key": {"id": 1}, "after": {"n": "\ud83d"}}).encode(), "shop:0/AA:1")
    await shop.change(1, 2)
    (letter,) = await eventually(shop.dead_letters, bool)
    assert (letter["reason"], letter["error"]["class"]) == ("mapping", "event")
    assert isinstance(letter["event"], str)
    await shop.settled()
    assert order_at_erp(erp) == {"1": [2]}


async def test_an_answer_with_half_of_a_surrogate_pair_is_kept_as_text(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    erp.script([Step(reply=Reply(422, r'{"error": "\ud83d"}'))])
    await shop.change(1, 1)
    await shop.change(2, 2)
    (letter,) = await eventually(shop.dead_letters, bool)
    assert (letter["reason"], letter["error"]["status"]) == ("rejected", 422)
    assert letter["error"]["response"] == r'{"error": "\ud83d"}'
    await shop.settled()
    assert len(erp.effects) == 1


async def test_deliveries_of_a_removed_route_become_dead_letters(shop: Bus, erp: PlainErp) -> None:
    tenant = acme(erp)
    await shop.apply(tenant)
    stop = shop.route()
    await shop.change(1, 1)
    await eventually(lambda: shop.stored("DELIVERIES", "deliveries.>"), bool)
    await stop()
    await shop.apply(replace(tenant, routes={}))
    shop.work()
    (letter,) = await eventually(shop.dead_letters, bool)
    assert (letter["reason"], letter["route"], letter["attempts"]) == ("removed", "orders", 0)


async def test_what_a_killed_keeper_had_under_way_is_done_at_once(shop: Bus) -> None:
    stream = shop.subjects.stream("ADVISORIES")
    subject = shop.subjects.stream_subjects("ADVISORIES")[0].replace("*", "x").replace(">", "x")
    await shop.jetstream.publish(subject, b"{}")
    await shop.jetstream.create_consumer(stream, _config())
    consumer = PullConsumer(shop.jetstream.connection, Source(stream, CONSUMER), 10)
    await consumer.start()
    await consumer.next()
    await consumer.stop()
    shop.work()

    async def pending() -> int:
        info = await shop.jetstream.consumer_info(stream, CONSUMER)
        assert info is not None
        found: int = info["num_ack_pending"]
        return found

    assert await pending() == 1
    await eventually(pending, lambda found: found == 0)


async def test_what_may_have_been_sent_is_uncertain_also_when_its_route_is_removed(
    shop: Bus, erp: PlainErp
) -> None:
    tenant = acme(erp, UNSAFE)
    held = asyncio.Event()
    erp.script([Step(hold=held)])
    await shop.apply(tenant)
    shop.route()
    shop.work(me="w")
    await shop.change(1, 1)
    await erp.until(lambda: bool(erp.calls))
    await shop.crash_worker()
    held.set()
    await shop.apply(replace(tenant, routes={}))
    shop.work(me="w")
    (letter,) = await eventually(shop.dead_letters, bool)
    assert (letter["reason"], letter["error"]["class"]) == ("uncertain", "interrupted")
    await shop.settled()
    assert len(erp.calls) == 1


async def test_deliveries_of_a_removed_tenant_become_dead_letters(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp))
    stop = shop.route()
    await shop.change(1, 1)
    await eventually(lambda: shop.stored("DELIVERIES", "deliveries.>"), bool)
    (change,) = await Application(shop.jetstream, shop.subjects).apply([], Manner(prune=True))
    assert change.removed
    await stop()
    shop.work()
    (letter,) = await eventually(shop.dead_letters, bool)
    assert (letter["reason"], letter["event"]["after"]["n"]) == ("removed", 1)
    await shop.settled()
    assert erp.calls == []
    await shop.settled()
    assert erp.calls == []


async def test_what_is_older_than_its_deadline_is_not_sent(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(DOWN)] * 50)
    await shop.apply(acme(erp, deadline_s=1.0))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    (letter,) = await eventually(shop.dead_letters, bool)
    assert (letter["reason"], letter["attempts"]) == ("expired", 0)


async def test_a_lost_answer_is_parked_where_a_repeat_is_unsafe(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(cut="after")])
    await shop.apply(acme(erp, UNSAFE))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await shop.change(2, 2)
    (letter,) = await eventually(shop.dead_letters, bool)
    assert (letter["reason"], letter["attempts"]) == ("uncertain", 1)
    await erp.until(lambda: order_at_erp(erp) == {"1": [1], "2": [2]})
    assert len(erp.calls) == 2


async def test_the_keeper_writes_the_dead_letter_of_a_message_terminated_by_hand(
    shop: Bus, erp: PlainErp
) -> None:
    tenant = acme(erp)
    broken = replace(tenant.connections["erp"], breaker=BreakerPolicy(failures=1, window_s=60, open_s=60))
    erp.unavailable()
    await shop.apply(replace(tenant, connections={"erp": broken}))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await erp.until(lambda: len(erp.calls) == 1)
    (delivery,) = await shop.stored("DELIVERIES", "deliveries.>")
    await shop.terminate(delivery, "a person's whim")
    (letter,) = await eventually(shop.dead_letters, bool)
    assert letter["delivery_seq"] == delivery.seq
    assert "a person's whim" in letter["error"]["message"]
    assert letter["advisory"]


async def test_the_keeper_writes_the_dead_letter_of_a_delivery_that_a_consumer_gave_up(shop: Bus) -> None:
    shop.work()
    connection, stream = shop.jetstream.connection, shop.subjects.stream("DELIVERIES")
    subject = shop.subjects.delivery(lane_of("ghost", shop.nats.lanes), "ghost", "orders")
    seq = await shop.jetstream.publish(subject, b'{"id": "shop:0/1:1"}')
    somebodys = {"name": "lane-99", "durable_name": "lane-99"}
    gives_up = {"ack_policy": "explicit", "ack_wait": 10**8, "max_deliver": 1, "filter_subject": subject}
    await shop.jetstream.create_consumer(stream, somebodys | gives_up)
    consumer = PullConsumer(connection, Source(stream, somebodys["name"]), 10)
    await consumer.start()
    (letter,) = await eventually(shop.dead_letters, bool)
    await consumer.stop()
    assert (letter["reason"], letter["delivery_seq"]) == ("exhausted", seq)
    assert "max_deliver" in letter["error"]["message"]


async def test_a_big_event_is_read_from_its_object_and_stands_in_its_line(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(BUSY), Step(NO)])
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    await shop.big_change(1, 1)
    await shop.change(1, 2)
    await shop.big_change(1, 3)
    await erp.until(lambda: order_at_erp(erp) == {"1": [2, 3]})
    (letter,) = await shop.dead_letters()
    assert (letter["reason"], letter["event"]) == ("rejected", None)
    (stored,) = await shop.stored("DLQ")
    assert stored.headers["Bridge-Object"] == "shop:0/B1:1"


async def test_a_delivery_that_ends_its_workers_becomes_a_dead_letter_and_its_neighbours_do_not(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = DeadLetterStore.write

    async def no_room_at_first(
        store: DeadLetterStore, delivery: DeliveryId, payload: bytes, headers: bytes, hooks: WriteHooks
    ) -> None:
        hooks.refused()
        await write(store, delivery, payload, headers, hooks)

    monkeypatch.setattr(DeadLetterStore, "write", no_room_at_first)
    await shop.apply(acme(erp))
    stop = shop.route()
    await shop.change(1, 1)
    await shop.change(2, 2)
    poison, _ = await eventually(
        lambda: shop.stored("DELIVERIES", "deliveries.>"), lambda found: len(found) == 2
    )
    await stop()
    await shop.crashed_owners(lane_of("acme", shop.nats.lanes), suspect=poison.seq)
    shop.work()
    await erp.until(lambda: order_at_erp(erp) == {"2": [2]}, timeout_s=20)
    (letter,) = await shop.dead_letters()
    assert (letter["reason"], letter["delivery_seq"]) == ("crashed", poison.seq)
    await shop.settled()


async def test_a_delivery_of_a_tenant_that_never_came_is_expired_in_the_end(shop: Bus) -> None:
    lane = lane_of("nobody", shop.nats.lanes)
    subject = shop.subjects.delivery(lane, "nobody", "orders")
    await shop.jetstream.publish(subject, b"{}", header_lines({HEADER_EVENT_ID: "shop:0/1:1"}))
    shop.work(deadline_s=0.1)
    [letter] = await eventually(shop.dead_letters, bool)
    assert letter["reason"] == "expired"
    assert "tenant nobody is not in force" in letter["error"]["message"]


async def test_a_record_lives_as_long_as_its_routes_deadline(shop: Bus, erp: PlainErp) -> None:
    slow = RetryPolicy(max_attempts=5, initial_s=60, factor=1, max_s=60, jitter=0)
    await shop.apply(acme(erp, retry=slow, deadline_s=30 * 86_400.0))
    shop.route()
    shop.work()
    erp.script([Step(BUSY)])
    await shop.change(1, 1)
    [record] = await eventually(lambda: shop.stored("KV_RETRY"), bool)
    assert int(record.headers["Nats-TTL"].removesuffix("s")) > 30 * 86_400
