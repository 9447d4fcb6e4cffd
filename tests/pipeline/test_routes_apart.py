"""Routes in trouble leave their lane and come back: in order, nothing lost, their neighbours unhurt (rules R6, R7, R8)."""

import asyncio
import time
from dataclasses import replace
from typing import Any, Literal

import pytest

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Reply, Step
from eventbus.subjects import lane_of
from pipeline.delivery.delivery import Item
from pipeline.dlq.replay import Wanted
from pipeline.dlq.replaying import LetterId, Replaying
from pipeline.lanes.ordering_keys import OrderingKeys
from pipeline.lanes.routes import LaneRoutes
from pipeline.routes import crowding as route_trouble
from pipeline.routes import pull as route_pull
from pipeline.tenants.model import RetryPolicy
from pipeline.tenants.pause_store import PauseStore
from pipeline.tenants.pauses import Pause, Paused
from tests.pipeline.delivering import Bus, acme, eventually, order_at_erp
from tests.pipeline.scripted_erp import ScriptedErp, calm, down

BUSY = Reply(500, {"message": "deadlock"})
SLOW = RetryPolicy(max_attempts=5, initial_s=2.5, factor=1, max_s=60, jitter=0)


async def _now() -> float:
    return time.time()


async def left(shop: Bus, why: str) -> None:
    await eventually(shop.apart, lambda found: any(it.why == why for it in found.values()))


