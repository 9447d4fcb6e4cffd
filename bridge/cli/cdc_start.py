"""`bridge cdc start`: the process that captures."""

from pathlib import Path

import click

from bridge.cli.cdc_words import findings_of, refuse, words
from bridge.cli.context import chosen_source, config_option, nats_servers, source_option
from bridge.cli.listening import endpoints, listen_option
from bridge.cli.running import run, run_service
from bridge.listen import Listen
from bridge.settings import load_settings
from cdc.capture import Capture
from cdc.start_decision import Consent

_TOLD_BY_CAPTURE = {"slot_missing", "slot_invalidated"}
"""It knows the position too, and so what is missing."""


@click.command()
@config_option
@source_option
@listen_option
@click.option(
    "--accept-gap", is_flag=True, help="Go on behind changes that are missing, as the last refusal told."
)
@click.option(
    "--new-epoch", is_flag=True, help="Go on with another database or slot, as the last refusal told."
)
@click.option(
    "--snapshot",
    is_flag=True,
    help="Where a new epoch begins, read every table; later starts do not repeat it.",
)
def start(
    *,
    config: Path,
    source: str | None,
    listen: Listen | None,
    accept_gap: bool,
    new_epoch: bool,
    snapshot: bool,
) -> None:
    """Read the slot and publish until stopped; a second one on the same slot stands by and takes over."""
    settings = load_settings(config, with_secrets=False)
    chosen = chosen_source(settings, source)
    consent = Consent(accept_gap=accept_gap, new_epoch=new_epoch)
    with words():
        findings = [f for f in run(findings_of(chosen)) if f.stops and f.code not in _TOLD_BY_CAPTURE]
        refuse(config, chosen, findings)
        capture = Capture(chosen, nats_servers(settings), settings.streams, consent, snapshot=snapshot)
        beside = endpoints(settings, listen, capture.state.condition)
        run_service(capture.run, settings.shutdown_timeout, capture.ready, beside)
