"""`bridge cdc status`: where the slot stands."""

import dataclasses
from pathlib import Path

import click

from bridge.cli.cdc_words import print_line, servers, words
from bridge.cli.context import chosen_source, config_option, json_option, source_option
from bridge.cli.running import run
from bridge.settings import Settings, load_settings
from cdc.settings import SourceSettings
from cdc.status import CaptureStatus, read_status


@click.command()
@config_option
@source_option
@json_option
def status(*, config: Path, source: str | None, as_json: bool) -> None:
    """Where the slot stands: who reads it, what is published, what is not."""
    settings = load_settings(config, with_secrets=False)
    chosen = chosen_source(settings, source)
    with words():
        found = run(_status(settings, chosen))
    if as_json:
        print_line(dataclasses.asdict(found))
    else:
        click.echo(_status_text(found))


async def _status(settings: Settings, source: SourceSettings) -> CaptureStatus:
    async with servers(settings, source) as (catalogue, nats):
        return await read_status(source, catalogue, nats, settings.nats.namespace)


def _status_text(found: CaptureStatus) -> str:
    facts = (
        ("confirmed", found.confirmed),
        ("published", found.published),
        ("end of WAL", found.wal_end),
        ("epoch", found.epoch),
    )
    return "\n".join([found.summary, *(f"  {name}: {value}" for name, value in facts if value is not None)])
