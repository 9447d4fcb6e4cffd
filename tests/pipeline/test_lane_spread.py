"""Lanes are shared among the workers that are there: who should have which, and what moving one is like."""

import asyncio
import contextlib
import json
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Step
from bridge.demo.nats_server import EmbeddedNats
from eventbus.buckets import Bucket
from pipeline.lanes import lane_lease
from pipeline.lanes import lease as lease_module
from pipeline.lanes import turns as lane_turns
from pipeline.lanes.lane_lease import LaneLease, LeaseLost
from pipeline.lanes.lease import Lease, read_lease
from pipeline.lanes.membership import GONE_S, Member, Membership
from pipeline.lanes.spread import KEEP_S, NOBODY_S, SETTLE_S, LaneSpread, spread
from pipeline.tenants.model import Tenant
from tests.pipeline.delivering import Bus, acme, bus, eventually, order_at_erp
from tests.pipeline.processes import Runner, running

TENANTS = 8
workers_of = st.sets(st.uuids(), min_size=1, max_size=12).map(lambda found: [str(one) for one in found])


@given(st.integers(1, 64), workers_of, st.randoms())
def test_everybody_makes_the_same_shares_and_none_has_two_more(
    lanes: int, workers: list[str], chance: random.Random
) -> None:
    owners = spread(lanes, workers)
    chance.shuffle(workers)
    assert spread(lanes, workers) == owners
    load = Counter(owners)
    assert max(load.values()) - min(load.get(worker, 0) for worker in workers) <= 1


@given(workers_of.filter(lambda found: len(found) > 1))
def test_what_a_newcomer_does_not_get_stays_mostly_where_it_was(workers: list[str]) -> None:
    before, after = spread(64, workers[1:]), spread(64, workers)
    elsewhere = sum(was != now for was, now in zip(before, after, strict=True) if now != workers[0])
    assert elsewhere <= 64 // 4


def member(worker: str, *, stopping: bool = False) -> Member:
    return Member(worker, "host", 0.0, stopping=stopping)


def test_who_is_silent_or_stops_is_not_counted() -> None:
    found = Membership("me")
    assert found.workers == {"me"}
    assert not found.saw(member("me"), 0)
    assert found.saw(member("a"), 0)
    assert not found.saw(member("a"), 1)
    assert found.saw(member("b"), 2)
    assert not found.look(1 + GONE_S)
    assert found.look(1.1 + GONE_S)
    assert found.workers == {"me", "b"}
    assert found.saw(member("b", stopping=True), 3)
    assert found.workers == {"me"}
    found.saw(member("c"), 4)
    assert found.left("c", 4)
    assert not found.left("c", 4)


def test_a_lane_is_left_once_the_others_have_been_there_for_a_moment() -> None:
    share = LaneSpread(16, Membership("me"))
    assert not any(share.should_leave(lane, 0) for lane in range(16))
    share.membership.saw(member("other"), 10.0)
    theirs = [lane for lane in range(16) if not share.is_ours(lane)]
    assert len(theirs) == 8
    assert not any(share.should_leave(lane, 10.0 + SETTLE_S / 2) for lane in range(16))
    assert [lane for lane in range(16) if share.should_leave(lane, 10.0 + SETTLE_S)] == theirs
    share.membership.stopping = True
    assert not any(share.is_ours(lane) or share.may_try(lane, 0.0, 100.0) for lane in range(16))


def test_a_lane_that_nobody_comes_for_is_taken_and_kept_for_a_while() -> None:
    share = LaneSpread(16, Membership("me"))
    share.membership.saw(member("deaf"), 0.0)
    lane = next(lane for lane in range(16) if not share.is_ours(lane))
    assert not share.may_try(lane, 10.0, 10.0 + NOBODY_S - 0.1)
    assert share.may_try(lane, 10.0, 10.0 + NOBODY_S)
    share.taken(lane, 20.0)
    assert not share.should_leave(lane, 20.0 + KEEP_S - 0.1)
    assert share.should_leave(lane, 20.0 + KEEP_S)


# ── With servers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def tenants(erp: PlainErp) -> list[Tenant]:
    return [replace(acme(erp), name=f"t{number}", key=str(number)) for number in range(TENANTS)]


class Load:
    """Changes of every tenant in turn, of five keys each, until told to stop."""

    def __init__(self, shop: Bus, pause: float = 0.004) -> None:
        self._shop = shop
        self._pause = pause
        self._stop = asyncio.Event()
        self.total = 0

    async def run(self) -> None:
        while not self._stop.is_set():
            tenant = self.total % TENANTS
            key = tenant * 100 + self.total // TENANTS % 5
            await self._shop.change(key, self.total, tenant=str(tenant))
            self.total += 1
            await asyncio.sleep(self._pause)

    @contextlib.asynccontextmanager
    async def running(self) -> "AsyncIterator[Load]":
        task = asyncio.create_task(self.run())
        try:
            yield self
        finally:
            self._stop.set()
            await task

    def check(self, erp: PlainErp) -> None:
        """Each change arrived, each key in order, and none was asked for twice."""
        numbers = order_at_erp(erp)
        assert sorted(n for found in numbers.values() for n in found) == list(range(self.total))
        assert all(found == sorted(found) for found in numbers.values())
        assert len(erp.calls) == self.total


