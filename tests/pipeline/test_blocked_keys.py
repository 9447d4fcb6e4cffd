"""`on_dead_letter: block`: behind a dead letter its key waits until somebody has dealt with it, and nothing else does (R11)."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Reply, Step
from eventbus.message import Message
from pipeline.delivery.attempt import DeliveryId
from pipeline.dlq.replay import Wanted
from pipeline.dlq.replaying import LetterId, Replaying
from pipeline.dlq.store import DeadLetterStore
from pipeline.dlq.tombstone import read_tombstone
from pipeline.routes import consumers as route_consumers
from pipeline.routes import life as route_life
from pipeline.routes import pull as route_pull
from pipeline.routes.blocked_keys import BlockedKeys
from pipeline.routes.detach import Halt
from pipeline.routes.life import RouteLife
from pipeline.routes.permission import FOREVER
from pipeline.routes.steps import RouteSteps
from tests.pipeline.delivering import UPSERT, Bus, acme, eventually, order_at_erp

NO = Step(Reply(422, {"message": "no such cost centre"}))
DAY = 86_400


async def decided(shop: Bus, verdict: Any, seq: int) -> None:
    replaying = Replaying(shop.jetstream.connection, shop.subjects, shop.nats.lanes)
    await replaying.settle(LetterId("acme", "orders", seq), Wanted(verdict, "somebody", time.time(), DAY))


async def blocked(shop: Bus, erp: PlainErp) -> int:
    """Key 1's first change is a dead letter, its next ones wait, others came; the dead letter's sequence."""
    await shop.apply(acme(erp, on_dead_letter="block"))
    shop.route()
    shop.work(me="first")
    await shop.change(2, 0)
    await erp.until(lambda: len(erp.effects) == 1)
    erp.script([NO])
    await shop.change(1, 1)
    await eventually(shop.dead_letters, lambda found: len(found) == 1)
    await _feed(shop, 2, 8)
    await erp.until(lambda: order_at_erp(erp) == {"2": [0, 2, 4, 6]})
    await eventually(shop.apart, lambda found: any(it.why == "block" for it in found.values()))
    [letter] = await shop.dead_letters()
    return int(letter["delivery_seq"])


async def _feed(shop: Bus, first: int, last: int) -> None:
    for n in range(first, last):
        await shop.change(1 if n % 2 else 2, n)


def order_is(erp: PlainErp, numbers: list[int]) -> Callable[[], bool]:
    return lambda: order_at_erp(erp).get("1") == numbers


async def test_what_the_mapping_orders_by_blocks_for_the_next_owner_too(shop: Bus, erp: PlainErp) -> None:
    tenant = acme(erp, UPSERT + "ordering: after.asset\n", on_dead_letter="block", orders=True)
    await shop.apply(tenant)
    shop.route()
    stop = shop.work()
    await shop.change(2, 0)
    await erp.until(lambda: len(erp.effects) == 1)
    erp.script([NO])
    await shop.change(1, 1, after={"id": 1, "n": 1, "asset": 7})
    [letter] = await eventually(shop.dead_letters, lambda found: len(found) == 1)
    await stop()
    shop.work()
    await shop.change(3, 3, after={"id": 3, "n": 3, "asset": 7})
    await shop.change(4, 4, after={"id": 4, "n": 4, "asset": 8})
    await erp.until(lambda: "4" in order_at_erp(erp))
    assert "3" not in order_at_erp(erp)
    await decided(shop, "discarded", int(letter["delivery_seq"]))
    await erp.until(lambda: order_at_erp(erp).get("3") == [3])
    await shop.settled()


async def test_a_discarded_one_lets_its_key_go_on(shop: Bus, erp: PlainErp) -> None:
    seq = await blocked(shop, erp)
    await decided(shop, "discarded", seq)
    await erp.until(order_is(erp, [3, 5, 7]))
    await shop.back()
    await shop.settled()


async def test_a_replayed_one_comes_before_what_waited_for_it(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for, blocks = BlockedKeys._wait_for, list[bool]()

    async def waits_for(keys: BlockedKeys, copy: int, seq: int) -> None:
        blocks.append(bool(keys))
        await wait_for(keys, copy, seq)
        blocks.append(bool(keys))

    monkeypatch.setattr(BlockedKeys, "_wait_for", waits_for)
    seq = await blocked(shop, erp)
    await decided(shop, "replayed", seq)
    await erp.until(order_is(erp, [1, 3, 5, 7]))
    assert blocks[:2] == [True, True]  # at no moment it may come back
    await shop.back()
    await shop.settled()


async def test_one_that_is_dealt_with_before_its_writer_knows_that_it_is_stored_blocks_nothing(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    await blocked(shop, erp)
    write, take, seen = DeadLetterStore.write, BlockedKeys._take, asyncio.Event()

    async def slowly(store: DeadLetterStore, delivery: DeliveryId, *more: Any) -> None:
        await write(store, delivery, *more)
        await decided(shop, "discarded", delivery.seq)
        async with asyncio.timeout(10):
            await seen.wait()

    async def sees(keys: BlockedKeys, message: Message) -> None:
        await take(keys, message)
        if read_tombstone(message.headers) is not None:
            seen.set()

    monkeypatch.setattr(DeadLetterStore, "write", slowly)
    monkeypatch.setattr(BlockedKeys, "_take", sees)
    erp.script([NO])
    for n in (8, 10, 12):
        await shop.change(2, n)
    await erp.until(lambda: order_at_erp(erp)["2"] == [0, 2, 4, 6, 10, 12])


async def test_a_replay_that_fails_again_blocks_on(shop: Bus, erp: PlainErp) -> None:
    seq = await blocked(shop, erp)
    erp.script([NO])
    await decided(shop, "replayed", seq)
    await eventually(lambda: shop.stored("DLQ", "dlq.acme.orders.*"), lambda found: len(found) == 2)
    await _feed(shop, 8, 12)
    await erp.until(lambda: order_at_erp(erp)["2"] == [0, 2, 4, 6, 8, 10])
    assert "1" not in order_at_erp(erp)
    again = (await shop.stored("DLQ", "dlq.acme.orders.*"))[-1]
    await decided(shop, "replayed", int(again.subject.rpartition(".")[2]))
    await erp.until(order_is(erp, [1, 3, 5, 7, 9, 11]))
    await shop.back()


@pytest.mark.slow
@pytest.mark.parametrize("verdict", ["replayed", "discarded"])
async def test_a_key_stays_blocked_for_the_next_owner(shop: Bus, erp: PlainErp, verdict: str) -> None:
    seq = await blocked(shop, erp)
    await shop.crash_worker()
    shop.work(me="first")
    await _feed(shop, 8, 12)
    await erp.until(lambda: order_at_erp(erp)["2"] == [0, 2, 4, 6, 8, 10], timeout_s=15)
    assert "1" not in order_at_erp(erp)
    await decided(shop, verdict, seq)
    first = [1] if verdict == "replayed" else []
    await erp.until(order_is(erp, [*first, 3, 5, 7, 9, 11]))
    await shop.back()


async def test_many_that_wait_are_held_by_their_sequence_and_read_again(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_pull, "HOLDS", 20)
    monkeypatch.setattr(route_life, "LINGER_S", 0.5)
    seq = await blocked(shop, erp)
    for n in range(9, 89, 2):
        await shop.change(1, n)
    await shop.change(2, 90)
    await erp.until(lambda: order_at_erp(erp)["2"][-1] == 90)  # though more wait than it holds otherwise
    await decided(shop, "discarded", seq)
    await erp.until(order_is(erp, [3, 5, 7, *range(9, 89, 2)]))
    await shop.back()


@pytest.mark.parametrize("followers", [3, 9])
async def test_a_replay_comes_although_no_more_could_wait_for_it(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch, followers: int
) -> None:
    for module in (route_consumers, route_pull):
        monkeypatch.setattr(module, "MAX_ACK_PENDING", 3)
    monkeypatch.setattr(route_life, "LINGER_S", 0.3)
    await shop.apply(acme(erp, on_dead_letter="block"))
    shop.route()
    shop.work()
    erp.script([NO])
    for n in range(1 + followers):
        await shop.change(1, n)
    [letter] = await eventually(shop.dead_letters, lambda found: len(found) == 1)
    await eventually(shop.own_consumers, bool)
    await decided(shop, "replayed", int(letter["delivery_seq"]))
    await erp.until(order_is(erp, list(range(1 + followers))))
    await shop.back()
    await shop.settled()


async def test_what_comes_while_a_session_ends_is_not_slept_through(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_life, "LINGER_S", 0.2)
    give_back, came = RouteLife._give_back, asyncio.Event()

    async def slowly(life: RouteLife) -> int | None:
        if life._wake_at == FOREVER and not came.is_set():
            came.set()
            life._news.clear()
            await shop.change(2, 90)
            async with asyncio.timeout(10):
                await life._news.wait()  # the lane has brought it, and let go of it
        return await give_back(life)

    monkeypatch.setattr(RouteLife, "_give_back", slowly)
    await blocked(shop, erp)
    async with asyncio.timeout(10):
        await came.wait()
    await erp.until(lambda: order_at_erp(erp)["2"][-1] == 90)


@pytest.mark.slow
async def test_a_key_is_blocked_although_its_owner_could_not_say_so_any_more(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = asyncio.Event()
    perform = RouteSteps._answer

    async def answer(steps: RouteSteps, step: Any) -> Any:
        if isinstance(step, Halt) and not crashed.is_set():
            crashed.set()
            shop.crash()
            await asyncio.Event().wait()
        return await perform(steps, step)

    monkeypatch.setattr(RouteSteps, "_answer", answer)
    await shop.apply(acme(erp, on_dead_letter="block"))
    shop.route()
    erp.script([NO])
    for n in (1, 3, 5):
        await shop.change(1, n)
    shop.work(me="first")
    async with asyncio.timeout(20):
        await crashed.wait()
    [letter] = await shop.dead_letters()
    await shop.crash_worker()
    assert await shop.apart() == {}
    shop.work(me="first")
    await shop.change(2, 6)
    await erp.until(lambda: "2" in order_at_erp(erp), timeout_s=15)
    await eventually(shop.apart, lambda found: any(it.why == "block" for it in found.values()))
    assert "1" not in order_at_erp(erp)
    await decided(shop, "replayed", letter["delivery_seq"])
    await erp.until(order_is(erp, [1, 3, 5]))
