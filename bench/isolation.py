"""Do tenants whose ERPs hang hold up the others? The same load in pairs of runs: all answer, and some hang for 30 seconds.

One run of a minute has some 120 delays beyond its p99, and a server that stops for a moment makes as many: the medians of
several pairs count.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.delivery_bus import BenchTenant, EventWriter, event_writer, percentiles, pipeline

WARM_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class Load:
    """tenants: how many; hanging: of them, in every second run; rate: events a second."""

    tenants: int
    hanging: int
    rate: float
    seconds: float


RUNS = ("all answer", "some hang")


async def measure(load: Load, rounds: int, folder: Path) -> dict[str, Any]:
    """Delays of the tenants that never hang, in the runs where all answer and in those where some do not: medians."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in RUNS}
    for number in range(rounds):
        for name in RUNS if number % 2 == 0 else reversed(RUNS):
            count = load.hanging if name == "some hang" else 0
            some = [BenchTenant(number, "/hang" if number < count else "") for number in range(load.tenants)]
            place = folder / f"{name.replace(' ', '-')}-{number}"
            runs[name].append(await run(some, some[load.hanging :], load.rate, load.seconds, place))
    found: dict[str, Any] = {
        name: {key: median(each[key] for each in runs[name]) for key in runs[name][0]} for name in RUNS
    }
    pairs = zip(*(runs[name] for name in RUNS), strict=True)
    found["p99_ratio"] = round(median(hang["p99_ms"] / well["p99_ms"] for well, hang in pairs), 2)
    return found


async def run(
    tenants: Sequence[BenchTenant], judged: Sequence[BenchTenant], rate: float, seconds: float, folder: Path
) -> dict[str, Any]:
    async with pipeline(folder, tenants) as line, line.started("run"), event_writer(line.nats.url) as writer:
        names = {tenant.name for tenant in judged}
        await writer.put(judged[0], time.time())
        await line.erp.booked(1, 60)
        began = time.time()
        written = await write(writer, tenants, rate, WARM_UP_S + seconds)
        await line.erp.booked(1 + sum(tenant.name in names for tenant in written), 120)
        arrivals = await line.erp.arrivals()
    return percentiles(
        arrival.at - float(arrival.body["written"])
        for arrival in arrivals
        if arrival.path.split("/")[1] in names and float(arrival.body["written"]) > began + WARM_UP_S
    )


async def write(
    writer: EventWriter, tenants: Sequence[BenchTenant], rate: float, seconds: float
) -> list[BenchTenant]:
    """Events of tenants drawn by lot, at a steady rate; whose they were."""
    lot, began, written = random.Random(7), time.monotonic(), []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        tenant = lot.choice(tenants)
        await writer.put(tenant, time.time())
        written.append(tenant)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.isolation", description=__doc__)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--hanging", type=int, default=10)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        load = Load(options.tenants, options.hanging, options.rate, options.seconds)
        found = asyncio.run(measure(load, options.rounds, Path(temporary)))
    table = Table(title=f"{options.tenants:,} tenants, {options.hanging} of them hang; the others' delays")
    for heading in ("run", "deliveries", "p50 ms", "p99 ms", "max ms"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for name in RUNS:
        table.add_row(name, *(str(found[name][key]) for key in ("deliveries", "p50_ms", "p99_ms", "max_ms")))
    Console(width=100).print(table)
    print(f"p99 with some that hang: {found['p99_ratio']} of the p99 without")
    print(json.dumps({"tenants": options.tenants, "hanging": options.hanging, "results": found}))


if __name__ == "__main__":
    main()
