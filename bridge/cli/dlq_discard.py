"""`bridge dlq discard`: dead letters that nobody needs any more."""

import sys
from pathlib import Path

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.dlq_replay import ask, chosen_letters, not_found, settle
from bridge.cli.dlq_selection import Chosen, selecting
from bridge.cli.dlq_settling import Work
from bridge.cli.errors import Usage
from bridge.cli.whoever_asks import whoever_asks
from bridge.settings import load_settings
from pipeline.dlq.replay import Wanted

LONGEST = 200
"""Of a reason: the tombstone must need less room than the dead letter, so that a full DLQ can be emptied."""


@click.command()
@selecting
@click.option("--all", "everything", is_flag=True, help="All that are open: nothing else is named.")
@click.option("--why", default="", metavar="TEXT", help="Why: kept with who and when.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@json_option
def discard(chosen: Chosen, *, everything: bool, why: str, yes: bool, config: Path, as_json: bool) -> None:
    """End dead letters for good: they are never delivered.

    Export them first if you are not sure. A key that waits for one (`on_dead_letter: block`) goes on.
    """
    settings = load_settings(config, with_sources=False, with_secrets=False)
    if len(why) > LONGEST:
        raise Usage(f"--why: at most {LONGEST} characters, these are {len(why)}")
    selection = chosen_letters(settings, chosen, everything=everything)
    if selection.glances:
        if not yes:
            if not sys.stdin.isatty():
                raise Usage("nobody can be asked here: repeat with --yes")
            ask("discard", selection)
        wanted = Wanted("discarded", whoever_asks(), 0.0, 0, note=why)
        settle(settings, Work(selection.in_order, wanted, None, as_json))
    not_found(selection)
