"""A tenant whose ERP is down while 100,000 events pile up behind it: are the others untouched, and is it drained in order?

They pile up at 2,500 a second and drain at the connection's own `rate_limit`, so that what is measured is the outage, and not
what a machine can do: events are routed in the order in which they came, and a flood that the router cannot follow holds
up everybody, with an outage or without.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.delivery_bus import Arrival, BenchTenant, event_writer, percentiles, pipeline
from bench.isolation import write

WARM_UP_S = 5.0
PILING_RATE = 2_500.0
DRAINING = "1000/s"


async def measure(events: int, tenants: int, rate: float, seconds: float, folder: Path) -> dict[str, Any]:
    """Delays of the others before, while and after the outage, and how the one is drained."""
    limits = {"concurrency": 16, "rate_limit": DRAINING, "breaker": {"open": "2s"}}
    down = BenchTenant(0, "/down", connection=limits)
    others = [BenchTenant(number) for number in range(1, tenants)]
    moments: dict[str, float] = {}
    async with (
        pipeline(folder / "bus", [down, *others]) as line,
        line.started("run", "--role", "router"),
        line.started("run", "--role", "worker"),
        event_writer(line.nats.url) as writer,
    ):
        moments["before"] = time.time() + WARM_UP_S
        count = len(await write(writer, others, rate, WARM_UP_S + seconds))
        moments["down"] = time.time()
        piling = asyncio.create_task(writer.put_many(down, events, PILING_RATE))
        while not piling.done():
            count += len(await write(writer, others, rate, 1.0))
        count += len(await write(writer, others, rate, seconds))
        moments["up"] = time.time()
        await line.erp.up()
        draining = asyncio.create_task(line.erp.booked(count + events, 300))
        while not draining.done():
            more = len(await write(writer, others, rate, 1.0))
            count += more
        await line.erp.booked(count + events, 300)
        arrivals = await line.erp.arrivals()
    return judged(arrivals, moments, down.name)


def judged(arrivals: Sequence[Arrival], moments: dict[str, float], down: str) -> dict[str, Any]:
    drained = [arrival for arrival in arrivals if down in arrival.path.split("/")]
    others = [arrival for arrival in arrivals if down not in arrival.path.split("/")]
    found: dict[str, Any] = {}
    names = list(moments)
    for name, until in zip(names, [*list(moments.values())[1:], float("inf")], strict=True):
        found[name] = percentiles(
            arrival.at - float(arrival.body["written"])
            for arrival in others
            if moments[name] <= float(arrival.body["written"]) < until
        )
    found["drained"] = len(drained)
    found["drained_in_s"] = round(drained[-1].at - moments["up"], 1)
    found["late_start_s"] = round(drained[0].at - moments["up"], 1)
    found["out_of_order"] = out_of_order(drained)
    return found


def out_of_order(arrivals: Iterable[Arrival]) -> int:
    """Requests of a key that came after a later one of the same key."""
    latest: dict[str, int] = defaultdict(int)
    wrong = 0
    for arrival in arrivals:
        sequence = int(arrival.body["sequence"])
        wrong += sequence < latest[arrival.path]
        latest[arrival.path] = max(latest[arrival.path], sequence)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        found = asyncio.run(
            measure(options.events, options.tenants, options.rate, options.seconds, Path(temporary))
        )
    say = Console(width=110).print
    for name, words in (
        ("before", "before the outage"),
        ("down", "while it is down"),
        ("up", "while it is drained"),
    ):
        say(f"the others, {words}: p50 {found[name]['p50_ms']} ms, p99 {found[name]['p99_ms']} ms")
    say(
        f"{found['drained']:,} events drained in {found['drained_in_s']} s of {DRAINING}, the first after {found['late_start_s']} s;"
        f" {found['out_of_order']} out of order"
    )
    print(json.dumps({"events": options.events, "results": found}))


if __name__ == "__main__":
    main()
