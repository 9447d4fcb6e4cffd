"""`bridge tenant apply`: checks a tenants folder and puts it into force."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.errors import Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.running import run
from bridge.settings import Settings, load_settings
from bridge.shipped_files import shipped
from eventbus.subjects import Subjects
from pipeline.tenants.apply import Application, Change
from pipeline.tenants.folder import load_tenants
from pipeline.tenants.model import Tenant
from pipeline.tenants.store import VersionTooLarge


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check the folder and say what would change; change nothing.")
@config_option
@json_option
def apply(folder: Path | None, config: Path, *, dry_run: bool, as_json: bool) -> None:
    """Check a tenants folder (default: bridge.yaml's `tenants`) and put it into force, without a restart.

    A tenant with a mistake in it stays as it is, whole; the others are applied, and the command ends with 2.
    """
    settings = load_settings(config, with_sources=False, with_secrets=False)
    read = load_tenants(folder or settings.tenants, shipped("templates"))
    changes = run(_apply(settings, read.tenants, dry_run=dry_run)) if read.tenants else []
    for change in changes:
        click.echo(_change_json(change, dry_run=dry_run) if as_json else change_text(change))
    if read.problems:
        names = ", ".join(sorted(read.invalid))
        raise Usage("\n".join([f"not applied: {names}", *map(str, read.problems)]))
    if not as_json:
        _say_what_was_done(folder or settings.tenants, changes, dry_run=dry_run)


async def _apply(settings: Settings, tenants: Sequence[Tenant], *, dry_run: bool) -> list[Change]:
    async with event_bus(settings, "bridge tenant apply") as jetstream:
        application = Application(jetstream, Subjects(settings.nats.namespace))
        try:
            return await application.apply(tenants, dry_run=dry_run)
        except VersionTooLarge as error:
            raise Usage(str(error)) from None


def change_text(change: Change) -> str:
    """`acme: new, with key '4711': …`, each further line indented."""
    return f"{change.tenant}: " + ("\n    ".join(change.lines) or "unchanged")


def _change_json(change: Change, *, dry_run: bool) -> str:
    members = {
        "tenant": change.tenant,
        "revision": change.revision,
        "changes": change.lines,
        "dry_run": dry_run,
    }
    return json.dumps(members, ensure_ascii=False)


def _say_what_was_done(folder: Path, changes: Sequence[Change], *, dry_run: bool) -> None:
    changed = sum(bool(change.lines) for change in changes)
    if not changes:
        click.echo(f"there is no tenant in {folder}")
    elif dry_run:
        click.echo(f"{changed} of {len(changes)} tenants would change; nothing was changed (--dry-run)")
    else:
        click.echo(f"{changed} of {len(changes)} tenants changed; all of {folder} is in force")
