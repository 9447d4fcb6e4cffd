"""How long a lane stands when it moves in order: a worker joins and is given lanes, and gives them back on SIGTERM.

One worker stays; another comes and goes under a steady load, beside them a router and mappings rendered in their jail. Of
each lane that moved: the longest time between two of its deliveries at the ERP, around the moment in which its lease
changed hands, and, to compare, the same of as many seconds in which nothing moved. Few lanes, so that each is busy.
"""

import argparse
import asyncio
import contextlib
import json
import tempfile
import time
from bisect import bisect
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from bench.delivery_bus import BenchTenant, EventWriter, Pipeline, event_writer, percentiles, pipeline
from eventbus.buckets import Bucket
from eventbus.connection import connect
from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects, lane_of
from pipeline.lanes.lease import read_lease

LANES = 4
TENANTS_PER_LANE = 2
QUIET_S = 4.0
AROUND_S = 2.0
"""So long before and after a lease's change its lane is looked at."""
Why = Literal["joins", "leaves", "stays"]


@dataclass(frozen=True, slots=True)
class Moved:
    """A lane has another owner. at: seconds since the epoch, by the server's clock, which is this machine's."""

    lane: int
    at: float
    why: Why


@dataclass
class Leases:
    """Which lanes move, and whose they are. why: what makes them move at present."""

    owners: dict[int, str] = field(default_factory=dict)
    moved: list[Moved] = field(default_factory=list)
    why: Why = "stays"
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, bucket: Bucket) -> None:
        async with bucket.watch("lease.*") as watch:
            entries = watch.initial
            while True:
                for entry in entries:
                    self._take(entry.key.removeprefix("lease."), entry.value, entry.time)
                entries = await watch.next()

    def _take(self, name: str, value: bytes | None, at: float) -> None:
        lease = read_lease(value)
        if lease is None or lease.released or not name.isdigit():
            return
        lane, owner = int(name), lease.owner.partition(".")[0]
        if self.owners.get(lane) not in (None, owner):
            self.moved.append(Moved(lane, at, self.why))
        self.owners[lane] = owner
        self.changed.set()

    async def shared_by(self, workers: int) -> None:
        """Returns once all lanes are theirs, evenly."""
        async with asyncio.timeout(60):
            while not self._are_shared_by(workers):
                self.changed.clear()
                await self.changed.wait()

    def _are_shared_by(self, workers: int) -> bool:
        held = list(self.owners.values())
        return len(held) == LANES and sorted(map(held.count, set(held))) == [LANES // workers] * workers


def busy_tenants() -> list[BenchTenant]:
    """As many in each lane, in turn."""
    lanes: dict[int, list[BenchTenant]] = defaultdict(list)
    for tenant in map(BenchTenant, count()):
        found = lanes[lane_of(tenant.name, LANES)]
        if len(found) < TENANTS_PER_LANE:
            found.append(tenant)
        if len(lanes) == LANES and all(len(each) == TENANTS_PER_LANE for each in lanes.values()):
            return [each[number] for number in range(TENANTS_PER_LANE) for each in lanes.values()]
    raise AssertionError


async def measure(rate: float, times: int, folder: Path) -> dict[str, Any]:
    tenants = busy_tenants()
    async with pipeline(folder, tenants, lanes=LANES) as line, event_writer(line.nats.url) as writer:
        async with (
            line.started("run", "--role", "router"),
            line.started("run", "--role", "worker"),
            following(line.nats.url) as leases,
        ):
            await leases.shared_by(1)
            loading = asyncio.create_task(load(writer, tenants, rate))
            try:
                await come_and_go(line, leases, times)
            finally:
                loading.cancel()
                await asyncio.wait([loading])
        arrivals = await line.erp.arrivals()
    came: dict[int, list[float]] = defaultdict(list)
    for arrival in arrivals:
        came[lane_of(arrival.path.split("/")[1], LANES)].append(arrival.at)
    return {why: percentiles(pauses(came, leases.moved, why)) for why in ("joins", "leaves", "stays")}


@contextlib.asynccontextmanager
async def following(url: str) -> AsyncIterator[Leases]:
    async with await connect(NatsSettings(servers=(url,)), name="bench", reconnect=False) as connection:
        leases = Leases()
        bucket = Bucket(JetStream(connection), Subjects().bucket("LANES"))
        task = asyncio.create_task(leases.follow(bucket))
        try:
            yield leases
        finally:
            task.cancel()
            await asyncio.wait([task])


async def load(writer: EventWriter, tenants: Sequence[BenchTenant], rate: float) -> None:
    """Events of each in turn, until cancelled."""
    began = time.monotonic()
    for number in count():
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        await writer.put(tenants[number % len(tenants)], time.time())


async def come_and_go(line: Pipeline, leases: Leases, times: int) -> None:
    for _ in range(times):
        leases.why = "joins"
        async with line.started("run", "--role", "worker"):
            await leases.shared_by(2)
            await stands_still(leases)
            leases.why = "leaves"
        await leases.shared_by(1)
        await stands_still(leases)


async def stands_still(leases: Leases) -> None:
    """Long enough to be looked at, as a time in which nothing moves."""
    await asyncio.sleep(QUIET_S)
    leases.moved += [Moved(lane, time.time() - AROUND_S, "stays") for lane in range(LANES)]
    await asyncio.sleep(QUIET_S)


def pauses(came: dict[int, list[float]], moved: Iterable[Moved], why: Why) -> list[float]:
    """Seconds, of each move the longest time without a delivery. came: when each lane's were at the ERP."""
    found = []
    for move in moved:
        if move.why == why:
            at = came[move.lane]
            around = at[bisect(at, move.at - AROUND_S) : bisect(at, move.at + AROUND_S)]
            found.append(max((after - before for before, after in pairwise(around)), default=2 * AROUND_S))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hand_over", description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--times", type=int, default=8, help="how often the second worker comes and goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        found = asyncio.run(measure(options.rate, options.times, Path(temporary)))
    for why, text in (
        ("joins", "a worker joins"),
        ("leaves", "a worker gets SIGTERM"),
        ("stays", "nothing moves"),
    ):
        of = found[why]
        Console(width=100).print(
            f"{text}: {of['deliveries']} lanes stood for p50 {of['p50_ms']} ms, p99 {of['p99_ms']} ms, max {of['max_ms']} ms"
        )
    print(json.dumps({"rate": options.rate, "lanes": LANES, "results": found}))


if __name__ == "__main__":
    main()
