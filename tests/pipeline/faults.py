"""Tenants with ERPs of every temper, `bridge run` as processes, and what is done to them, written down for the checker."""

import asyncio
import contextlib
import math
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bridge.demo.nats_server import EmbeddedNats
from eventbus.buckets import Bucket
from eventbus.errors import ConnectionLost, EventBusError, NoAnswer
from eventbus.patience import patiently
from eventbus.subjects import lane_of
from pipeline.dlq.replay import Wanted
from pipeline.dlq.replaying import LetterId, Replaying
from pipeline.dlq.stored_letter import read_letter
from pipeline.dlq.tombstone import Verdict, read_tombstone
from pipeline.keeping.keeper import NAME
from pipeline.lanes.lease import read_lease
from pipeline.tenants.apply import Application
from pipeline.tenants.model import Tenant
from pipeline.tenants.store import RoutesStore
from tests.pipeline.delivering import MB, STREAMS, Bus, acme, bus, eventually
from tests.pipeline.delivery_checker import (
    Disturbance,
    History,
    Letter,
    Published,
    RouteName,
    Silence,
    Trouble,
    Victim,
    violations,
)
from tests.pipeline.feeder import Feeder
from tests.pipeline.processes import Runner, running
from tests.pipeline.scripted_erp import ScriptedErp, calm, cutting, flapping, refusing, throttling

SHORT = replace(STREAMS, deliveries_max_bytes=16 * MB, deliveries_keep=1.0, events_keep=20.0)
"""What is settled is purged all the while: whenever a keeper begins, and where its stream is nearly full."""
POISON = range(4, 100_000, 24)
"""Of tenant `refusing`, the fifth of six: every fourth of its changes."""
DAY = 86_400

T = TypeVar("T")


def tempers(seed: int = 0) -> dict[str, ScriptedErp]:
    """One ERP of each temper, by the tenant whose it is."""
    return {
        "calm": ScriptedErp(calm),
        "slow": ScriptedErp(calm, takes_s=0.05),
        "flapping": ScriptedErp(flapping(seed)),
        "cutting": ScriptedErp(cutting(7)),
        "refusing": ScriptedErp(refusing(POISON)),
        "throttling": ScriptedErp(throttling(40)),
    }


@dataclass(frozen=True, slots=True)
class Gap:
    """A tenant has no route for the events behind `since`, up to `until`: sequences of EVENTS."""

    tenant: str
    since: int
    until: float = math.inf


