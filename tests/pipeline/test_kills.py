"""`bridge run` killed at any moment: every delivery happens, each key in order, repeated only as the same request."""

import asyncio
import contextlib
import json
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.demo.erp_plain import PlainErp
from bridge.demo.nats_server import EmbeddedNats
from eventbus.buckets import Bucket
from eventbus.errors import EventBusError
from eventbus.subjects import lane_of
from pipeline.lease import Lease, read_lease
from tests.pipeline.delivering import Bus, acme, bus, eventually, order_at_erp

KEYS = 6


class Runner:
    """`bridge run` of one role, as a process."""

    def __init__(self, shop: Bus, folder: Path, role: str) -> None:
        self._config = folder / "bridge.yaml"
        self._role = role
        self._process: Process | None = None
        nats = {
            "servers": list(shop.nats.servers),
            "namespace": shop.nats.namespace,
            "lanes": shop.nats.lanes,
        }
        streams = {
            "events": {"max_bytes": "64MB"},
            "deliveries": {"max_bytes": "64MB"},
            "attempts": {"max_bytes": "16MB"},
            "dlq": {"max_bytes": "16MB"},
        }
        settings = {
            "sources": {"shop": {"dsn": "postgresql://nowhere/shop", "tables": {"public.orders": {}}}},
            "nats": nats,
            "streams": streams,
            "egress": {"allow": ["127.0.0.0/8"]},
        }
        self._config.write_text(json.dumps(settings))

    async def start(self) -> None:
        command = (sys.executable, "-m", "bridge", "run", "--role", self._role, "--config", str(self._config))
        self._process = await asyncio.create_subprocess_exec(*command, stderr=DEVNULL)

    async def kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def owns(self, lease: Lease) -> bool:
        assert self._process is not None
        return f"-{self._process.pid}-" in lease.owner

    async def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Waits for its end; its exit status."""
        assert self._process is not None
        return await self._process.wait()


@contextlib.asynccontextmanager
async def running(shop: Bus, folder: Path, *roles: str) -> AsyncIterator[list[Runner]]:
    runners = [Runner(shop, folder, role) for role in roles]
    try:
        for runner in runners:
            await runner.start()
        yield runners
    finally:
        for runner in runners:
            await runner.kill()


def check(erp: PlainErp, total: int) -> None:
    """Nothing lost; each key in order; a repeated request has its first one's key and stands where it may."""
    assert order_at_erp(erp) == {str(key): list(range(key, total, KEYS)) for key in range(KEYS)}
    bodies: dict[str, Counter[str]] = {}
    for call in erp.calls:
        bodies.setdefault(call.idempotency_key, Counter())[json.dumps(call.body)] += 1
    assert len(bodies) == total
    assert all(len(found) == 1 for found in bodies.values())


async def feed(shop: Bus, first: int, last: int, pause: float = 0.0) -> None:
    for n in range(first, last):
        await change_surely(shop, n)
        await asyncio.sleep(pause)


async def change_surely(shop: Bus, n: int) -> None:
    """As capture does: until it is stored, and once, whatever is killed meanwhile."""
    while True:
        try:
            await shop.change(n % KEYS, n)
        except EventBusError:
            if await eventually(lambda: is_stored(shop, n), lambda found: found is not None):
                return
        else:
            return


async def is_stored(shop: Bus, n: int) -> bool | None:
    """None: the server does not say."""
    try:
        stored = await shop.stored("EVENTS", "events.>")
    except EventBusError:
        return None
    return any(json.loads(event.payload)["after"]["n"] == n for event in stored)


async def test_a_killed_worker_loses_nothing(
    nats_server: EmbeddedNats, namespace: str, erp: PlainErp, tmp_path: Path
) -> None:
    async with bus(nats_server.url, namespace) as shop:
        await shop.apply(acme(erp))
        shop.route()
        async with running(shop, tmp_path, "worker") as (worker,):
            feeding = asyncio.create_task(feed(shop, 0, 120, 0.01))
            await erp.until(lambda: len(erp.effects) >= 30, timeout_s=20)
            await worker.kill()
            await worker.start()
            await feeding
            await erp.until(lambda: len(erp.effects) == 120, timeout_s=30)
            await shop.settled()
            assert await worker.stop() == 0
        check(erp, 120)
        assert await shop.dead_letters() == []


