"""How many deliveries a second does one worker process make through each connector kind, and what does one cost it?

The whole worker, as in `bench.delivery`: what is to be delivered stands in DELIVERIES before it starts, the ERP is a process of
its own that answers at once. Rounds go over all kinds in turn, so that a machine that is busy for a while is so for
all of them; shown are medians, and each round's ratio to `rest`.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.delivery import TENANTS, measure
from bench.kind_rows import KINDS

BASE = "rest"
_MEASURED = ("per_second", "worker_us", "renderers_us")


def of_rounds(rounds: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """rounds: of each what `measure` found, by kind."""
    found = []
    for kind in rounds[0]:
        row: dict[str, Any] = {name: round(median(each[kind][name] for each in rounds)) for name in _MEASURED}
        if BASE in rounds[0]:
            costs = [each[kind]["worker_us"] / each[BASE]["worker_us"] for each in rounds]
            row["of_rest"] = round(median(costs), 2)
        found.append({"kind": kind, **row, "asked": KINDS[kind].asked})
    return found


async def run_round(kinds: Sequence[str], deliveries: int) -> dict[str, dict[str, Any]]:
    found = {}
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
            found[kind] = await measure(deliveries, 1, Path(temporary), kind)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kinds", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=16_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=f"of {', '.join(KINDS)}")
    options = parser.parse_args()
    rounds = [asyncio.run(run_round(options.kinds, options.deliveries)) for _ in range(options.rounds)]
    found = of_rounds(rounds)
    title = f"{options.deliveries:,} deliveries of {TENANTS} tenants, one worker; {options.rounds} rounds"
    table = Table(title=title)
    headings = ("kind", "deliveries/s", "asked", "CPU µs each, worker", "of rest", "its renderer")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for each in found:
        names = ("kind", "per_second", "asked", "worker_us", "of_rest", "renderers_us")
        table.add_row(*(str(each.get(name, "–")) for name in names))
    Console(width=100).print(table)
    print(json.dumps({"results": found, "rounds": rounds}))


if __name__ == "__main__":
    main()
