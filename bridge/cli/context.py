"""What commands share: their options, the settings they read, and the server they find."""

from dataclasses import replace
from pathlib import Path

import click

from bridge.cli.errors import Unreachable, Usage
from bridge.settings import Settings
from cdc.settings import SourceSettings
from eventbus.settings import NatsSettings
from pipeline.yaml_nodes import nearest

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="BRIDGE_CONFIG",
    default="bridge.yaml",
    metavar="FILE",
    help="The configuration; default: $BRIDGE_CONFIG, then ./bridge.yaml.",
)
"""Gives the command `config: Path`, for `load_settings`."""

source_option = click.option(
    "--source", metavar="NAME", help="The source; not needed where bridge.yaml has only one."
)
"""Gives the command `source: str | None`, for `chosen_source`."""

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
"""Gives the command `as_json: bool`."""


def chosen_source(settings: Settings, name: str | None) -> SourceSettings:
    """The source of that name, or the only one. Raises Usage."""
    if name is None:
        if len(settings.sources) == 1:
            return next(iter(settings.sources.values()))
        raise Usage(f"{settings.file} has several sources; name one: --source {' | '.join(settings.sources)}")
    if name not in settings.sources:
        raise Usage(f"{settings.file} has no source {name!r}{nearest(name, settings.sources)}")
    return settings.sources[name]


def nats_servers(settings: Settings) -> NatsSettings:
    """How NATS is reached; the embedded server is found by its folder. Raises Unreachable."""
    if settings.embedded is None:
        return settings.nats
    from bridge.demo.nats_server import find_nats  # noqa: PLC0415 — only where it is needed

    url = find_nats(settings.embedded)
    if url is None:
        raise Unreachable(f"no nats-server runs in {settings.embedded} (nats.embedded); start `bridge up`")
    return replace(settings.nats, servers=(url,))
