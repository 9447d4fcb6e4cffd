"""Replay and discard on a real nats-server, down to a real ERP (rule R11)."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Reply, Step
from eventbus.connection import connect
from eventbus.fence import Written
from eventbus.position import position_headers
from eventbus.wire import header_lines
from pipeline.delivery.attempt import DeliveryId
from pipeline.delivery.disposition import Reason
from pipeline.dlq.begun_replays import BegunReplays
from pipeline.dlq.letters import Glance, Letters
from pipeline.dlq.replay import Denied, Ended, Marker, SendCopy, Wanted, settle_letter
from pipeline.dlq.replaying import Replaying
from pipeline.dlq.store import DeadLetterStore, WriteHooks
from pipeline.dlq.tombstone import Tombstone, read_tombstone
from pipeline.dlq.upkeep import LetterUpkeep
from pipeline.tenants.model import RetryPolicy
from tests.pipeline.burying import Graveyard
from tests.pipeline.delivering import UNSAFE, UPSERT, Bus, acme, eventually, order_at_erp

NO = Reply(422, {"message": "no such cost centre"})
DAY = 86_400


def replay(**more: Any) -> Wanted:
    return Wanted("replayed", "ana@desk", time.time(), DAY, **more)


def discard(note: str = "") -> Wanted:
    return Wanted("discarded", "ana@desk", time.time(), DAY, note)


def replaying(shop: Bus) -> Replaying:
    return Replaying(shop.jetstream.connection, shop.subjects, shop.nats.lanes)


async def open_letters(shop: Bus) -> list[Glance]:
    return await Letters(shop.jetstream, shop.subjects).glances()


async def letters_of(shop: Bus, count: int) -> Sequence[Glance]:
    return await eventually(lambda: open_letters(shop), lambda found: len(found) == count)


async def bury(shop: Bus, key: int, reason: Reason = "rejected", size: int = 0) -> None:
    """size: of its message."""
    graves = Graveyard(shop.jetstream, shop.subjects, shop.nats.lanes)
    await graves.bury(key, reason, message="x" * size)


async def test_what_was_mended_is_replayed_with_the_mapping_in_force_and_the_same_key(
    shop: Bus, erp: PlainErp
) -> None:
    await shop.apply(acme(erp, UPSERT.replace("after.n", "after.absent")))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    [letter] = await letters_of(shop, 1)
    assert (letter.reason, letter.class_, letter.event_id) == ("mapping", "missing", "shop:0/1:1")
    await shop.apply(acme(erp))
    ending = await replaying(shop).settle(letter.id, replay())
    assert isinstance(ending, Ended)
    await erp.until(lambda: order_at_erp(erp) == {"1": [1]})
    assert await open_letters(shop) == []
    [call] = erp.calls
    assert call.headers["idempotency-key"] == "shop:0/1:1/acme/orders"
    [_, copy] = await shop.stored("DELIVERIES", "deliveries.>")
    assert (copy.seq, copy.headers["Bridge-Replay"]) == (ending.tombstone.replayed, str(letter.id.seq))
    again = await replaying(shop).settle(letter.id, replay())
    assert again == replace(ending, ours=False)
    assert await replaying(shop).settle(letter.id, discard()) == replace(ending, ours=False)


@pytest.mark.parametrize("reason", ["exhausted", "uncertain", "expired", "removed"])
async def test_each_reason_can_be_replayed(shop: Bus, erp: PlainErp, reason: str) -> None:
    usual = acme(erp, UNSAFE if reason == "uncertain" else UPSERT)
    worse = {
        "exhausted": acme(erp, retry=RetryPolicy(max_attempts=1, initial_s=0.02, factor=1, max_s=0.1)),
        "expired": acme(erp, deadline_s=0.01),
    }.get(reason, usual)
    if reason != "removed":
        erp.script([Step(cut="after")])
    await shop.apply(worse)
    stop = shop.route()
    await shop.change(1, 1)
    await eventually(lambda: shop.stored("DELIVERIES", "deliveries.>"), bool)
    await stop()
    if reason == "removed":
        await shop.apply(replace(usual, routes={}))
    shop.work()
    [letter] = await letters_of(shop, 1)
    assert letter.reason == reason
    before = len(erp.calls)
    erp.script([])
    await shop.apply(usual)
    await replaying(shop).settle(letter.id, replay())
    # its deadline and its attempts are fresh, and an intent of before does not stop it
    await erp.until(lambda: len(erp.calls) == before + 1)
    await shop.settled()
    assert await open_letters(shop) == []


async def test_a_new_key_is_another_and_refused_where_it_may_have_arrived(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(NO), Step(NO)])
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    await shop.change(1, 1)
    [first] = await letters_of(shop, 1)
    await replaying(shop).settle(first.id, replay(new_key=True))
    [second] = await eventually(
        lambda: open_letters(shop), lambda found: [one.id for one in found] not in ([], [first.id])
    )
    assert second.original == first.id.seq
    [payload] = [one for one in await shop.dead_letters() if "delivery_id" in one]
    assert payload["delivery_id"] == f"shop:0/1:1/acme/orders@{first.id.seq}"
    await replaying(shop).settle(second.id, replay())
    await erp.until(lambda: order_at_erp(erp) == {"1": [1]})
    keys = [call.headers["idempotency-key"] for call in erp.calls]
    assert keys == ["shop:0/1:1/acme/orders", *[f"shop:0/1:1/acme/orders@{first.id.seq}"] * 2]
    await bury(shop, 9, "uncertain")
    [uncertain] = await letters_of(shop, 1)
    assert isinstance(await replaying(shop).settle(uncertain.id, replay(new_key=True)), Denied)
    assert await letters_of(shop, 1)


async def test_a_big_event_is_replayed_by_its_object(shop: Bus, erp: PlainErp) -> None:
    erp.script([Step(NO)])
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    await shop.big_change(1, 1)
    [letter] = await letters_of(shop, 1)
    await replaying(shop).settle(letter.id, replay())
    await erp.until(lambda: order_at_erp(erp) == {"1": [1]})


async def test_operators_at_once_send_it_once(shop: Bus) -> None:
    for key in range(1, 6):
        await bury(shop, key)
    async with await connect(shop.nats, name="another", reconnect=False) as other:
        hands = [replaying(shop), Replaying(other, shop.subjects, shop.nats.lanes)] * 2
        endings = await asyncio.gather(
            *(hand.settle(letter.id, replay()) for letter in await open_letters(shop) for hand in hands)
        )
    assert sum(isinstance(ending, Ended) and ending.ours for ending in endings) == 5
    copies = [m for m in await shop.stored("DELIVERIES", "deliveries.>") if "Bridge-Replay" in m.headers]
    assert len(copies) == 5
    assert await open_letters(shop) == []


async def test_a_tombstone_keeps_a_late_keeper_away_and_expires(shop: Bus) -> None:
    await bury(shop, 1)
    [letter] = await open_letters(shop)
    await replaying(shop).settle(letter.id, replace(discard("a test order"), lives_s=1))
    delivery = DeliveryId("acme", "orders", "", 0, letter.id.seq)
    await DeadLetterStore(shop.jetstream, shop.subjects).write(delivery, b"{}", b"", WriteHooks(lambda: None))
    [stored] = await shop.stored("DLQ")
    tombstone = read_tombstone(stored.headers, stored.payload)
    assert tombstone is not None
    assert (tombstone.verdict, tombstone.by, tombstone.note) == ("discarded", "ana@desk", "a test order")
    stream = shop.subjects.stream("DLQ")
    info = await eventually(
        lambda: shop.jetstream.stream_info(stream), lambda found: not (found or {})["state"]["messages"]
    )
    assert info is not None


async def test_nothing_ages_out_of_dlq(shop: Bus) -> None:
    info = await shop.jetstream.stream_info(shop.subjects.stream("DLQ"))
    assert info is not None
    limits = ("max_age", "max_msgs", "discard", "max_msgs_per_subject")
    assert [info["config"].get(name) for name in limits] == [0, -1, "new", 1]
    await bury(shop, 1)
    [letter] = await shop.stored("DLQ")
    assert "Nats-TTL" not in letter.headers


async def test_a_full_dlq_makes_room_by_replay_and_discard(shop: Bus) -> None:
    for key in range(1, 4):
        await bury(shop, key, size=500)
    stream = shop.subjects.stream("DLQ")
    info = await shop.jetstream.stream_info(stream)
    assert info is not None
    await shop.jetstream.update_stream(info["config"] | {"max_bytes": info["state"]["bytes"]})
    first, second, third = await open_letters(shop)
    assert isinstance(await replaying(shop).settle(first.id, replay()), Ended)
    assert isinstance(await replaying(shop).settle(second.id, discard("x" * 100)), Ended)
    assert [one.id for one in await open_letters(shop)] == [third.id]


async def test_a_replay_waits_while_deliveries_is_full_and_says_so(shop: Bus) -> None:
    await bury(shop, 1)
    [letter] = await open_letters(shop)
    stream = shop.subjects.stream("DELIVERIES")
    info = await shop.jetstream.stream_info(stream)
    assert info is not None
    await shop.jetstream.update_stream(info["config"] | {"max_bytes": info["state"]["bytes"]})
    refused = asyncio.Event()
    codes: list[int | None] = []

    def waits(code: int | None) -> None:
        codes.append(code)
        refused.set()

    hand = Replaying(shop.jetstream.connection, shop.subjects, shop.nats.lanes, waits)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        settling = tasks.create_task(hand.settle(letter.id, replay()))
        await refused.wait()
        await shop.jetstream.update_stream(info["config"])
    assert codes[0] == 10077
    assert isinstance(settling.result(), Ended)


async def test_a_copy_whose_operator_was_killed_is_found_and_not_sent_again(shop: Bus) -> None:
    await bury(shop, 1)
    [letter] = await open_letters(shop)
    claim = Marker(f"replay-{letter.id.seq}-a", by="ben", at=1.0, lives_s=DAY)
    subject = shop.subjects.replay("acme", "orders", letter.id.seq)
    await shop.jetstream.publish(subject, _encoded(claim), position_headers(0))
    headers = header_lines({"Bridge-Replay-Id": claim.token})
    copy = await shop.jetstream.publish(shop.subjects.delivery(0, "acme", "orders"), b"{}", headers)
    ending = await replaying(shop).settle(letter.id, discard())
    assert ending == Ended(Tombstone(copy, "ben", 1.0), ours=False)


async def test_a_copy_that_comes_late_is_refused(shop: Bus) -> None:
    await bury(shop, 1)
    [letter] = await open_letters(shop)
    hand = replaying(shop)
    steps = settle_letter(replay(), lambda: "replay-late")
    request: Any = steps.send(None)
    while not isinstance(request, SendCopy):
        request = steps.send(await hand._answer(letter.id, request, 0))
    assert isinstance(await hand.settle(letter.id, discard()), Ended)
    assert await hand._answer(letter.id, request, 0) == Written(None, 10071)
    assert len(await shop.stored("DELIVERIES", "deliveries.>")) == 1


async def test_the_keeper_ends_what_was_begun_and_says_what_a_purge_must_leave(shop: Bus) -> None:
    await bury(shop, 1)
    await bury(shop, 2)
    first, second = await open_letters(shop)
    hand = replaying(shop)
    begun = BegunReplays(shop.jetstream, shop.subjects, hand)
    verdict = Marker("replay-x", verdict="discarded", lives_s=DAY, by="ben", at=time.time())
    claim = Marker("replay-y", lives_s=DAY, by="ben", at=time.time())
    for letter, marker in ((first, verdict), (second, claim)):
        subject = shop.subjects.replay("acme", "orders", letter.id.seq)
        await shop.jetstream.publish(subject, _encoded(marker), position_headers(0))
    found = await hand.marker(second.id)
    assert found is not None
    assert await begun.finish(time.time()) == found.seq
    assert [one.id for one in await open_letters(shop)] == [second.id]
    assert await begun.finish(time.time(), grace_s=-1) is None
    assert await begun.finish(time.time(), grace_s=-1) is None
    assert isinstance(await hand.settle(second.id, replay()), Ended)


async def test_a_marker_goes_when_its_tombstone_has_had_its_time(shop: Bus) -> None:
    await bury(shop, 1)
    [letter] = await open_letters(shop)
    hand = replaying(shop)
    await hand.settle(letter.id, replace(discard(), lives_s=1))
    begun = BegunReplays(shop.jetstream, shop.subjects, hand)
    assert await begun.finish(time.time()) is None
    assert await hand.marker(letter.id) is not None
    await eventually(lambda: hand.letter(letter.id), lambda found: found is None)
    assert await begun.finish(time.time()) is None
    assert await hand.marker(letter.id) is None


def _encoded(marker: Marker) -> bytes:
    return msgspec.json.encode(marker)


async def test_open_dead_letters_are_counted_by_reason(shop: Bus) -> None:
    def told(reason: str) -> float | None:
        return REGISTRY.get_sample_value(
            "bridge_dead_letters", {"tenant": "acme", "route": "orders", "reason": reason}
        )

    upkeep = LetterUpkeep(shop.jetstream, shop.subjects)
    await bury(shop, 1)
    await bury(shop, 2)
    await bury(shop, 3, "mapping")
    await upkeep.count()
    assert (told("rejected"), told("mapping")) == (2, 1)
    last = (await open_letters(shop))[-1]
    await replaying(shop).settle(last.id, discard())
    await upkeep.count()
    assert (told("rejected"), told("mapping")) == (2, None)


async def test_the_tombstone_tells_the_copy(shop: Bus) -> None:
    await bury(shop, 1)
    [letter] = await open_letters(shop)
    ending = await replaying(shop).settle(letter.id, replay())
    [stored] = await shop.stored("DLQ")
    assert isinstance(ending, Ended)
    assert read_tombstone(stored.headers) == Tombstone(ending.tombstone.replayed)
    assert stored.headers["Nats-TTL"] == f"{DAY}s"
