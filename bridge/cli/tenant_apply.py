"""`bridge tenant apply`: checks a tenants folder and puts it into force."""

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.errors import Findings, Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.running import run
from bridge.cli.whoever_asks import author_option, why_option
from bridge.settings import Settings, load_settings
from bridge.shipped_files import shipped
from eventbus.subjects import Subjects
from pipeline.jail.renderer import Renderer
from pipeline.secrets import SecretStore
from pipeline.tenants.apply import Change, Manner
from pipeline.tenants.folder import FolderRead, load_tenants
from pipeline.tenants.folder_apply import FolderUnknown, apply_folder
from pipeline.tenants.model import secrets_of
from pipeline.tenants.version import Written


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line says."""

    folder: Path
    manner: Manner
    certain: bool
    exit_code: bool
    as_json: bool


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check the folder and say what would change; change nothing.")
@click.option("--exit-code", is_flag=True, help="With --dry-run: end with 1 where something would change.")
@click.option(
    "--prune", is_flag=True, help="Remove the tenants in force that have no folder; their routes end."
)
@click.option("--yes", is_flag=True, help="With --prune: although there is not one tenant in the folder.")
@click.option("--force", is_flag=True, help="Also where it undoes what was changed elsewhere since.")
@author_option
@why_option
@config_option
@json_option
def apply(  # noqa: PLR0913 — an argument for each option
    *,
    folder: Path | None,
    dry_run: bool,
    exit_code: bool,
    prune: bool,
    yes: bool,
    force: bool,
    author: str,
    why: str,
    config: Path,
    as_json: bool,
) -> None:
    """Check a tenants folder (default: bridge.yaml's `tenants`) and put it into force, without a restart.

    A tenant with a mistake in it stays as it is, whole; the others are applied, and the command ends with 2. So does
    one that was changed elsewhere since this folder was applied or pulled; then it ends with 1.
    """
    if exit_code and not dry_run:
        raise Usage("--exit-code tells what --dry-run finds: write both")
    settings = load_settings(config, with_sources=False, with_secrets=False)
    manner = Manner(Written(author, why), dry_run=dry_run, force=force, prune=prune)
    asked = _Asked(folder or settings.tenants, manner, yes, exit_code, as_json)
    read, changes, unset = run(_apply(settings, asked))
    for change in changes:
        if change.refusal is None:
            click.echo(_change_json(change, dry_run=dry_run) if as_json else change_text(change))
        elif as_json:
            click.echo(_change_json(change, dry_run=dry_run))
    for line in unset:
        click.echo(line, err=True)
    _end(asked, read, changes)


async def _apply(settings: Settings, asked: _Asked) -> tuple[FolderRead, list[Change], list[str]]:
    """The folder, what became of each tenant, and what is said of secrets that are not set."""
    async with aclosing(Renderer()) as renderer:
        read = await load_tenants(asked.folder, shipped("templates"), renderer)
    if not (read.tenants or asked.manner.prune):
        return read, [], []
    changes, unset = await _applied(settings, read, asked)
    return read, changes, unset


async def _applied(settings: Settings, read: FolderRead, asked: _Asked) -> tuple[list[Change], list[str]]:
    async with event_bus(settings, "bridge tenant apply") as jetstream:
        subjects = Subjects(settings.nats.namespace)
        try:
            changes = await apply_folder(
                jetstream, subjects, asked.folder, read, asked.manner, certain=asked.certain
            )
        except FolderUnknown as error:
            raise Usage(f"{error}; name the right folder, or write --yes") from None
        return changes, await unset_secrets(SecretStore(jetstream, subjects, keys=()), read)


async def unset_secrets(store: SecretStore, read: FolderRead) -> list[str]:
    """A line for each that a tenant names and nobody has set."""
    needed = [(tenant.name, name) for tenant in read.tenants for name in secrets_of(tenant)]
    known = {(secret.tenant, secret.name) for secret in await store.list()} if needed else set()
    return [
        f"{tenant}: secret {name} is not set, and the deliveries that need it wait: "
        f"`bridge secret set {tenant} {name}`"
        for tenant, name in needed
        if (tenant, name) not in known
    ]


def change_text(change: Change) -> str:
    """`acme: new, with key '4711': …`, each further line indented."""
    return f"{change.tenant}: " + ("\n    ".join(change.lines) or "unchanged")


def refusal_text(change: Change) -> str:
    """Why a tenant stays as it is."""
    assert change.refusal is not None
    return f"{change.tenant}: {change.refusal.message}"


def _change_json(change: Change, *, dry_run: bool) -> str:
    members: dict[str, Any] = {
        "tenant": change.tenant,
        "revision": change.revision,
        "changes": change.lines,
        "dry_run": dry_run,
    }
    if change.removed:
        members["removed"] = True
    if change.refusal is not None:
        members["refused"] = change.refusal.message
    return json.dumps(members, ensure_ascii=False)


def _end(asked: _Asked, read: FolderRead, changes: Sequence[Change]) -> None:
    """The last line, or the error and exit code."""
    refused = [change for change in changes if change.refusal is not None]
    names = sorted({*read.invalid, *(change.tenant for change in refused)})
    lines = [f"not applied: {', '.join(names)}", *map(str, read.problems), *map(refusal_text, refused)]
    if read.problems or any(change.refusal and change.refusal.mistake for change in refused):
        raise Usage("\n".join(lines))
    if refused:
        raise Findings("\n".join(lines))
    changed = sum(bool(change.lines) for change in changes)
    if not asked.as_json:
        _say_what_was_done(asked, changed, len(changes))
    if asked.exit_code and changed:
        raise click.exceptions.Exit(1)


def _say_what_was_done(asked: _Asked, changed: int, count: int) -> None:
    if not count:
        click.echo(f"there is no tenant in {asked.folder}")
    elif asked.manner.dry_run:
        click.echo(f"{changed} of {count} tenants would change; nothing was changed (--dry-run)")
    else:
        click.echo(f"{changed} of {count} tenants changed; all of {asked.folder} is in force")