async def test_a_killed_server_loses_nothing(own_nats: EmbeddedNats, erp: PlainErp) -> None:
    async with bus(own_nats.url, "") as shop:
        await shop.apply(acme(erp))
        shop.route()
        shop.work()
        await feed(shop, 0, 30)
        await erp.until(lambda: len(erp.effects) >= 10)
        await own_nats.kill()
        await own_nats.start()
        await feed(shop, 30, 60)
        await erp.until(lambda: len(erp.effects) == 60, timeout_s=30)
        check(erp, 60)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1])
async def test_kills_at_random(own_nats: EmbeddedNats, erp: PlainErp, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with (
        bus(own_nats.url, "") as shop,
        running(shop, tmp_path, "router", "router", "worker", "worker") as runners,
    ):
        await shop.apply(acme(erp))
        feeding = asyncio.create_task(feed(shop, 0, 600, 0.1))
        for _ in range(12):
            await asyncio.sleep(chance.uniform(1, 8))
            victims: list[Runner | EmbeddedNats] = [*runners, own_nats]
            victim = chance.choice(victims)
            await victim.kill()
            await asyncio.sleep(chance.uniform(0, 1))
            await victim.start()
        await feeding
        await erp.until(lambda: len(erp.effects) >= 600, timeout_s=120)
        await shop.settled(60)
        check(erp, 600)
        assert await shop.dead_letters() == []


@pytest.mark.slow
async def test_an_owner_that_was_stopped_sends_nothing_when_it_goes_on(
    nats_server: EmbeddedNats, namespace: str, erp: PlainErp, tmp_path: Path
) -> None:
    async with (
        bus(nats_server.url, namespace) as shop,
        running(shop, tmp_path, "worker", "worker") as workers,
    ):
        await shop.apply(acme(erp))
        shop.route()
        feeding = asyncio.create_task(feed(shop, 0, 300, 0.005))
        await erp.until(lambda: len(erp.effects) >= 30, timeout_s=20)
        lanes = Bucket(shop.jetstream, shop.subjects.bucket("LANES"))
        entry = await lanes.get(f"lease.{lane_of('acme', shop.nats.lanes)}")
        lease = read_lease(entry.value) if entry else None
        assert lease is not None
        [owner] = [worker for worker in workers if worker.owns(lease)]
        owner.signal(signal.SIGSTOP)
        try:
            await feeding
            await erp.until(lambda: len(erp.effects) == 300, timeout_s=30)
            await shop.settled()
            before = len(erp.calls)
        finally:
            owner.signal(signal.SIGCONT)
        await feed(shop, 300, 400, 0.02)
        await erp.until(lambda: len(erp.effects) == 400, timeout_s=30)
        check(erp, 400)
        assert len(erp.calls) == before + 100
        assert await owner.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2])
async def test_kills_while_the_erp_comes_and_goes(
    own_nats: EmbeddedNats, erp: PlainErp, tmp_path: Path, seed: int
) -> None:
    """Routes leave their lane and come back all the time, and whoever is at work is killed at it."""
    chance = random.Random(seed)
    async with bus(own_nats.url, "") as shop, running(shop, tmp_path, "worker", "worker") as runners:
        await shop.apply(acme(erp))
        shop.route()
        feeding = asyncio.create_task(feed(shop, 0, 600, 0.08))
        for _ in range(10):
            await asyncio.sleep(chance.uniform(0.5, 2))
            erp.unavailable()
            await asyncio.sleep(chance.uniform(0.5, 2))
            victims: list[Runner | EmbeddedNats] = [*runners, *runners, own_nats]
            victim = chance.choice(victims)
            await victim.kill()
            await erp.up()
            await asyncio.sleep(chance.uniform(0, 1))
            await victim.start()
        await feeding
        await erp.until(lambda: len(erp.effects) >= 600, timeout_s=120)
        await shop.back(60)
        await shop.settled(60)
        check(erp, 600)
        assert await shop.dead_letters() == []
