"""`bridge mapping`: check mappings and show what they would send. Nothing is sent, no server is needed."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.errors import CommandError, Findings, Unreachable, Usage
from bridge.cli.mapping_check import Line, Report, check_files, counted, mapping_files
from bridge.cli.mapping_preview import (
    PreviewFailed,
    facts_of,
    of_mapping,
    of_tenant,
    route_in_folder,
    shown,
)
from bridge.cli.previews import Previews
from bridge.cli.running import run
from bridge.logging_setup import set_up_logging
from bridge.settings import load_settings
from eventbus.event import EventInvalid, decode_event, encode_json
from pipeline.jail.renderer import Renderer
from pipeline.mapping.case_facts import Facts
from pipeline.mapping.cases import completed

MOST_EVENTS = 1_000


@click.group()
def mapping() -> None:
    """Check mappings and preview what they would send."""
    set_up_logging()


@mapping.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Ask the sources of this bridge.yaml, too: are the tables captured, do they tell what `changed` asks, and can `enrich` read them?",
)
@json_option
def check(paths: tuple[Path, ...], *, config: Path | None, as_json: bool) -> None:
    """Lint mappings and run their cases: files, folders, or a tenant's folder.

    Exit 0 when every mapping compiles and every case holds (warnings are shown), 1 otherwise, 2 when there is no
    such path or no mapping below it.
    """
    files = mapping_files(paths)
    report = Report()
    lost = run(_check(files, config, report))
    for line in report.lines:
        click.echo(encode_json(line.to_json()).decode() if as_json else str(line))
    if not as_json:
        click.echo(report.summary(len(files)))
    if lost is not None:
        raise Unreachable(lost)
    if report.errors:
        raise Findings(f"{counted(report.errors, 'error')} in {counted(len(files), 'mapping')}")


async def _check(files: Sequence[Path], config: Path | None, report: Report) -> str | None:
    """Why a source could not be asked."""
    async with aclosing(Renderer()) as renderer:
        await check_files(files, report, renderer)
    return None if config is None else await _check_sources(config, report)


async def _check_sources(config: Path, report: Report) -> str | None:
    """Adds what the sources say; why one could not be asked."""
    # psycopg takes a fifth of a second, and is needed here alone
    from bridge.cli.mapping_identity import identity_problems  # noqa: PLC0415
    from bridge.cli.mapping_tables import table_problems, uncaptured  # noqa: PLC0415
    from cdc.source_errors import SourceLost  # noqa: PLC0415

    settings = load_settings(config)
    for file, message in uncaptured(settings, report.mappings):
        report.lines.append(Line("warning", file, message))
    try:
        for file, message in await identity_problems(settings, report.mappings):
            report.lines.append(Line("error", file, message))
        for file, mark, message in await table_problems(settings, report.mappings):
            report.lines.append(Line("error", file, message, mark))
    except SourceLost as error:
        return str(error)
    return None


@mapping.command()
@click.argument("mapping_name", required=False, metavar="[MAPPING]")
@click.option(
    "--route", metavar="TENANT/ROUTE", help="The mapping, params and time zone of a tenant's route."
)
@click.option(
    "--event",
    "event_file",
    metavar="FILE",
    help="The event as JSON, what is left out as in a case; - reads standard input.",
)
@click.option(
    "--last",
    type=click.IntRange(1, MOST_EVENTS),
    metavar="N",
    help="The last N real events of the route, with the rows that the mapping reads as they are now.",
)
@click.option(
    "--given",
    "given_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What the mapping reads and the ERP answers, as in a case: enrich, saved, columns, answers, unsure.",
)
@config_option
@json_option
def preview(  # noqa: PLR0913 - one for each option
    mapping_name: str | None,
    route: str | None,
    *,
    event_file: str | None,
    last: int | None,
    given_file: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """Show the exact request that an event would become, and send nothing.

    MAPPING is a file or a shipped mapping's name. Exit 1 where the event cannot be rendered, 2 where the mapping
    itself is invalid.
    """
    if (mapping_name is None) is (route is None):
        raise Usage("name a mapping, or a route with --route TENANT/ROUTE")
    if (event_file is None) is (last is None):
        raise Usage("give one event with --event FILE, or with --route the last ones with --last N")
    facts = Facts() if given_file is None else facts_of(given_file)
    try:
        if last is not None:
            if route is None:
                raise Usage("--last shows the last events of a route: name it with --route TENANT/ROUTE")
            run(_preview_last(route, last, facts, config, as_json=as_json))
            return
        result = run(_previewed(mapping_name, route, _event(str(event_file)), facts, config))
    except PreviewFailed as failed:
        if as_json:
            click.echo(encode_json({"error": failed.to_json()}).decode())
            raise click.exceptions.Exit(failed.exit_code) from None
        error: type[CommandError] = Usage if failed.exit_code == Usage.exit_code else Findings
        raise error(str(failed)) from None
    click.echo(encode_json(result).decode() if as_json else shown(result))


async def _previewed(
    mapping_name: str | None, route: str | None, event: dict[str, Any], facts: Facts, config: Path
) -> Mapping[str, Any]:
    """Raises PreviewFailed."""
    async with aclosing(Renderer()) as renderer:
        if route is None:
            subject = await of_mapping(renderer, str(mapping_name))
        else:
            subject = await of_tenant(renderer, *await route_in_folder(renderer, route, config))
        table = subject.mapping.facts.source.table
        whole = completed({"tenant": subject.key or "preview", **event}, table, "preview")
        result = await Previews(subject, facts).of(whole)
    if isinstance(result, PreviewFailed):
        raise result
    return result


async def _preview_last(route: str, count: int, facts: Facts, config: Path, *, as_json: bool) -> None:
    """Raises PreviewFailed where the tenant or its mapping is invalid."""
    from bridge.cli.mapping_recent import RecentPreviews  # noqa: PLC0415 - it reaches NATS and PostgreSQL

    async with aclosing(Renderer()) as renderer:
        tenant, chosen = await route_in_folder(renderer, route, config)
    events = failures = 0
    async for preview in RecentPreviews(config, tenant, chosen, facts).last(count):
        events += 1
        failures += preview.failed
        click.echo(encode_json(preview.to_json()).decode() if as_json else preview.shown())
    if not events:
        click.echo(f"EVENTS holds no event that route {route} asks for", err=True)
    if failures:
        raise Findings(f"{failures} of {events} events would not be sent")


def _event(file: str) -> dict[str, Any]:
    try:
        payload = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        event = decode_event(payload.removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise Usage(f"{file}: cannot be read: {error.strerror}") from None
    except EventInvalid as error:
        raise Usage(f"{file}: {error}") from None
    told = "after" in event or "before" in event or event.get("op") == "truncate"
    if not told or not isinstance(event.get("op", ""), str) or not isinstance(event.get("source", {}), dict):
        raise Usage(
            f'{file}: is no event: write {{"after": {{…}}}}, the row by its columns, and before, op and key where '
            "they count; what is left out is filled in as in a case"
        )
    return event
