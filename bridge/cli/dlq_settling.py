"""Replays or discards one dead letter after the other, at a rate, with progress; stopped at any time, it can go on."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bridge.cli.dlq_bus import LetterContext
from bridge.cli.errors import Unreachable
from bridge.cli.event_bus import event_bus
from bridge.settings import Settings
from eventbus.errors import ConnectionLost, JetStreamError, NoAnswer
from eventbus.event import encode_json
from eventbus.fence import SILENCE, waiting_reason
from eventbus.subjects import Subjects
from pipeline.dlq.letters import Glance
from pipeline.dlq.replay import Denied, Ended, Ending, Failed, Gone, Wanted
from pipeline.dlq.replaying import Replaying
from pipeline.dlq.tombstone import Verdict

FEW = 20
"""So many are told one by one."""

Outcome = Literal["done", "skipped", "failed"]


class Stopped(Exception):
    """We are to stop while something waits."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done to which letters, in this order. rate: letters a second."""

    glances: Sequence[Glance]
    wanted: Wanted
    rate: float | None = None
    as_json: bool = False

    @property
    def verdict(self) -> Verdict:
        return self.wanted.verdict


@dataclass(slots=True)
class Tally:
    """How many ended how; what is in none of them was not begun."""

    total: int
    counts: Counter[Outcome] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        return self.total - self.counts.total()

    def text(self, verdict: Verdict) -> str:
        done, skipped, failed = (self.counts[outcome] for outcome in ("done", "skipped", "failed"))
        text = f"{done:,} {verdict}, {skipped:,} skipped, {failed:,} failed"
        return f"{text}; stopped, {self.left:,} are left: the same command goes on" if self.left else text


class Settling:
    """One command's run through its letters."""

    def __init__(self, settings: Settings, work: Work, stop: asyncio.Event) -> None:
        self._settings = settings
        self._work = work
        self._stop = stop
        self._tally = Tally(len(work.glances))
        self._waits_for: int | None = None

    async def run(self) -> Tally:
        """Until all are done or `stop` is set. Raises Unreachable, which says how far it came."""
        verb = "replay" if self._work.verdict == "replayed" else "discard"
        try:
            async with event_bus(self._settings, f"bridge dlq {verb}") as jetstream:
                subjects = Subjects(self._settings.nats.namespace)
                lanes = self._settings.nats.lanes
                replaying = Replaying(jetstream.connection, subjects, lanes, self._waiting)
                with _progress(self._work) as show, suppress(Stopped):
                    await self._one_by_one(replaying, LetterContext(jetstream, subjects), show)
        except (ConnectionLost, NoAnswer, JetStreamError) as error:
            raise Unreachable(f"{error}; {self._tally.text(self._work.verdict)}") from None
        return self._tally

    async def _one_by_one(self, replaying: Replaying, context: LetterContext, show: "Show") -> None:
        now, rate = asyncio.get_running_loop().time, self._work.rate
        due = now()
        for glance in self._work.glances:
            if rate is not None:
                await self._until(due)
                due = max(due, now() - 1) + 1 / rate
            if self._stop.is_set():
                return
            ending = await self._settle(glance, replaying, context)
            outcome = _outcome(ending, self._work.verdict)
            self._tally.counts[outcome] += 1
            show(self._tally)
            self._say(glance, outcome, ending)

    async def _settle(self, glance: Glance, replaying: Replaying, context: LetterContext) -> Ending:
        if self._work.verdict == "replayed":
            tenant = await context.tenant(glance.id.tenant)
            if tenant is None or glance.id.route not in tenant.routes:
                return Denied(
                    "its route is not in force, it would die again: `bridge tenant apply` first, or discard it"
                )
        lives_s = await context.lives_s(glance, self._settings.streams.deliveries_deadline)
        wanted = replace(self._work.wanted, at=time.time(), lives_s=lives_s)
        return await replaying.settle(glance.id, wanted)

    async def _until(self, due: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._stop.wait()

    def _waiting(self, code: int | None) -> None:
        if self._stop.is_set():
            raise Stopped
        if code != self._waits_for and code not in _USUAL:
            self._waits_for = code
            click.echo(f"waiting: {waiting_reason(SILENCE if code is None else code)}", err=True)

    def _say(self, glance: Glance, outcome: Outcome, ending: Ending) -> None:
        if self._work.as_json:
            click.echo(encode_json(_ending_json(glance, outcome, ending)))
        elif outcome == "failed" or len(self._work.glances) <= FEW:
            click.echo(f"{glance.id.text}: {_ending_text(ending)}", err=outcome == "failed")


Show = Callable[[Tally], None]
_USUAL = (10071, 10164, 10176, 10210)
"""Somebody else is at the same letter, or many batches are under way: that is over in a moment."""


@contextmanager
def _progress(work: Work) -> Iterator[Show]:
    """A bar on a terminal."""
    if work.as_json or len(work.glances) <= FEW or not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(work.verdict, total=len(work.glances))
        yield lambda tally: bar.update(task, completed=tally.counts.total())


def _outcome(ending: Ending, verdict: Verdict) -> Outcome:
    match ending:
        case Ended(tombstone, ours):
            return "done" if ours and tombstone.verdict == verdict else "skipped"
        case Gone():
            return "skipped"
        case Denied() | Failed():
            return "failed"
        case _:
            assert_never(ending)


def _ending_text(ending: Ending) -> str:
    match ending:
        case Ended(tombstone, ours):
            end = "" if tombstone.replayed is None else f" as delivery {tombstone.replayed}"
            return f"{tombstone.verdict}{end}" + (
                "" if ours else f" already, by {tombstone.by or 'somebody'}"
            )
        case Gone():
            return "dealt with already"
        case Denied(why):
            return why
        case Failed(code):
            return f"JetStream refuses it (error {code}); it is as it was, or is finished by a worker within minutes"
        case _:
            assert_never(ending)


def _ending_json(glance: Glance, outcome: Outcome, ending: Ending) -> dict[str, object]:
    tombstone = ending.tombstone if isinstance(ending, Ended) else None
    return {
        "id": glance.id.text,
        "event_id": glance.event_id,
        "outcome": outcome,
        "verdict": tombstone.verdict if tombstone else None,
        "replayed_as": tombstone.replayed if tombstone else None,
        "message": _ending_text(ending),
    }
