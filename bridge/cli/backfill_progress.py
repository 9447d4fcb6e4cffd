"""How a backfill is shown: a line of it, and its progress until it ends."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from bridge.cli.cdc_words import print_line
from cdc.backfill.request import Asked
from cdc.backfill.run_record import RunRecord, State
from cdc.backfill.run_store import RunStore, StoredRun
from cdc.catalogue import Catalogue
from cdc.settings import SourceSettings

_EVERY_S = 0.5
_PLAIN_EVERY_S = 10.0
_PATIENCE_S = 2.0
"""What waits longer is told why."""


def record_json(stored: StoredRun) -> dict[str, object]:
    """One flat object."""
    record = stored.record
    return {
        "run": stored.run,
        "table": record.target.table,
        "tenant": record.target.tenant,
        "route": record.target.route,
        "state": record.state,
        "done": record.done,
        "rows": record.rows,
        "rate": record.rate,
        "by": record.by,
        "requested": record.requested,
        "started": record.started,
        "updated": record.updated,
        "error": record.error,
    }


def record_text(stored: StoredRun) -> str:
    record, target = stored.record, stored.record.target
    for_whom = f" of tenant {target.tenant}" * (target.tenant is not None)
    for_whom += f" for {target.route}" * (target.route is not None)
    line = f"{stored.run}  {target.table}{for_whom}: {record.state}, {_count(record)}, asked for by {record.by} at {record.requested}"
    return f"{line}\n    {record.error}" if record.error else line


def _count(record: RunRecord) -> str:
    estimate = f" of about {record.rows:,}" if record.rows is not None and record.is_open else ""
    return f"{record.done:,}{estimate} rows"


class Speed:
    """Rows a second over the last half minute, and what is left at that rate."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=60)

    def heard(self, now: float, done: int) -> None:
        self._samples.append((now, done))

    @property
    def rows_a_second(self) -> float:
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        return (after - before) / (last - first) if last > first else 0.0

    def seconds_left(self, record: RunRecord) -> int | None:
        """None: nobody can say."""
        rate = self.rows_a_second
        if record.rows is None or rate <= 0 or not record.is_open:
            return None
        return round(max(0, record.rows - record.done) / rate)

    def text(self, record: RunRecord) -> str:
        left = self.seconds_left(record)
        ends = "" if left is None else f", about {_duration(left)} left"
        return f"{_count(record)}, {self.rows_a_second:,.0f}/s{ends}"


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


async def follow(store: RunStore, source: SourceSettings, asked: Asked, *, as_json: bool) -> State:
    """Shows the run until it has ended; the state in which it has."""
    if asked.attached:
        click.echo(f"backfill {asked.run} is under way already: watching it", err=True)
    if as_json:
        return await _watch(store, source, asked.run, _json_lines())
    if not sys.stderr.isatty():
        return await _watch(store, source, asked.run, _plain_lines())
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TextColumn("{task.fields[speed]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task(asked.run, total=None, speed="")

        def show(stored: StoredRun, speed: Speed) -> None:
            record = stored.record
            bar.update(
                task,
                description=f"{record.target.table} {record.state}",
                completed=record.done,
                total=record.done if not record.is_open else max(record.rows or 1, record.done),
                speed=speed.text(record),
            )

        return await _watch(store, source, asked.run, show)


_Show = Callable[[StoredRun, Speed], None]


async def _watch(store: RunStore, source: SourceSettings, run: str, show: _Show) -> State:
    now, speed, told = asyncio.get_running_loop().time, Speed(), False
    began = now()
    while (stored := await store.get(run)) is not None:
        record = stored.record
        speed.heard(now(), record.done)
        show(stored, speed)
        if not record.is_open:
            if record.error:
                click.echo(record.error, err=True)
            return record.state
        if record.state == "waiting" and not told and now() - began > _PATIENCE_S:
            told = True
            click.echo(await _why_it_waits(source), err=True)
        await asyncio.sleep(_EVERY_S)
    return "cancelled"


async def _why_it_waits(source: SourceSettings) -> str:
    catalogue = await Catalogue.open(source.dsn)
    try:
        state = await catalogue.slot(source.slot, source.publication)
    finally:
        await catalogue.close()
    if state.active_pid is None:
        return f"nobody captures source {source.name}: it begins once `bridge cdc start` runs (Ctrl-C leaves it asked for)"
    return "it waits for capture, or for other backfills to end"


def _json_lines() -> _Show:
    last: list[object] = []

    def show(stored: StoredRun, speed: Speed) -> None:
        line = record_json(stored) | {
            "rows_a_second": round(speed.rows_a_second),
            "seconds_left": speed.seconds_left(stored.record),
        }
        what = (stored.record.state, stored.record.done)
        if last != [what]:
            last[:] = [what]
            print_line(line)

    return show


def _plain_lines() -> _Show:
    due = [0.0]

    def show(stored: StoredRun, speed: Speed) -> None:
        now = asyncio.get_running_loop().time()
        if now >= due[0] or not stored.record.is_open:
            due[0] = now + _PLAIN_EVERY_S
            text = f"{stored.run}  {stored.record.target.table}: {stored.record.state}, {speed.text(stored.record)}"
            click.echo(text, err=stored.record.is_open)

    return show
