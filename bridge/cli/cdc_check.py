"""`bridge cdc check`: the preflight."""

from pathlib import Path

import click

from bridge.cli.cdc_words import finding_text, findings_of, print_line, refuse_unknown, words
from bridge.cli.context import chosen_source, config_option, json_option, source_option
from bridge.cli.errors import Findings
from bridge.cli.running import run
from bridge.settings import load_settings
from cdc.finding import Level


@click.command()
@config_option
@source_option
@json_option
def check(*, config: Path, source: str | None, as_json: bool) -> None:
    """Look for what would keep capture from working, or its events from being of use; print the SQL that mends it."""
    chosen = chosen_source(load_settings(config, with_secrets=False), source)
    with words():
        findings = run(findings_of(chosen))
    for finding in findings:
        if as_json:
            print_line(finding.to_json())
        else:
            click.echo(finding_text(finding))
    refuse_unknown(config, chosen, findings)
    if any(finding.level is Level.ERROR for finding in findings):
        raise click.exceptions.Exit(Findings.exit_code)
    if not as_json:
        click.echo(
            f"source {chosen.name} is ready" if not findings else "nothing that keeps capture from working"
        )
