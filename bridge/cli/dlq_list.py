"""`bridge dlq list` and `bridge dlq show`: what is stuck, why, and what to do about it."""

import asyncio
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.dlq_bus import LetterContext
from bridge.cli.dlq_selection import Chosen, Selection, select, selecting
from bridge.cli.dlq_words import (
    HEAD,
    SUMMARY_HEAD,
    SummaryRow,
    glance_json,
    row,
    shown,
    shown_json,
    summary,
    table,
    when,
)
from bridge.cli.errors import Findings, Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.running import run
from bridge.settings import Settings, load_settings
from eventbus.event import encode_json
from eventbus.subjects import Subjects
from pipeline.delivery.attempt import moment
from pipeline.dlq.letters import Glance, Letters, WholeLetter

_AT_ONCE = 100
Seen = tuple[Glance, WholeLetter | None]


@click.command("list")
@selecting
@click.option(
    "--limit", type=click.IntRange(1), help="At most so many, the newest; default: 50, with --json all."
)
@click.option("--summary", "as_summary", is_flag=True, help="How many, by route, reason and class.")
@config_option
@json_option
def list_letters(chosen: Chosen, limit: int | None, config: Path, *, as_summary: bool, as_json: bool) -> None:
    """What is stuck and why: open dead letters, newest first.

    An ID is what this shows, or an event's id.
    """
    settings = load_settings(config, with_sources=False, with_secrets=False)
    if limit is None and not as_json:
        limit = 50
    selection, seen = run(_read(settings, chosen, 0 if as_summary else limit))
    if as_summary:
        _say_summary(summary(selection.glances), as_json=as_json)
    elif as_json:
        for glance, whole in seen:
            click.echo(encode_json(glance_json(glance, whole)))
    else:
        _say_table(selection, seen)


async def _read(settings: Settings, chosen: Chosen, limit: int | None) -> tuple[Selection, list[Seen]]:
    async with event_bus(settings, "bridge dlq list") as jetstream:
        subjects = Subjects(settings.nats.namespace)
        selection = await select(chosen, jetstream, subjects)
        newest = sorted(selection.glances, key=lambda glance: glance.at, reverse=True)[:limit]
        letters, seen = Letters(jetstream, subjects), list[Seen]()
        for start in range(0, len(newest), _AT_ONCE):
            some = newest[start : start + _AT_ONCE]
            seen += zip(some, await asyncio.gather(*map(letters.whole, some)), strict=True)
        return selection, seen


def _say_table(selection: Selection, seen: Sequence[Seen]) -> None:
    if not seen:
        click.echo("no open dead letter" + (" is of these" if selection.unknown else ""))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(table(HEAD, [row(*one) for one in seen], width))
    total = len(selection.glances)
    more = (
        f"{len(seen)} of {total:,}; --limit N shows more, --summary counts them"
        if len(seen) < total
        else f"{total:,}"
    )
    click.echo(f"\nopen dead letters: {more}; `bridge dlq show ID` says what to do", err=True)


def _say_summary(rows: Sequence[SummaryRow], *, as_json: bool) -> None:
    if as_json:
        for count, route, reason, class_, oldest, newest in rows:
            tenant, _, name = route.partition("/")
            line = {"open": count, "tenant": tenant, "route": name, "reason": reason, "class": class_}
            click.echo(encode_json(line | {"oldest": moment(oldest), "newest": moment(newest)}))
    elif not rows:
        click.echo("no open dead letter")
    else:
        cells = [(f"{one[0]:,}", *one[1:4], when(one[4]), when(one[5])) for one in rows]
        click.echo(table(SUMMARY_HEAD, cells, None))


@click.command()
@selecting
@config_option
@json_option
def show(chosen: Chosen, config: Path, *, as_json: bool) -> None:
    """All that is known of a dead letter: event, error, answer, attempts, and what to do."""
    settings = load_settings(config, with_sources=False, with_secrets=False)
    if not chosen.ids:
        raise Usage("name a dead letter: `bridge dlq list` shows their ids")
    if unknown := run(_show(settings, chosen, as_json=as_json)):
        raise Findings(f"no open dead letter is called {', '.join(unknown)}; `bridge dlq list` shows them")


async def _show(settings: Settings, chosen: Chosen, *, as_json: bool) -> list[str]:
    async with event_bus(settings, "bridge dlq show") as jetstream:
        subjects = Subjects(settings.nats.namespace)
        selection = await select(chosen, jetstream, subjects)
        letters, context = Letters(jetstream, subjects), LetterContext(jetstream, subjects)
        for place, glance in enumerate(selection.in_order):
            whole = await letters.whole(glance)
            if whole is None:
                continue
            event, attempts = await context.event(whole), await context.attempts(glance, whole)
            if as_json:
                click.echo(shown_json(glance, whole, event, attempts))
            else:
                click.echo("\n" * bool(place) + shown(glance, whole, event, attempts))
        return selection.unknown
