"""`bridge cdc`: what a DBA runs once, and the process that captures."""

import dataclasses
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import click

from bridge.cli.context import chosen_source, config_option, json_option, nats_servers, source_option
from bridge.cli.errors import CommandError, Findings, Unreachable, Usage
from bridge.cli.running import run, run_service
from bridge.settings import Settings, load_settings
from bridge.shipped_files import shipped
from cdc.capture import Capture
from cdc.catalogue import Catalogue
from cdc.decoder import DecodingFailed
from cdc.drop import Removal, removal
from cdc.drop import drop as drop_source
from cdc.finding import Finding, Level
from cdc.preflight import before_setup
from cdc.preflight import check as all_findings
from cdc.settings import SourceSettings
from cdc.setup import SetupRefused, printed, scripts, set_up
from cdc.source_errors import CaptureStopped, DsnInvalid, SourceLost
from cdc.source_reading import read_facts
from cdc.start_decision import Consent
from cdc.status import CaptureStatus, read_status
from eventbus.connection import Connection, connect
from eventbus.errors import EventBusError, NatsRefused, NatsUnreachable
from eventbus.topology import NoRoom, TopologyDiffers
from pipeline.yaml_tree import load_file

_UNKNOWN = {"table_unknown", "column_unknown"}
"""Findings that are mistakes in bridge.yaml: exit 2."""


@click.group()
def cdc() -> None:
    """Capture: set up, check and read a PostgreSQL source."""


@cdc.command()
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
    with _words(admin_dsn):
        run(_set_up(config, chosen, admin_dsn))
    if as_json:
        _line({"source": chosen.name, "publication": chosen.publication, "slot": chosen.slot})
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
    _refuse(config, source, before_setup(findings))
    await set_up(source, admin_dsn, shipped("migrations"))


def _print_scripts(source: SourceSettings, *, as_json: bool) -> None:
    for number, (holder, text) in enumerate(printed(scripts(source, shipped("migrations"))).items(), 1):
        if as_json:
            _line({"number": number, "holder": holder, "sql": text})
        else:
            click.echo(f"-- Script {number}, for {holder}; in the source's database, with psql\n{text}")


@cdc.command()
@config_option
@source_option
@json_option
def check(*, config: Path, source: str | None, as_json: bool) -> None:
    """Look for what would keep capture from working, or its events from being of use; print the SQL that mends it."""
    chosen = chosen_source(load_settings(config, with_secrets=False), source)
    with _words():
        findings = run(_check(chosen))
    for finding in findings:
        if as_json:
            _line(finding.to_json())
        else:
            click.echo(_finding_text(finding))
    _refuse_unknown(config, chosen, findings)
    if any(finding.level is Level.ERROR for finding in findings):
        raise click.exceptions.Exit(Findings.exit_code)
    if not as_json:
        click.echo(
            f"source {chosen.name} is ready" if not findings else "nothing that keeps capture from working"
        )


async def _check(source: SourceSettings) -> list[Finding]:
    catalogue = await Catalogue.open(source.dsn)
    try:
        return all_findings(await read_facts(catalogue, source), source)
    finally:
        await catalogue.close()


@cdc.command()
@config_option
@source_option
@click.option(
    "--accept-gap", is_flag=True, help="Go on behind changes that are missing, as the last refusal told."
)
@click.option(
    "--new-epoch", is_flag=True, help="Go on with another database or slot, as the last refusal told."
)
def start(*, config: Path, source: str | None, accept_gap: bool, new_epoch: bool) -> None:
    """Read the slot and publish until stopped; a second one on the same slot stands by and takes over."""
    settings = load_settings(config, with_secrets=False)
    chosen = chosen_source(settings, source)
    consent = Consent(accept_gap=accept_gap, new_epoch=new_epoch)
    with _words():
        findings = [finding for finding in run(_check(chosen)) if finding.stops]
        _refuse(config, chosen, findings)
        capture = Capture(chosen, nats_servers(settings), settings.streams, consent)
        run_service(capture.run, settings.shutdown_timeout, capture.ready)


@cdc.command()
@config_option
@source_option
@json_option
def status(*, config: Path, source: str | None, as_json: bool) -> None:
    """Where the slot stands: who reads it, what is published, what is not."""
    settings = load_settings(config, with_secrets=False)
    chosen = chosen_source(settings, source)
    with _words():
        found = run(_status(settings, chosen))
    if as_json:
        _line(dataclasses.asdict(found))
    else:
        click.echo(_status_text(found))