async def leases(shop: Bus) -> dict[int, Lease]:
    found = {}
    for message in await shop.stored("KV_LANES"):
        kind, _, number = message.subject.rpartition(".")
        lease = read_lease(message.payload)
        if kind.endswith("lease") and number.isdecimal() and lease is not None and not lease.released:
            found[int(number)] = lease
    return found


async def shares(shop: Bus) -> list[int]:
    """How many lanes each owner has."""
    owners = Counter(lease.owner.partition(".")[0] for lease in (await leases(shop)).values())
    return sorted(owners.values())


async def longest_pause(erp: PlainErp, since: float) -> float:
    """The longest that any tenant heard nothing, in seconds."""
    pauses = []
    for tenant in range(TENANTS):
        at = [
            call.at
            for call in erp.calls
            if int(call.path.rpartition("/")[2]) // 100 == tenant and call.at > since
        ]
        pauses += [later - earlier for earlier, later in pairwise(at)]
    return max(pauses)


async def test_workers_come_and_go_under_load_and_nobody_notices(
    nats_server: EmbeddedNats, namespace: str, erp: PlainErp
) -> None:
    async with bus(nats_server.url, namespace, lanes=8) as shop:
        await shop.apply(*tenants(erp))
        shop.route()
        stops = [shop.work()]
        async with Load(shop).running() as load:
            await erp.until(lambda: len({call.path for call in erp.calls}) == TENANTS * 5)
            since = time.time()
            stops.append(shop.work())
            await eventually(lambda: shares(shop), lambda found: found == [4, 4])
            await stops.pop(0)()
            await eventually(lambda: shares(shop), lambda found: found == [8])
            seen = len(erp.calls)
            await erp.until(lambda: len(erp.calls) > seen + 10 * TENANTS)
        await erp.until(lambda: len(erp.effects) == load.total)
        load.check(erp)
        # a fifth of a second where nobody else computes; a crash, or a pin that is not given up, costs five and more
        assert await longest_pause(erp, since) < 4
        await shop.settled()
        assert await shop.dead_letters() == []


async def test_a_lease_outlives_a_renewal_that_is_not_answered(
    shop: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_lease, "RENEW_S", 0.6)
    for module in (lane_lease, lease_module):
        monkeypatch.setattr(module, "VALID_S", 2.4)
    bucket = Bucket(shop.jetstream, shop.subjects.bucket("LANES"))
    lease = LaneLease(bucket, 0, "me.1", None)
    assert await lease.claim(0)
    update, times = bucket.update, 0

    async def silent_once(key: str, value: bytes, expected: int) -> int:
        nonlocal times
        revision, times = await update(key, value, expected), times + 1
        if times == 1:
            await asyncio.Event().wait()
        return revision

    monkeypatch.setattr(bucket, "update", silent_once)
    keeping = asyncio.create_task(lease.keep())
    ended, _ = await asyncio.wait([keeping], timeout=3.0)
    keeping.cancel()
    assert not ended
    lease.check()
    assert times >= 2


async def test_a_release_holds_although_a_renewal_was_under_way(
    shop: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_lease, "RENEW_S", 0.01)
    bucket = Bucket(shop.jetstream, shop.subjects.bucket("LANES"))
    lease = LaneLease(bucket, 0, "me.1", None)
    assert await lease.claim(0)
    await bucket.put("lease.0", msgspec.json.encode(Lease("me.1", time.time())))
    keeping = asyncio.create_task(lease.keep())
    await lease.release()
    assert await leases(shop) == {}
    with pytest.raises(LeaseLost):
        lease.check()
    # it does not end whoever is still leaving
    assert not (await asyncio.wait([keeping], timeout=0.1))[0]
    keeping.cancel()


async def test_a_request_that_hangs_does_not_keep_the_other_tenants_of_a_moving_lane_waiting(
    nats_server: EmbeddedNats, namespace: str, erp: PlainErp
) -> None:
    held = asyncio.Event()
    async with bus(nats_server.url, namespace, lanes=1) as shop:
        await shop.apply(*tenants(erp))
        shop.route()
        stop = shop.work()
        await shop.change(199, 0, tenant="1")
        await shop.settled_of(1)
        erp.script([Step(hold=held)])
        await shop.change(199, 1, tenant="1")
        await erp.until(lambda: len(erp.calls) == 2)
        shop.work()
        stopped = asyncio.ensure_future(stop())
        async with Load(shop).running() as load:
            await erp.until(lambda: len(erp.effects) > 50)
            assert not stopped.done()
            held.set()
            await stopped
            await eventually(lambda: shares(shop), lambda found: found == [1])
        await erp.until(lambda: len(erp.effects) == load.total + 2)
        assert len(erp.calls) == load.total + 2


