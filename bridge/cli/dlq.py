"""`bridge dlq`: dead letters, what is stuck and why, and what becomes of it."""

import click

from bridge.cli.dlq_discard import discard
from bridge.cli.dlq_export import export
from bridge.cli.dlq_list import list_letters, show
from bridge.cli.dlq_replay import replay


@click.group()
def dlq() -> None:
    """Dead letters: what is stuck and why; replay or discard it."""


for command in (list_letters, show, replay, discard, export):
    dlq.add_command(command)
