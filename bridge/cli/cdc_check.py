"""`bridge cdc check`: the preflight."""

from dataclasses import replace
from pathlib import Path

import click

from bridge.cli.cdc_words import finding_text, print_line, provider_option, refuse_unknown, words
from bridge.cli.context import chosen_source, config_option, json_option, source_option
from bridge.cli.errors import Findings
from bridge.cli.running import run
from bridge.settings import load_settings
from cdc.catalogue import Catalogue
from cdc.connection_probe import tried
from cdc.finding import Level
from cdc.preflight import check as all_findings
from cdc.providers import Provider
from cdc.settings import SourceSettings
from cdc.source_facts import SourceFacts
from cdc.source_reading import read_facts


@click.command()
@config_option
@source_option
@provider_option("Whose remedies to print; default: recognised by its roles.")
@json_option
def check(*, config: Path, source: str | None, provider: Provider | None, as_json: bool) -> None:
    """Look for what would keep capture from working, or its events from being of use; print the SQL that mends it."""
    # the mapping language takes a tenth of a second, and is needed here alone
    from bridge.cli.compared_columns import compared_columns  # noqa: PLC0415

    settings = load_settings(config, with_secrets=False)
    chosen = chosen_source(settings, source)
    with words():
        facts = run(_facts(chosen)).run_by(provider)
    findings = all_findings(facts, chosen, run(compared_columns(settings)))
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


async def _facts(source: SourceSettings) -> SourceFacts:
    catalogue = await Catalogue.open(source.dsn)
    try:
        return replace(await read_facts(catalogue, source), tried=await tried(catalogue, source))
    finally:
        await catalogue.close()
