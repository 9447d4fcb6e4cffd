"""One transaction of many rows: how long until all are in the stream, and how much memory its reader took at most."""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from bench.contenders import FracttalBridge, IntoJetStream, MqBridge, NotHere, replication_start, running
from bench.source import Source, prepare
from bench.stream import Stalled, filled
from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres

INSERT = """
INSERT INTO work_orders SELECT %(first)s + n, (4700 + n %% 20)::text, 'WO-' || n, 1, now(), now(), NULL, 3600, 0.00, 1273.1,
  false, 'planner', 'Replace the bearing of conveyor ' || n || ' and check its alignment', 'Two persons', 'Plant 3'
FROM generate_series(1, %(rows)s) n
"""


class Streaming(FracttalBridge):
    """Large transactions are sent while they run, and spooled."""

    name = "bridge cdc start, streaming"


class AtCommit(FracttalBridge):
    """Large transactions are sent when they commit."""

    name = "bridge cdc start, streaming: false"
    settings: Mapping[str, object] = MappingProxyType({"streaming": False})


async def measure(rows: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with EmbeddedPostgres(folder / "postgres") as server:
        source = await prepare(server, rows)
        kinds: tuple[type[MqBridge | FracttalBridge], ...] = (MqBridge, AtCommit, Streaming)
        for number, kind in enumerate(kinds):
            place = folder / f"{kind.__name__.lower()}"
            place.mkdir()
            contender = kind(place.name, place, "2m")
            try:
                await contender.prepare(source)
                found[contender.name] = await once(contender, source, number * rows)
            except NotHere as why:
                found[contender.name] = {"problem": f"skipped: {why}"}
            except (RuntimeError, Stalled, TimeoutError) as error:
                found[contender.name] = {"problem": f"failed: {error}"}
            else:
                await source.drop_slot(contender.slot)
    return found


async def once(contender: IntoJetStream, source: Source, first: int) -> dict[str, Any]:
    async with EmbeddedNats(contender.folder / "nats", sync_interval=contender.sync or "2m") as server:
        command = await contender.command(source, server.url)
        async with running(command, contender.folder) as process:
            await replication_start(source, contender.slot, process)
            async with await psycopg.AsyncConnection.connect(source.dsn) as connection:
                await connection.execute(INSERT, {"first": first, "rows": source.changes})
            committed = time.time()
            ended = await filled(server.url, contender.stream, contender.subjects, source.changes)
            return {
                "seconds_after_commit": round(ended - committed, 1),
                "peak_rss_mb": peak_rss_mb(process.pid),
            }


def peak_rss_mb(pid: int) -> int:
    """VmHWM of a living process (proc_pid_status(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise RuntimeError("the process is gone")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.large_transaction", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        found = asyncio.run(measure(options.rows, Path(temporary)))
    table = Table(title=f"One transaction of {options.rows:,} rows")
    for heading in ("contender", "s from commit to the last event", "peak RSS, MB"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    for name, figures in found.items():
        cells = [str(figures.get(key, "–")) for key in ("seconds_after_commit", "peak_rss_mb")]
        table.add_row(name, *cells)
    Console(width=100).print(table)
    print(json.dumps({"rows": options.rows, "results": found}))


if __name__ == "__main__":
    main()
