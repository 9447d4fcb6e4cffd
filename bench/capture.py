"""Capture into JetStream, side by side: the same WAL, one contender after the other, each on its own slot.

Every contender starts with all changes already in the WAL, so what is measured is how fast it catches up,
warm-up included (which costs Java most: see more with `--changes 300000`). Ratios count, absolute figures
are this machine's.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.contenders import (
    Contender,
    Debezium,
    FracttalBridge,
    Measured,
    MqBridge,
    NotHere,
    PgRecvlogical,
)
from bench.source import Source, prepare, write_workload
from bench.stream import Stalled
from bridge.demo.postgres_server import EmbeddedPostgres

SYNCS = ("2m", "always")
LOG_TAIL_BYTES = 1_500


@dataclass(slots=True)
class Result:
    """A contender's runs, or why there is none."""

    name: str
    sync: str | None
    runs: list[Measured] = field(default_factory=list)
    problem: str | None = None

    def rate(self, changes: int) -> float | None:
        """Events a second, the median of the runs."""
        return statistics.median(changes / run.seconds for run in self.runs) if self.runs else None

    def cpu_us(self, changes: int) -> float | None:
        """Microseconds of the contender's CPU for an event, the median of the runs."""
        return statistics.median(run.cpu_s * 1e6 / changes for run in self.runs) if self.runs else None


def contenders(round_number: int, folder: Path) -> list[Contender]:
    """All of them, with slots and folders of this round."""

    def place(name: str) -> tuple[str, Path]:
        (path := folder / f"{name}_{round_number}").mkdir()
        return path.name, path

    return [
        PgRecvlogical(*place("recvlogical")),
        *(MqBridge(*place(f"mq_bridge_{sync}"), sync) for sync in SYNCS),
        *(FracttalBridge(*place(f"bridge_{sync}"), sync) for sync in SYNCS),
        Debezium(*place("debezium")),
    ]


async def measure(changes: int, rounds: int, only: str) -> list[Result]:
    results: dict[tuple[str, str | None], Result] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        async with EmbeddedPostgres(folder / "postgres") as server:
            source = await prepare(server, changes)
            runners = [r for n in range(rounds) for r in contenders(n, folder) if only in r.name]
            ready = [r for r in runners if await prepared(r, source, results)]
            source = await write_workload(source)
            for runner in ready:
                await run(runner, source, results[runner.name, runner.sync])
    return list(results.values())


async def prepared(runner: Contender, source: Source, results: dict[tuple[str, str | None], Result]) -> bool:
    result = results.setdefault((runner.name, runner.sync), Result(runner.name, runner.sync))
    try:
        await runner.prepare(source)
    except NotHere as why:
        result.problem = f"skipped: {why}"
    except RuntimeError as error:
        result.problem = f"failed: {error}\n{log_tail(runner.folder)}"
    return result.problem is None


async def run(runner: Contender, source: Source, result: Result) -> None:
    try:
        result.runs.append(await runner.run(source))
    except (RuntimeError, Stalled, TimeoutError) as error:
        result.problem = f"failed: {error}\n{log_tail(runner.folder)}"
    finally:
        await source.drop_slot(runner.slot)


def log_tail(folder: Path) -> str:
    log = folder / "contender.log"
    return log.read_text(errors="replace")[-LOG_TAIL_BYTES:] if log.exists() else ""


def report(results: Sequence[Result], changes: int) -> dict[str, Any]:
    """Rates and their ratios, to pg_recvlogical and to mq-bridge at the same sync_interval."""
    rates = {(r.name, r.sync): r.rate(changes) for r in results}

    def ratio(result: Result, other: tuple[str, str | None]) -> float | None:
        rate, base = rates[result.name, result.sync], rates.get(other)
        return round(rate / base, 3) if rate and base else None

    return {
        "changes": changes,
        "results": [
            {
                "contender": r.name,
                "sync_interval": r.sync,
                "events_per_s": _rounded(r.rate(changes)),
                "cpu_us_per_event": _rounded(r.cpu_us(changes), 1),
                "to_pg_recvlogical": ratio(r, (PgRecvlogical.name, None)),
                "to_mq_bridge": ratio(r, (MqBridge.name, r.sync or SYNCS[0])),
                "problem": r.problem,
            }
            for r in results
        ],
    }


def _rounded(value: float | None, digits: int | None = None) -> float | None:
    return None if value is None else round(value, digits)


def print_table(summary: dict[str, Any]) -> None:
    table = Table(title=f"Capture of {summary['changes']:,} single-row transactions")
    for heading in (
        "contender",
        "sync_interval",
        "events/s",
        "CPU µs/event",
        "of pg_recvlogical",
        "of mq-bridge",
    ):
        table.add_column(heading, justify="left" if heading in {"contender", "sync_interval"} else "right")
    for row in summary["results"]:
        figures = [row[k] for k in ("events_per_s", "cpu_us_per_event", "to_pg_recvlogical", "to_mq_bridge")]
        cells = ["–" if figure is None else f"{figure:,}" for figure in figures]
        table.add_row(row["contender"], row["sync_interval"] or "–", *cells)
    console = Console()
    if not console.is_terminal:
        console.width = 110
    console.print(table)
    for row in summary["results"]:
        if row["problem"]:
            console.print(f"{row['contender']}: {row['problem']}", markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each contender; the median counts")
    parser.add_argument("--only", default="", metavar="NAME", help="contenders whose name contains this")
    options = parser.parse_args()
    results = asyncio.run(measure(options.changes, options.rounds, options.only))
    summary = report(results, options.changes)
    print_table(summary)
    print(json.dumps(summary))
    if any((r.problem or "").startswith("failed") for r in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
