"""`bridge cdc setup` and `bridge cdc drop`: what a DBA runs once, and takes away again."""

from pathlib import Path

import click

from bridge.cli.cdc_words import print_line, refuse, servers, words
from bridge.cli.context import chosen_source, config_option, json_option, source_option
from bridge.cli.running import run
from bridge.settings import Settings, load_settings
from bridge.shipped_files import shipped
from cdc.catalogue import Catalogue
from cdc.drop import Removal, removal
from cdc.drop import drop as drop_source
from cdc.preflight import before_setup
from cdc.preflight import check as all_findings
from cdc.settings import SourceSettings
from cdc.setup import printed, scripts, set_up
from cdc.source_reading import read_facts


@click.command()
@config_option
@source_option
@click.option(
    "--admin-dsn", envvar="BRIDGE_ADMIN_DSN", help="A login with the rights it takes; default: the source's."
)
@click.option(
    "--print-sql", is_flag=True, help="Print one psql script per privilege holder, and run nothing."
)
@json_option
def setup(*, config: Path, source: str | None, admin_dsn: str | None, print_sql: bool, as_json: bool) -> None:
    """Create the publication, the role and the slot; run again, mend what differs."""
    chosen = chosen_source(load_settings(config, with_secrets=False), source)
    if print_sql:
        _print_scripts(chosen, as_json=as_json)
        return
    with words(admin_dsn):
        run(_set_up(config, chosen, admin_dsn))
    if as_json:
        print_line({"source": chosen.name, "publication": chosen.publication, "slot": chosen.slot})
    else:
        click.echo(
            f"publication {chosen.publication} and slot {chosen.slot} are ready: run `bridge cdc start`"
        )


async def _set_up(config: Path, source: SourceSettings, admin_dsn: str | None) -> None:
    catalogue = await Catalogue.open(admin_dsn or source.dsn)
    try:
        findings = all_findings(await read_facts(catalogue, source), source)
    finally:
        await catalogue.close()
    refuse(config, source, before_setup(findings))
    await set_up(source, admin_dsn, shipped("migrations"))


def _print_scripts(source: SourceSettings, *, as_json: bool) -> None:
    for number, (holder, text) in enumerate(printed(scripts(source, shipped("migrations"))).items(), 1):
        if as_json:
            print_line({"number": number, "holder": holder, "sql": text})
        else:
            click.echo(f"-- Script {number}, for {holder}; in the source's database, with psql\n{text}")


@click.command()
@config_option
@source_option
@click.option("--admin-dsn", envvar="BRIDGE_ADMIN_DSN", help="A login that owns the publication.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(*, config: Path, source: str | None, admin_dsn: str | None, yes: bool) -> None:
    """Remove what setup made, never a slot that is read; the next setup begins a new epoch."""
    settings = load_settings(config, with_secrets=False)
    chosen = chosen_source(settings, source)
    with words():
        found = run(_removal(settings, chosen))
        what = [f"slot {found.slot}"] * bool(found.slot) + [f"publication {found.publication}"] * bool(
            found.publication
        )
        if not what:
            click.echo("there is nothing that `bridge cdc setup` made")
            return
        if not yes:
            click.confirm(f"Remove {' and '.join(what)}? Changes from now on are not captured", abort=True)
    with words(admin_dsn):
        run(_drop(settings, chosen, admin_dsn))
    click.echo(f"removed {' and '.join(what)}; its role is kept")


async def _removal(settings: Settings, source: SourceSettings) -> Removal:
    async with servers(settings, source) as (catalogue, _):
        return await removal(source, catalogue)


async def _drop(settings: Settings, source: SourceSettings, admin_dsn: str | None) -> None:
    async with servers(settings, source) as (_, nats):
        await drop_source(source, admin_dsn, nats, settings.nats.namespace)
