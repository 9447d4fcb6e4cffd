"""`bridge cdc`: what a DBA runs once, and the process that captures. A file a command."""

import click

from bridge.cli.cdc_backfill import backfill
from bridge.cli.cdc_check import check
from bridge.cli.cdc_setup import drop, setup
from bridge.cli.cdc_start import start
from bridge.cli.cdc_status import status


@click.group()
def cdc() -> None:
    """Capture: set up, check and read a PostgreSQL source."""


for _command in (setup, check, start, status, backfill, drop):
    cdc.add_command(_command)
