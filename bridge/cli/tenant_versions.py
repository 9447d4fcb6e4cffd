"""`bridge tenant versions` and `rollback`: what a tenant was, and going back to it."""

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.errors import Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.running import run
from bridge.cli.tenant_apply import refusal_text
from bridge.cli.tenant_name import tenant_name
from bridge.cli.version_words import time_text, written_json, written_text
from bridge.cli.whoever_asks import author_option, why_option
from bridge.settings import Settings, load_settings
from eventbus.subjects import Subjects
from eventbus.topology import TENANT_VERSIONS
from pipeline.jail.frames import MappingSource
from pipeline.jail.renderer import Renderer
from pipeline.mapping import MappingInvalid
from pipeline.tenants.apply import Application, Change
from pipeline.tenants.rollback import NothingToRollBackTo
from pipeline.tenants.store import TenantStore
from pipeline.tenants.text_difference import text_difference
from pipeline.tenants.version import Version, differences

_Changed = tuple[Version, tuple[str, ...]]


@click.command()
@click.argument("tenant")
@click.option("--diff", is_flag=True, help="Show the lines of its files that changed, too.")
@config_option
@json_option
def versions(tenant: str, config: Path, *, diff: bool, as_json: bool) -> None:
    """Show what TENANT was, newest first: who put it into force, when, why, and what it changed."""
    settings = load_settings(config, with_sources=False, with_secrets=False)
    history = run(_versions(settings, tenant))
    complete = len(history) < TENANT_VERSIONS
    last = history[-1]
    before = [None, *(version.tenant for version in history)]
    found = list(zip(before, differences(history, first_kept=complete), strict=False))
    for older, one in reversed(found):
        in_force = one[0] is last and not last.removed
        known = complete or one[0] is not history[0]
        lines = text_difference(older, one[0].tenant) if diff and known else []
        if as_json:
            click.echo(_version_json(one, lines if diff else None, in_force=in_force))
        else:
            click.echo("\n        ".join([_version_text(one, in_force=in_force), *lines]))


async def _versions(settings: Settings, tenant: str) -> list[Version]:
    async with event_bus(settings, "bridge tenant versions") as jetstream:
        subjects = Subjects(settings.nats.namespace)
        name = await tenant_name(tenant, jetstream, subjects)
        history = await TenantStore(jetstream, subjects).history(name)
    if not history:
        raise Usage(f"no tenant {name!r} was ever in force; `bridge tenant list` shows them")
    return history


def _version_text(one: _Changed, *, in_force: bool) -> str:
    version, lines = one
    why = f": {version.written.why}" if version.written.why else ""
    first = f"{version.name}: revision {version.revision}{' (in force)' if in_force else ''}"
    return "\n    ".join([f"{first}, {written_text(version)}{why}", *lines])


def _version_json(one: _Changed, diff: list[str] | None, *, in_force: bool) -> str:
    version, lines = one
    members: dict[str, Any] = {
        "tenant": version.name,
        "revision": version.revision,
        "in_force": in_force,
        "time": time_text(version.time),
        **written_json(version.written),
        "changes": lines,
    }
    if diff is not None:
        members["diff"] = diff
    return json.dumps(members, ensure_ascii=False)


@click.command()
@click.argument("tenant")
@click.argument("revision", required=False, type=int)
@author_option
@why_option
@config_option
@json_option
def rollback(
    *, tenant: str, revision: int | None, author: str, why: str, config: Path, as_json: bool
) -> None:
    """Bring back what TENANT was at REVISION (default: before its last change), as a new version; routes follow.

    `bridge tenant versions` shows the revisions. The folder is not changed: until it is pulled, or applied with --force,
    `bridge tenant apply` leaves the tenant as it is.
    """
    settings = load_settings(config, with_sources=False, with_secrets=False)
    try:
        back = run(_to_bring_back(settings, tenant, revision))
    except NothingToRollBackTo as error:
        raise Usage(str(error)) from None
    run(_check_mappings(back))
    change = run(_rollback(settings, back, author, why))
    if change.refusal is not None:
        raise Usage(f"not rolled back: {refusal_text(change)}")
    if as_json:
        members = {
            "tenant": change.tenant,
            "revision": change.revision,
            "of": back.revision,
            "changes": change.lines,
        }
        click.echo(json.dumps(members, ensure_ascii=False))
    elif change.lines:
        first = f"{change.tenant}: revision {change.revision} is as revision {back.revision} was"
        click.echo("\n    ".join([first, *change.lines]))
    else:
        click.echo(f"{change.tenant}: revision {change.revision}, which is in force, says the same")


async def _to_bring_back(settings: Settings, tenant: str, revision: int | None) -> Version:
    async with event_bus(settings, "bridge tenant rollback") as jetstream:
        subjects = Subjects(settings.nats.namespace)
        name = await tenant_name(tenant, jetstream, subjects)
        return await Application(jetstream, subjects).to_bring_back(name, revision)


async def _check_mappings(back: Version) -> None:
    """Today's bridge has to understand what it understood then. Raises Usage, RendererBroken."""
    assert back.tenant is not None
    try:
        async with aclosing(Renderer()) as renderer:
            for route in back.tenant.routes.values():
                text = back.tenant.mappings[route.mapping]
                source = MappingSource.of(text, dict(back.tenant.lookups))
                await renderer.mapping(back.tenant.name, route.mapping, text.file, source)
    except MappingInvalid as error:
        raise Usage(f"this bridge does not understand revision {back.revision} any more: {error}") from None


async def _rollback(settings: Settings, back: Version, author: str, why: str) -> Change:
    async with event_bus(settings, "bridge tenant rollback") as jetstream:
        return await Application(jetstream, Subjects(settings.nats.namespace)).roll_back(back, author, why)
