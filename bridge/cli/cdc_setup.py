"""`bridge cdc setup` and `bridge cdc drop`: what a DBA runs once, and takes away again."""

from dataclasses import replace
from pathlib import Path

import click

from bridge.cli.cdc_words import embedded_nats, print_line, provider_option, refuse, servers, words
from bridge.cli.context import chosen_source, config_option, json_option, source_option
from bridge.cli.running import run
from bridge.settings import Settings, load_settings
from bridge.shipped_files import shipped
from cdc.catalogue import Catalogue
from cdc.drop import Removal, removal
from cdc.drop import drop as drop_source
from cdc.finding import identifier
from cdc.preflight import before_setup
from cdc.preflight import check as all_findings
from cdc.providers import Provider
from cdc.settings import SourceSettings, split_table
from cdc.setup import OUTBOX, printed, role_of, scripts, set_up
from cdc.source_reading import read_facts


@click.command()
@config_option
@source_option
@click.option(
    "--admin-dsn", envvar="BRIDGE_ADMIN_DSN", help="A login with the rights it takes; default: the source's."
)
@provider_option("Who runs the server; default: recognised by its roles, with --print-sql vanilla.")
@click.option(
    "--with",
    "extras",
    multiple=True,
    callback=lambda _context, _parameter, values: _extras(values),
    metavar="outbox",
    help="Make the outbox table too (`outbox` in bridge.yaml does the same).",
)
@click.option(
    "--print-sql", is_flag=True, help="Print one psql script per privilege holder, and run nothing."
)
@json_option
def setup(  # noqa: PLR0913 — click hands every option over
    *,
    config: Path,
    source: str | None,
    admin_dsn: str | None,
    provider: Provider | None,
    extras: frozenset[str],
    print_sql: bool,
    as_json: bool,
) -> None:
    """Create the publication, the role and the slot; run again, mend what differs."""
    configured = chosen_source(load_settings(config, with_secrets=False), source)
    chosen = replace(configured, outbox=configured.outbox or ("outbox" in extras and OUTBOX) or None)
    if print_sql:
        _print_scripts(chosen, provider or Provider.VANILLA, as_json=as_json)
        return
    with words(admin_dsn):
        run(_set_up(config, chosen, admin_dsn, provider))
    if as_json:
        made = {"source": chosen.name, "publication": chosen.publication, "slot": chosen.slot}
        print_line(made if chosen.outbox is None else {**made, "outbox": chosen.outbox})
        return
    click.echo(f"publication {chosen.publication} and slot {chosen.slot} are ready: run `bridge cdc start`")
    if "heartbeat" in extras:
        click.echo("the heartbeat needs no table: it is a message in the WAL")
    if chosen.outbox is not None:
        _say_outbox(chosen.outbox, configured=configured.outbox is not None)


def _extras(values: tuple[str, ...]) -> frozenset[str]:
    """`--with a,b` and `--with a --with b` are the same. Raises click.BadParameter."""
    named = frozenset(name.strip() for value in values for name in value.split(","))
    for name in named - {"outbox", "heartbeat"}:
        raise click.BadParameter(f"{name!r} is neither outbox nor heartbeat")
    return named


def _say_outbox(outbox: str, *, configured: bool) -> None:
    schema, table = split_table(outbox)
    click.echo(f"outbox {outbox} is ready; as its owner, for whoever writes:")
    click.echo(f"    GRANT USAGE ON SCHEMA {identifier(schema)} TO …;")
    click.echo(f"    GRANT INSERT ON {identifier(schema)}.{identifier(table)} TO …;")
    if not configured:
        click.echo(
            f"write `outbox: {outbox}` into the source in bridge.yaml: without it nothing reads the table"
        )


async def _set_up(
    config: Path, source: SourceSettings, admin_dsn: str | None, provider: Provider | None
) -> None:
    catalogue = await Catalogue.open(admin_dsn or source.dsn)
    try:
        facts = await read_facts(catalogue, source)
    finally:
        await catalogue.close()
    refuse(config, source, before_setup(all_findings(facts.run_by(provider), source)))
    await set_up(source, admin_dsn, shipped("migrations"), provider)


def _print_scripts(source: SourceSettings, provider: Provider, *, as_json: bool) -> None:
    whole = printed(scripts(source, shipped("migrations"), provider))
    for number, (holder, text) in enumerate(whole.items(), 1):
        if as_json:
            print_line({"number": number, "holder": holder, "sql": text})
        else:
            click.echo(f"-- Script {number}, for {holder}; in the source's database, with psql\n{text}")
    if not as_json:
        click.echo(f"-- Then, where the role is new: \\password {identifier(role_of(source))}")
        click.echo(
            "-- Existing rows (`bridge cdc backfill`) take USAGE on the tables' schemas and SELECT on the tables, too."
        )


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
        named = (("slot", found.slot), ("publication", found.publication))
        what = [f"{kind} {name}" for kind, name in named if name]
        what += [f"outbox {found.outbox}, if it is empty"] if found.outbox else []
        if not what:
            click.echo("there is nothing that `bridge cdc setup` made")
            return
        if not yes:
            click.confirm(f"Remove {' and '.join(what)}? Changes from now on are not captured", abort=True)
    with words(admin_dsn):
        emptied = run(_drop(settings, chosen, admin_dsn))
    if found.outbox:
        what[-1] = f"outbox {found.outbox}"
    kept = f"role {role_of(chosen)}, which may read other databases"
    if not emptied:
        kept += f", and {what.pop()}, which holds rows"
    click.echo(f"removed {' and '.join(what) or 'nothing'}; kept {kept}")


async def _removal(settings: Settings, source: SourceSettings) -> Removal:
    async with embedded_nats(settings), servers(settings, source) as (catalogue, _):
        return await removal(source, catalogue)


async def _drop(settings: Settings, source: SourceSettings, admin_dsn: str | None) -> bool:
    async with embedded_nats(settings), servers(settings, source) as (_, nats):
        return await drop_source(source, admin_dsn, nats, settings.nats.namespace)
