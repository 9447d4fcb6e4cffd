"""The demo in a terminal: one live table; where nobody watches a terminal, a line now and then."""

import contextlib
import time
from collections.abc import Callable, Iterator

import click
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from bridge.demo.judge import Verdict
from bridge.demo.scenario import Progress

Show = Callable[[Progress], None]
LINE_EVERY_S = 2.0


def say(line: str) -> None:
    """A step of the preparation, on stderr."""
    click.echo(f"· {line}", err=True)


@contextlib.contextmanager
def shown(console: Console) -> Iterator[Show]:
    """What to call with each look at the demo's progress."""
    rates = _Rates()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            yield lambda progress: live.update(_table(progress, rates.of(progress)))
        return
    last = 0.0

    def line(progress: Progress) -> None:
        nonlocal last
        rate = rates.of(progress)
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            console.print(_line(progress, rate), soft_wrap=True, highlight=False)

    yield line


class _Rates:
    """Deliveries a second, over the last few looks."""

    def __init__(self) -> None:
        self._looks: list[tuple[float, int]] = []

    def of(self, progress: Progress) -> float:
        self._looks = [*self._looks[-9:], (time.monotonic(), progress.delivered)]
        (start, before), (now, after) = self._looks[0], self._looks[-1]
        return (after - before) / (now - start) if now > start else 0.0


def _retried(progress: Progress) -> int:
    return max(0, progress.counts.attempts - progress.delivered - progress.counts.dead_lettered)


def _line(progress: Progress, rate: float) -> str:
    counts = progress.counts
    return (
        f"committed {progress.committed} · captured {counts.captured} (behind {_behind(progress)}) · "
        f"routed {counts.routed} · delivered {progress.delivered} ({rate:.0f}/s) · "
        f"retried {_retried(progress)} · dead letters {counts.dead_lettered} · lag {_lag(progress)}"
        + (" · the small ERP is down" if progress.outage else "")
    )


def _behind(progress: Progress) -> int:
    return max(0, progress.committed - progress.counts.captured)


def _lag(progress: Progress) -> str:
    return "–" if progress.lag is None else f"{progress.lag * 1000:.0f} ms"


def _table(progress: Progress, rate: float) -> Table:
    counts = progress.counts
    waiting = counts.routed - progress.delivered - counts.dead_lettered
    table = Table(title="Fracttal Bridge", caption="Ctrl-C ends it", title_style="bold")
    for column in ("step", "so far", "now"):
        table.add_column(column, justify="left" if column == "step" else "right")
    table.add_row("committed in PostgreSQL", str(progress.committed), "")
    table.add_row("captured into EVENTS", str(counts.captured), f"{_behind(progress)} behind")
    table.add_row("routed into DELIVERIES", str(counts.routed), "")
    table.add_row("delivered to the ERPs", str(progress.delivered), f"{rate:.0f}/s, lag {_lag(progress)}")
    table.add_row(
        "tried again", str(_retried(progress)), f"{max(0, waiting)} on their way or skipped by their mapping"
    )
    table.add_row("dead letters", str(counts.dead_lettered), "planted by the demo")
    table.add_section()
    for route, text in progress.latest.items():
        table.add_row(route, "", escape(text))
    if progress.outage:
        table.add_row("the small ERP", "[yellow]down[/yellow]", "its route waits")
    return table


def verdict_text(verdict: Verdict) -> str:
    """The result for people."""
    outcome = "nothing lost, nothing twice, each row in order" if verdict.holds else "IT DOES NOT HOLD"
    return (
        f"{outcome}: {verdict.committed} changes committed, {verdict.wanted} wanted by a route; "
        f"{verdict.delivered} delivered, {verdict.dead_lettered} dead letters (planted), {verdict.lost} lost, "
        f"{verdict.doubled} doubled, {verdict.misordered} rows out of order, {verdict.unplanned} unplanned\n"
        "(judged from the ERPs' own logs against the tables' history)"
    )