@dataclass
class Stage:
    """Everybody at work. erps: by their tenants' names; `feeder` publishes, `history` is what the checker wants."""

    shop: Bus
    server: EmbeddedNats
    erps: Mapping[str, ScriptedErp]
    workers: Sequence[Runner]
    routers: Sequence[Runner]
    feeder: Feeder
    reasons: list[str] = field(default_factory=lambda: ["rejected"])
    blocking: list[RouteName] = field(default_factory=list)
    _disturbances: list[Disturbance] = field(default_factory=list)
    _silences: list[Silence] = field(default_factory=list)
    _troubles: list[Trouble] = field(default_factory=list)
    _letters: dict[LetterId, Letter] = field(default_factory=dict)
    _gaps: list[Gap] = field(default_factory=list)

    def tenant(self, name: str, **route: Any) -> Tenant:
        """route: members of its route."""
        found = acme(self.erps[name], **route)
        endpoint = replace(found.connections["erp"], timeout_s=10.0)
        return replace(found, name=name, key=key_of(self.erps, name), connections={"erp": endpoint})

    async def apply(self, *others: Tenant) -> None:
        """others: in the place of the usual ones of their names."""
        named = {tenant.name: tenant for tenant in others}
        await self.shop.apply(*(named.get(name) or self.tenant(name) for name in self.erps))

    async def remove(self, tenant: str) -> None:
        """Its route."""
        since = await self._put_into_force(replace(self.tenant(tenant), routes={}))
        self._gaps.append(Gap(tenant, since))

    async def add(self, tenant: str) -> None:
        """The route that was removed."""
        until = await self._put_into_force(self.tenant(tenant))
        self._gaps.append(replace(self._gaps.pop(), until=until))

    async def _put_into_force(self, tenant: Tenant) -> int:
        """The sequence of EVENTS from which on its routes hold."""

        async def put() -> int:
            changes = await Application(self.shop.jetstream, self.shop.subjects).apply([tenant])
            for change in changes:
                if change.refusal is not None:  # what nobody answered has come about, and is found now
                    raise NoAnswer(str(change.refusal))
            return (await RoutesStore(self.shop.jetstream, self.shop.subjects).all())[tenant.name][0]

        return await surely(put)

    # ── What is done ─────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def disturbed(self, who: Victim) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._disturbances.append(Disturbance(who, began, time.monotonic()))

    async def kill(self, victim: Runner | EmbeddedNats, away_s: float = 0.0) -> None:
        """And starts it again."""
        with self.disturbed("server" if isinstance(victim, EmbeddedNats) else "worker"):
            await victim.kill()
            await asyncio.sleep(away_s)
            await victim.start()

    async def freeze(self, victim: Runner, seconds: float) -> None:
        with self.disturbed("worker"):
            victim.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                victim.signal(signal.SIGCONT)

    async def owner(self, tenant: str) -> Runner:
        """The worker that has the tenant's lane."""
        return await self._holder(str(lane_of(tenant, self.shop.nats.lanes)))

    async def keeper(self) -> Runner:
        """The worker that keeps house."""
        return await self._holder(NAME)

    async def _holder(self, what: str) -> Runner:
        lanes = Bucket(self.shop.jetstream, self.shop.subjects.bucket("LANES"))

        async def find() -> Runner | None:
            try:
                entry = await lanes.get(f"lease.{what}")
            except EventBusError:
                return None
            lease = read_lease(entry.value) if entry is not None and entry.value is not None else None
            if lease is None or lease.released:
                return None
            return next((worker for worker in self.workers if worker.owns(lease)), None)

        found = await eventually(find, lambda it: it is not None, 30)
        assert found is not None
        return found

    @contextlib.asynccontextmanager
    async def trouble(self, tenant: str) -> AsyncIterator[None]:
        """What the others were given within is done when it ends."""
        began = time.monotonic()
        yield
        fed = time.monotonic()
        neighbours = [one.id for one in self.feeder.published if one.route[0] != tenant and one.at >= began]
        await self.done(neighbours)
        self._troubles.append(Trouble((tenant, "orders"), began, fed, time.monotonic()))

    @contextlib.contextmanager
    def silent(self, tenant: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._silences.append(Silence((tenant, "orders"), began, time.monotonic()))

    async def decide(self, verdict: Verdict) -> None:
        """About every dead letter that is open, until each has it, whatever is killed meanwhile."""
        while open_ones := [found for found, one in (await self.letters()).items() if one.became == "open"]:
            for letter in sorted(open_ones, key=lambda one: one.seq):
                with contextlib.suppress(EventBusError):
                    replaying = Replaying(
                        self.shop.jetstream.connection, self.shop.subjects, self.shop.nats.lanes
                    )
                    await replaying.settle(letter, Wanted(verdict, "somebody", time.time(), DAY))

    # ── What came of it ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def wanted(self) -> list[Published]:
        """What was published, but for what came while its route was removed."""
        stored = self.feeder.stored
        return [
            one
            for one in self.feeder.published
            if not any(
                gap.tenant == one.route[0] and gap.since < stored.get(one.id, 0) <= gap.until
                for gap in self._gaps
            )
        ]

    def had_before(self, tenant: str) -> list[str]:
        """What the tenant's route had to deliver before it was removed last."""
        since = max((gap.since for gap in self._gaps if gap.tenant == tenant), default=0)
        stored = self.feeder.stored
        return [
            one.id for one in self.wanted if one.route[0] == tenant and 0 < stored.get(one.id, 0) <= since
        ]

    async def newest(self) -> int:
        """The sequence of the last delivery of all."""
        subjects = self.shop.subjects
        stream = subjects.stream("DELIVERIES")
        info = await surely(lambda: self.shop.jetstream.stream_info(stream))
        assert info is not None
        last: int = info["state"]["last_seq"]
        return last

    async def oldest(self, tenant: str) -> float:
        """The sequence of the tenant's first delivery that was not purged; infinite: none is left."""
        subjects = self.shop.subjects
        subject = subjects.deliveries_of(lane_of(tenant, self.shop.nats.lanes), tenant)
        found = await surely(
            lambda: self.shop.jetstream.next_message(subjects.stream("DELIVERIES"), subject, 1)
        )
        return math.inf if found is None else found.seq

    async def letters(self) -> dict[LetterId, Letter]:
        """All there ever were. What is replaced must have been read before."""
        for message in await self.shop.stored("DLQ", "dlq.>"):
            _, tenant, route, seq = message.subject.rsplit(".", 3)
            place = LetterId(tenant, route, int(seq))
            tombstone = read_tombstone(message.headers, message.payload)
            if tombstone is not None:
                self._letters[place] = replace(self._letters[place], became=tombstone.verdict)
            else:
                found = read_letter(message.payload)
                self._letters[place] = Letter(found.delivery_id, found.reason, found.attempts)
        return self._letters

    async def done(self, ids: Sequence[str], within: float = 60.0) -> None:
        """Waits until each was acknowledged or is a dead letter; within: so long it may take until fewer are left."""

        async def left() -> list[str]:
            acknowledged = {one.id for erp in self.erps.values() for one in erp.asked if one.acknowledged}
            open_ones = [found for found in ids if found not in acknowledged]
            if not open_ones:
                return []
            dead = {one.id for one in (await self.letters()).values() if one.became != "replayed"}
            return [found for found in open_ones if found not in dead]

        found = await left()
        while found:
            found = await eventually(left, partial(_is_less, found), within)

    async def verify(self) -> None:
        """Waits until nothing is left to do, and shows that all is as promised."""
        await self.done([one.id for one in self.wanted])
        await self.shop.settled(60)
        await self.letters()
        found = violations(self.history)
        assert not found, "\n".join(map(str, found[:20]))

    @property
    def history(self) -> History:
        asked = [one for erp in self.erps.values() for one in erp.asked]
        return History(
            self.wanted,
            sorted(asked, key=lambda one: one.began),
            list(self._letters.values()),
            self._disturbances,
            self._silences,
            self._troubles,
            self.reasons,
            self.blocking,
            {found for tenant in self.erps for found in self.had_before(tenant)},
        )


async def surely(ask: Callable[[], Awaitable[T]]) -> T:
    """Once the server that was killed a moment ago is there again."""
    async with asyncio.timeout(30):
        return await patiently(
            ask, lambda error: isinstance(error, ConnectionLost | NoAnswer), first=0.05, longest=0.5
        )


def _is_less(before: Sequence[str], now: Sequence[str]) -> bool:
    return len(now) < len(before)


def key_of(erps: Mapping[str, ScriptedErp], tenant: str) -> str:
    return str(list(erps).index(tenant) + 1)


@contextlib.asynccontextmanager
async def stage(
    server: EmbeddedNats, folder: Path, seed: int = 0, workers: int = 2, routers: int = 1
) -> AsyncIterator[Stage]:
    """The server is the test's own."""
    roles = ["router"] * routers + ["worker"] * workers
    async with contextlib.AsyncExitStack() as ending:
        erps = tempers(seed)
        for erp in erps.values():
            await ending.enter_async_context(erp)
        shop = await ending.enter_async_context(bus(server.url, "", 4, SHORT))
        feeder = Feeder(shop, {name: key_of(erps, name) for name in erps})
        runners = await ending.enter_async_context(running(shop, folder, *roles))
        yield Stage(shop, server, erps, runners[routers:], runners[:routers], feeder)