async def test_an_erp_that_is_down_takes_its_route_out_and_nobody_else(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    await shop.change(0, 0)
    await erp.until(lambda: len(erp.effects) == 1)
    erp.unavailable()
    for n in range(1, 40):
        await shop.change(n % 4, n)
    await left(shop, "breaker")
    for n in range(40, 60):
        await shop.change(n % 4, n)
    await erp.up()
    await erp.until(lambda: len(erp.effects) == 60)
    await shop.back()
    await shop.settled()
    assert order_at_erp(erp) == {str(key): list(range(key, 60, 4)) for key in range(4)}
    assert await shop.dead_letters() == []
    assert {record["attempt"] for record in await shop.attempts()} == {1}
    await shop.change(1, 61)
    await erp.until(lambda: len(erp.effects) == 61)
    assert await shop.own_consumers() == []


async def test_a_long_retry_delays_its_own_route_alone(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_trouble, "WAIT_S", 2.0)
    tenant = acme(erp, retry=SLOW)
    twin = replace(tenant.routes["orders"], name="twin")
    async with PlainErp() as other:
        connections = {**tenant.connections, "other": replace(acme(other).connections["erp"], name="other")}
        twin = replace(twin, connection="other")
        tenant = replace(tenant, connections=connections, routes={**tenant.routes, "twin": twin})
        await shop.apply(tenant)
        erp.script([Step(BUSY)])
        shop.route()
        stop = shop.work()
        for n in range(20):
            await shop.change(n % 2, n)
        await left(shop, "retry")
        await other.until(lambda: len(other.effects) == 20, timeout_s=5)
        await erp.until(lambda: order_at_erp(erp).get("1") == list(range(1, 20, 2)), timeout_s=5)
        assert "0" not in order_at_erp(erp)  # its head waits, and behind it all of its key
        await erp.until(lambda: len(erp.effects) == 20, timeout_s=20)
        await shop.back()
        assert order_at_erp(erp) == order_at_erp(other)
        told = await eventually(shop.attempts, lambda found: len(found) == 41)  # noted a moment later
        assert [record["attempt"] for record in told].count(2) == 1
        await stop()


async def test_all_routes_of_a_connection_that_rests_leave_their_lane(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_trouble, "WAIT_S", 1.0)
    tenant = acme(erp, retry=replace(SLOW, max_s=2.5))
    endpoint = replace(tenant.connections["erp"], concurrency=1)
    twin = replace(tenant.routes["orders"], name="twin")
    await shop.apply(replace(tenant, connections={"erp": endpoint}, routes={**tenant.routes, "twin": twin}))
    answered = asyncio.Event()
    erp.script([Step(Reply(429, None, {"Retry-After": "3600"}), hold=answered)])
    shop.route()
    shop.work()
    await shop.change(1, 1)
    await erp.until(lambda: len(erp.calls) == 1)
    await eventually(shop.unsettled, lambda left: left == 2)
    answered.set()
    await eventually(shop.own_consumers, lambda found: len(found) == 2)
    assert {it.why for it in (await shop.apart()).values()} == {"retry"}
    await erp.until(lambda: len(erp.calls) == 3)
    await shop.back()


async def test_a_route_that_holds_much_is_drained_apart_in_order(shop: Bus, erp: PlainErp) -> None:
    held = asyncio.Event()
    erp.script([Step(hold=held)])
    tenant = acme(erp)
    patient = replace(tenant.connections["erp"], timeout_s=60.0)  # until all are there
    await shop.apply(replace(tenant, connections={"erp": patient}))
    shop.route()
    shop.work()
    for n in range(700):
        await shop.change(n % 7, n)
    await eventually(lambda: shop.stored("DELIVERIES", "deliveries.>"), lambda found: len(found) == 700)
    held.set()
    await left(shop, "backlog")
    await erp.until(lambda: len(erp.effects) == 700, timeout_s=30)
    await shop.back()
    assert order_at_erp(erp) == {str(key): list(range(key, 700, 7)) for key in range(7)}
    assert len(erp.calls) == 700


async def test_a_paused_route_sends_nothing_and_its_deadline_stands_still(shop: Bus, erp: PlainErp) -> None:
    pauses = PauseStore(shop.jetstream, shop.subjects)
    await shop.apply(acme(erp, deadline_s=2.0))
    shop.route()
    shop.work()
    await shop.change(0, 0)
    await erp.until(lambda: len(erp.effects) == 1)
    await pauses.pause("acme", Paused(route="orders"), Pause(time.time(), "somebody"))
    for n in range(1, 20):
        await shop.change(n % 3, n)
    await left(shop, "paused")
    too_late = time.time() + 2.0
    await eventually(_now, lambda now: now > too_late)  # its deadline is over, had it not stood still
    assert len(erp.calls) == 1
    assert await shop.unsettled() > 0
    await pauses.resume("acme", Paused(route="orders"))
    await erp.until(lambda: len(erp.effects) == 20)
    await shop.back()
    assert order_at_erp(erp) == {str(key): list(range(key, 20, 3)) for key in range(3)}
    assert await shop.dead_letters() == []


async def test_what_is_held_by_its_sequence_keeps_no_payload_while_it_waits(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_pull, "HOLDS", 5)
    monkeypatch.setattr(route_pull, "PATIENCE_S", 0.1)
    waited: list[bool] = []

    def waits(routes: LaneRoutes, item: Item, until: float) -> None:
        waited.append(item.shed)
        told(routes, item, until)

    told = LaneRoutes.waits
    monkeypatch.setattr(LaneRoutes, "waits", waits)
    pauses = PauseStore(shop.jetstream, shop.subjects)
    await shop.apply(acme(erp, retry=replace(SLOW, initial_s=1.5)))
    await pauses.pause("acme", Paused(route="orders"), Pause(time.time(), "somebody"))
    shop.route()
    shop.work()
    for n in range(20):
        await shop.change(n, n)
    await left(shop, "paused")
    erp.script([Step(BUSY)] * 20)
    await pauses.resume("acme", Paused(route="orders"))
    await erp.until(lambda: len(erp.effects) == 20)
    assert len(waited) == 20
    assert sum(waited) > 10
    await shop.back()


async def test_what_a_lane_was_just_taking_when_its_route_left_is_not_lost(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_lines = OrderingKeys.lines

    gone = asyncio.Event()

    async def slowly(*args: Any) -> Any:
        if not gone.is_set():  # as with an event from the object store, or keys of a mapping's own
            await asyncio.sleep(0.1)
        return await find_lines(*args)

    monkeypatch.setattr(OrderingKeys, "lines", slowly)
    answered = asyncio.Event()
    pauses = PauseStore(shop.jetstream, shop.subjects)
    await shop.apply(acme(erp))
    erp.script([Step(hold=answered)])
    shop.route()
    for n in range(24):
        await shop.change(1, n)
    await eventually(lambda: shop.stored("DELIVERIES", "deliveries.>"), lambda found: len(found) == 24)
    shop.work()
    await erp.until(lambda: len(erp.calls) == 1)
    await pauses.pause("acme", Paused(route="orders"), Pause(time.time(), "somebody"))
    answered.set()
    await left(shop, "paused")
    await eventually(shop.own_consumers, bool)
    gone.set()
    await pauses.resume("acme", Paused(route="orders"))
    await shop.settled()
    await shop.back()
    assert order_at_erp(erp) == {"1": list(range(24))}


async def test_a_route_that_leaves_right_after_a_takeover_brings_nothing_again(shop: Bus) -> None:
    """The lane has brought its new owner only what the last one gave back: all else up to there is settled."""
    over = asyncio.Event()
    async with ScriptedErp(lambda call: Step(hold=over if call.body["n"] == 1 else None)) as erp:
        await shop.apply(acme(erp))
        shop.route()
        stop = shop.work(patience_s=0.1)
        await shop.change(0, 0)
        await erp.until(lambda: len(erp.effects) == 1)
        for n in range(1, 6):
            await shop.change(n, n)
        await erp.until(lambda: len(erp.effects) == 5)
        await eventually(shop.unsettled, lambda found: found == 1)
        await stop()
        over.set()
        erp.temper = down
        shop.work()
        await left(shop, "breaker")
        erp.temper = calm
        await eventually(shop.unsettled, lambda found: found == 0)
        await shop.back()
        assert sorted(one.number for one in erp.asked if one.acknowledged) == [*range(6)]


async def test_what_is_apart_of_a_removed_route_becomes_dead_letters(shop: Bus, erp: PlainErp) -> None:
    tenant = acme(erp)
    await shop.apply(tenant)
    erp.unavailable()
    shop.route()
    shop.work()
    for n in range(5):
        await shop.change(n, n)
    await left(shop, "breaker")
    await shop.apply(replace(tenant, routes={}))
    letters = await eventually(shop.dead_letters, lambda found: len(found) == 5)
    assert {letter["reason"] for letter in letters} == {"removed"}
    await shop.back()


async def test_what_is_apart_expires_by_its_deadline(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp, deadline_s=1.5))
    erp.unavailable()
    shop.route()
    shop.work()
    for n in range(5):
        await shop.change(1, n)
    letters = await eventually(shop.dead_letters, lambda found: len(found) == 5)
    assert {letter["reason"] for letter in letters} == {"expired"}
    await shop.back()
    await shop.settled()


async def test_the_next_owner_goes_on_with_what_is_apart_though_nothing_new_comes(
    shop: Bus, erp: PlainErp
) -> None:
    await shop.apply(acme(erp))
    erp.unavailable()
    shop.route()
    stop = shop.work()
    for n in range(6):
        await shop.change(1, n)
    await left(shop, "breaker")
    await stop()
    await erp.up()
    shop.work()
    await erp.until(lambda: order_at_erp(erp) == {"1": list(range(6))})
    await shop.back()


@pytest.mark.slow
@pytest.mark.parametrize("then", ["continue", "block"])
async def test_what_ends_workers_while_it_is_apart_becomes_a_dead_letter(
    shop: Bus, erp: PlainErp, then: Literal["continue", "block"]
) -> None:
    await shop.apply(acme(erp, on_dead_letter=then))
    erp.unavailable()
    shop.route()
    stop = shop.work()
    await shop.change(1, 1)
    await shop.change(2, 2)
    poison, _ = await eventually(
        lambda: shop.stored("DELIVERIES", "deliveries.>"), lambda found: len(found) == 2
    )
    await left(shop, "breaker")
    await stop()
    await shop.crashed_apart(lane_of("acme", shop.nats.lanes), suspect=poison.seq)
    await erp.up()
    shop.work()
    await erp.until(lambda: order_at_erp(erp) == {"2": [2]}, timeout_s=25)
    (letter,) = await shop.dead_letters()
    assert (letter["reason"], letter["delivery_seq"]) == ("crashed", poison.seq)
    await shop.change(1, 3)
    await shop.change(2, 4)
    await erp.until(lambda: order_at_erp(erp).get("2") == [2, 4])
    if then == "block":
        assert "1" not in order_at_erp(erp)
        wanted = Wanted("discarded", "somebody", time.time(), 86_400)
        replaying = Replaying(shop.jetstream.connection, shop.subjects, shop.nats.lanes)
        await replaying.settle(LetterId("acme", "orders", poison.seq), wanted)
    await erp.until(lambda: order_at_erp(erp).get("1") == [3])
    await shop.back()
    await shop.settled()
