"""`bridge dlq replay`: dead letters are delivered again, with the mapping now in force."""

import asyncio
import re
import sys
from pathlib import Path

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.dlq_dry_run import dry_run
from bridge.cli.dlq_selection import Chosen, Selection, select, selecting
from bridge.cli.dlq_settling import FEW, Settling, Tally, Work
from bridge.cli.dlq_words import SUMMARY_HEAD, summary, table, when
from bridge.cli.errors import CommandError, Findings, Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.running import run, run_service
from bridge.cli.whoever_asks import whoever_asks
from bridge.settings import Settings, load_settings
from eventbus.event import encode_json
from eventbus.subjects import Subjects
from pipeline.dlq.replay import Wanted

_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)")
_PER = {"s": 1.0, "m": 60.0, "h": 3_600.0}


@click.command()
@selecting
@click.option("--all", "everything", is_flag=True, help="All that are open: nothing else is named.")
@click.option("--dry-run", "dry", is_flag=True, help="Show what would be sent now; send nothing.")
@click.option("--rate", metavar="N/s", help="At most so many, as 10/s or 600/m.")
@click.option(
    "--new-key", is_flag=True, help="Under another Idempotency-Key; refused where it may have arrived."
)
@click.option("--yes", is_flag=True, help="Do not ask before many.")
@config_option
@json_option
def replay(  # noqa: PLR0913 - an argument for each option
    chosen: Chosen,
    *,
    everything: bool,
    dry: bool,
    rate: str | None,
    new_key: bool,
    yes: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Deliver dead letters again, with the mapping now in force, under the same Idempotency-Key.

    Each is sent once, whatever is killed meanwhile: the same command goes on. Deliveries of one row keep their order.
    Exit 1 where one could not be replayed.
    """
    settings = load_settings(config, with_sources=False, with_secrets=False)
    per_second = _rate(rate)
    selection = chosen_letters(settings, chosen, everything=everything)
    if dry:
        if failed := run(dry_run(settings, config, selection.in_order, new_key=new_key, as_json=as_json)):
            raise Findings(f"{failed:,} of {len(selection.glances):,} would fail again; nothing was sent")
    elif selection.glances:
        if len(selection.glances) > FEW and sys.stdin.isatty() and not yes:
            ask("replay", selection)
        wanted = Wanted("replayed", whoever_asks(), 0.0, 0, new_key=new_key)
        settle(settings, Work(selection.in_order, wanted, per_second, as_json))
    not_found(selection)


def chosen_letters(settings: Settings, chosen: Chosen, *, everything: bool) -> Selection:
    """What is open of what was named. Raises Usage where nothing was."""
    if chosen.everything and not everything:
        raise Usage("say which: ids, --tenant, --route, --reason, --class, --since, --until; or --all")

    async def read() -> Selection:
        async with event_bus(settings, "bridge dlq") as jetstream:
            return await select(chosen, jetstream, Subjects(settings.nats.namespace))

    return run(read())


def ask(verb: str, selection: Selection) -> None:
    """Shows what it is about and asks; ends the command where the answer is no."""
    cells = [(f"{one[0]:,}", *one[1:4], when(one[4]), when(one[5])) for one in summary(selection.glances)]
    click.echo(table(SUMMARY_HEAD, cells, None), err=True)
    click.confirm(f"{verb.capitalize()} {len(selection.glances):,} dead letters?", abort=True, err=True)


def settle(settings: Settings, work: Work) -> None:
    """Does it, and says what came of it. Raises Findings where one failed."""

    async def serve(stop: asyncio.Event) -> Tally:
        return await Settling(settings, work, stop).run()

    tally = run_service(serve, settings.shutdown_timeout)
    if tally is None:
        raise CommandError("stopped before the last one was confirmed; the same command goes on")
    if work.as_json:
        counts = {"done": 0, "skipped": 0, "failed": 0} | tally.counts
        click.echo(encode_json({"summary": work.verdict, **counts, "left": tally.left}))
    else:
        click.echo(tally.text(work.verdict))
    if tally.counts["failed"]:
        raise Findings(f"{tally.counts['failed']:,} dead letters stay as they are")


def not_found(selection: Selection) -> None:
    """Raises Findings for ids that no open letter bears: they may be dealt with already."""
    if selection.unknown:
        raise Findings(
            f"no open dead letter is called {', '.join(selection.unknown)}; `bridge dlq list` shows them"
        )
    if not selection.glances:
        click.echo("no open dead letter is of these", err=True)


def _rate(written: str | None) -> float | None:
    if written is None:
        return None
    found = _RATE.fullmatch(written)
    if found is None or float(found[1]) == 0:
        raise Usage(f"--rate {written}: write letters a second or a minute, as 10/s or 600/m")
    return float(found[1]) / _PER[found[2]]
