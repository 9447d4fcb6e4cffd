"""What the commands of `bridge cdc` share: connections, findings, and errors as messages with exit codes."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from bridge.cli.context import nats_servers
from bridge.cli.errors import CommandError, Findings, Unreachable, Usage
from bridge.demo.nats_server import EmbeddedNats, find_nats
from bridge.settings import Settings
from cdc.backfill.read_table import Refused, TableUnknown
from cdc.catalogue import Catalogue
from cdc.decoder import DecodingFailed
from cdc.finding import Finding
from cdc.preflight import check as all_findings
from cdc.providers import Provider
from cdc.settings import SourceSettings
from cdc.setup import SetupRefused
from cdc.source_errors import CaptureStopped, DsnInvalid, SourceLost
from cdc.source_reading import read_facts
from eventbus.connection import Connection, connect
from eventbus.errors import EventBusError, NatsRefused, NatsUnreachable
from eventbus.topology import NoRoom, TopologyDiffers
from pipeline.yaml_tree import load_file

Command = TypeVar("Command", bound=Callable[..., Any])


def provider_option(text: str) -> Callable[[Command], Command]:
    """Gives the command `provider: Provider | None`."""
    return click.option(
        "--provider",
        type=click.Choice([provider.value for provider in Provider]),
        callback=lambda _context, _option, value: None if value is None else Provider(value),
        help=text,
    )


_UNKNOWN = {"table_unknown", "column_unknown"}
"""Findings that are mistakes in bridge.yaml: exit 2."""


@asynccontextmanager
async def servers(settings: Settings, source: SourceSettings) -> AsyncIterator[tuple[Catalogue, Connection]]:
    async with await connect(nats_servers(settings), name="bridge cdc", reconnect=False) as nats:
        catalogue = await Catalogue.open(source.dsn)
        try:
            yield catalogue, nats
        finally:
            await catalogue.close()


@asynccontextmanager
async def embedded_nats(settings: Settings) -> AsyncIterator[None]:
    """An embedded nats-server that does not run is started for as long as this takes. Raises ServerFailed."""
    if settings.embedded is None or find_nats(settings.embedded) is not None:
        yield
        return
    async with EmbeddedNats(settings.embedded):
        yield


@contextmanager
def words(admin_dsn: str | None = None) -> Iterator[None]:
    """Errors of the rooms as messages with the contract's exit codes; `admin_dsn`: the login that is used, if not the source's."""
    try:
        yield
    except (NatsUnreachable, NatsRefused) as error:
        raise Unreachable(str(error)) from None
    except SourceLost as error:
        login = "--admin-dsn" if admin_dsn else "dsn"
        way = f"check `{login}` and that the server runs"
        if "pg_hba.conf" in str(error):
            way = "pg_hba.conf needs a line for this database, role and address: docs/dba.md shows it"
        elif not admin_dsn and "authentication failed" in str(error):
            way = f"{way}; a role that is not there yet is made, with its password, by `bridge cdc setup --admin-dsn`"
        raise Unreachable(f"{error}; {way}") from None
    except CaptureStopped as stopped:
        ways = "".join(f"\n  - {way}" for way in stopped.stop.ways)
        raise Findings(f"{stopped.stop.message}{ways and f'. Ways on:{ways}'}") from None
    except (DsnInvalid, TopologyDiffers, NoRoom) as error:
        raise Usage(str(error)) from None
    except TableUnknown as unknown:
        raise Usage(str(unknown)) from None
    except Refused as refused:
        raise Findings(str(refused)) from None
    except (SetupRefused, DecodingFailed, EventBusError) as error:
        raise CommandError(str(error)) from None


async def findings_of(source: SourceSettings) -> list[Finding]:
    catalogue = await Catalogue.open(source.dsn)
    try:
        return all_findings(await read_facts(catalogue, source), source)
    finally:
        await catalogue.close()


def refuse(config: Path, source: SourceSettings, findings: list[Finding]) -> None:
    """Raises Usage for mistakes in bridge.yaml, Findings for what does not hold in the database."""
    refuse_unknown(config, source, findings)
    if findings:
        texts = "\n".join(finding_text(finding) for finding in findings)
        raise Findings(f"source {source.name} is not ready:\n{texts}")


def refuse_unknown(config: Path, source: SourceSettings, findings: Iterable[Finding]) -> None:
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


def finding_text(finding: Finding) -> str:
    sql = "".join(f"\n    {line}" for line in finding.sql.splitlines())
    return f"{finding.level}: {finding.message} [{finding.code}]{sql}"


def print_line(content: dict[str, object] | dict[str, str]) -> None:
    click.echo(json.dumps(content, ensure_ascii=False))