class SlowErp(PlainErp):
    """It takes its time for every request, now more and now less: there is always one under way for long."""

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.3 + 0.13 * (len(self.calls) % 4))
        return await super()._serve(request)


async def test_an_erp_that_is_always_slow_does_not_keep_its_lane_from_moving(
    nats_server: EmbeddedNats, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_turns, "DRAIN_S", 0.1)
    async with SlowErp() as erp, bus(nats_server.url, namespace, lanes=1) as shop:
        await shop.apply(acme(erp))
        shop.route()
        stop = shop.work()
        for n in range(60):
            await shop.change(n, n)
        await erp.until(lambda: len(erp.calls) > 5)
        await stop()
        assert len(erp.effects) == len(erp.calls) < 40


async def test_a_request_that_outlasts_our_patience_is_made_again_by_the_next_owner(
    nats_server: EmbeddedNats, namespace: str, erp: PlainErp
) -> None:
    held = asyncio.Event()
    async with bus(nats_server.url, namespace, lanes=1) as shop:
        await shop.apply(acme(erp))
        shop.route()
        stop = shop.work(patience_s=0.3)
        await shop.change(1, 0)
        await shop.settled_of(1)
        erp.script([Step(hold=held)])
        await shop.change(1, 1)
        await shop.change(1, 2)
        await erp.until(lambda: len(erp.calls) == 2)
        shop.work()
        async with asyncio.timeout(2.5):  # the request itself would take three
            await stop()
        await erp.until(lambda: order_at_erp(erp) == {"1": [0, 1, 2]}, timeout_s=5)
        held.set()
        await shop.settled()
        assert [call.body["n"] for call in erp.calls] == [0, 1, 1, 2]
        assert erp.calls[1].idempotency_key == erp.calls[2].idempotency_key


async def test_processes_share_the_lanes_and_one_that_is_stopped_in_the_middle_of_a_request_finishes_it(
    nats_server: EmbeddedNats, namespace: str, erp: PlainErp, tmp_path: Path
) -> None:
    async with bus(nats_server.url, namespace, lanes=4) as shop:
        await shop.apply(*tenants(erp))
        shop.route()
        async with running(shop, tmp_path, "worker", "worker") as (one, two):
            await eventually(lambda: shares(shop), lambda found: found == [2, 2])
            async with Load(shop, 0.01).running() as load:
                await erp.until(lambda: len(erp.effects) > 50)
                held = asyncio.Event()
                erp.script([Step(hold=held)] * 4)
                seen = len(erp.calls)
                await erp.until(lambda: len(erp.calls) >= seen + 4)
                one.signal(signal.SIGTERM)
                held.set()
                assert await one.ended() == 0
                assert await shares(shop) in ([2], [3], [4])
                await eventually(lambda: shares(shop), lambda found: found == [4])
            await erp.until(lambda: len(erp.effects) == load.total, timeout_s=20)
            assert await two.stop() == 0
        load.check(erp)
        assert await shares(shop) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
async def test_workers_started_stopped_frozen_and_killed_at_random(
    nats_server: EmbeddedNats, namespace: str, erp: PlainErp, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    async with bus(nats_server.url, namespace, lanes=8) as shop:
        await shop.apply(*tenants(erp))
        shop.route()
        async with running(shop, tmp_path, "worker", "worker", "worker") as runners:
            async with Load(shop, 0.02).running() as load:
                for _ in range(8):
                    await asyncio.sleep(chance.uniform(0.5, 5))
                    await _disturb(chance.choice(runners), chance)
            await erp.until(lambda: len(erp.effects) == load.total, timeout_s=60)
            await shop.settled(60)
            await eventually(lambda: shares(shop), lambda found: found == [2, 3, 3], 30)
        numbers = order_at_erp(erp)
        assert sorted(n for found in numbers.values() for n in found) == list(range(load.total))
        assert all(found == sorted(found) for found in numbers.values())
        bodies: dict[str, set[str]] = {}
        for call in erp.calls:
            bodies.setdefault(call.idempotency_key, set()).add(json.dumps(call.body))
        assert all(len(found) == 1 for found in bodies.values())
        assert await shop.dead_letters() == []


async def _disturb(runner: Runner, chance: random.Random) -> None:
    match chance.choice(["stop", "kill", "freeze"]):
        case "stop":
            # or it had hardly started: then Python ends at once
            assert await runner.stop() in (0, -signal.SIGTERM)
            await runner.start()
        case "kill":
            await runner.kill()
            await runner.start()
        case _:
            runner.signal(signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(1, 12))
            runner.signal(signal.SIGCONT)