async def _status(settings: Settings, source: SourceSettings) -> CaptureStatus:
    async with _servers(settings, source) as (catalogue, nats):
        return await read_status(source, catalogue, nats, settings.nats.namespace)


@cdc.command()
@config_option
@source_option
@click.option("--admin-dsn", envvar="BRIDGE_ADMIN_DSN", help="A login that owns the publication.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(*, config: Path, source: str | None, admin_dsn: str | None, yes: bool) -> None:
    """Remove what setup made, never a slot that is read; the next setup begins a new epoch."""
    settings = load_settings(config, with_secrets=False)
    chosen = chosen_source(settings, source)
    with _words():
        found = run(_removal(settings, chosen))
        what = [f"slot {found.slot}"] * bool(found.slot) + [f"publication {found.publication}"] * bool(
            found.publication
        )
        if not what:
            click.echo("there is nothing that `bridge cdc setup` made")
            return
        if not yes:
            click.confirm(f"Remove {' and '.join(what)}? Changes from now on are not captured", abort=True)
    with _words(admin_dsn):
        run(_drop(settings, chosen, admin_dsn))
    click.echo(f"removed {' and '.join(what)}; its role is kept")


async def _removal(settings: Settings, source: SourceSettings) -> Removal:
    async with _servers(settings, source) as (catalogue, _):
        return await removal(source, catalogue)


async def _drop(settings: Settings, source: SourceSettings, admin_dsn: str | None) -> None:
    async with _servers(settings, source) as (_, nats):
        await drop_source(source, admin_dsn, nats, settings.nats.namespace)


@asynccontextmanager
async def _servers(settings: Settings, source: SourceSettings) -> AsyncIterator[tuple[Catalogue, Connection]]:
    async with await connect(nats_servers(settings), name="bridge cdc", reconnect=False) as nats:
        catalogue = await Catalogue.open(source.dsn)
        try:
            yield catalogue, nats
        finally:
            await catalogue.close()


@contextmanager
def _words(admin_dsn: str | None = None) -> Iterator[None]:
    """Errors of the rooms as messages with the contract's exit codes; `admin_dsn`: the login that is used, if not the source's."""
    try:
        yield
    except (NatsUnreachable, NatsRefused) as error:
        raise Unreachable(str(error)) from None
    except SourceLost as error:
        login = "--admin-dsn" if admin_dsn else "dsn"
        raise Unreachable(f"{error}; check `{login}` and that the server runs") from None
    except CaptureStopped as stopped:
        ways = "".join(f"\n  - {way}" for way in stopped.stop.ways)
        raise Findings(f"{stopped.stop.message}{ways and f'. Ways on:{ways}'}") from None
    except (DsnInvalid, TopologyDiffers, NoRoom) as error:
        raise Usage(str(error)) from None
    except (SetupRefused, DecodingFailed, EventBusError) as error:
        raise CommandError(str(error)) from None


def _refuse(config: Path, source: SourceSettings, findings: list[Finding]) -> None:
    """Raises Usage for mistakes in bridge.yaml, Findings for what does not hold in the database."""
    _refuse_unknown(config, source, findings)
    if findings:
        texts = "\n".join(_finding_text(finding) for finding in findings)
        raise Findings(f"source {source.name} is not ready:\n{texts}")


def _refuse_unknown(config: Path, source: SourceSettings, findings: Iterable[Finding]) -> None:
    lines = [
        f"{_where(config, source, finding)}: {finding.message}"
        for finding in findings
        if finding.code in _UNKNOWN
    ]
    if lines:
        raise Usage("\n".join(lines))


def _where(config: Path, source: SourceSettings, finding: Finding) -> str:
    """File, line and key of the table that a finding is about."""
    tables = load_file(config).as_mapping().require("sources").as_mapping().require(source.name).as_mapping()
    for entry in tables.require("tables").as_mapping():
        if finding.object == entry.key or finding.object.startswith(f"{entry.key}."):
            return str(entry.mark)
    return str(config)


def _finding_text(finding: Finding) -> str:
    sql = "".join(f"\n    {line}" for line in finding.sql.splitlines())
    return f"{finding.level}: {finding.message} [{finding.code}]{sql}"


def _status_text(found: CaptureStatus) -> str:
    facts = (
        ("confirmed", found.confirmed),
        ("published", found.published),
        ("end of WAL", found.wal_end),
        ("epoch", found.epoch),
    )
    return "\n".join([found.summary, *(f"  {name}: {value}" for name, value in facts if value is not None)])


def _line(content: dict[str, object] | dict[str, str]) -> None:
    click.echo(json.dumps(content, ensure_ascii=False))
