"""`bridge tenant list`: what is in force."""

import json
from pathlib import Path
from typing import Any

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.event_bus import event_bus
from bridge.cli.pause_words import pause_json, pause_text
from bridge.cli.running import run
from bridge.cli.version_words import time_text, written_json, written_text
from bridge.settings import Settings, load_settings
from eventbus.subjects import Subjects
from pipeline.tenants.listing import InForce, list_in_force
from pipeline.tenants.model import Route, Tenant


@click.command("list")
@config_option
@json_option
def list_tenants(config: Path, *, as_json: bool) -> None:
    """Which tenants are in force, with their keys, versions, routes and pauses."""
    found = run(_list(load_settings(config, with_sources=False, with_secrets=False)))
    text = "\n".join(_tenant_json(one) if as_json else _tenant_text(one) for one in found)
    if text:
        click.echo(text)


async def _list(settings: Settings) -> list[InForce]:
    async with event_bus(settings, "bridge tenant list") as jetstream:
        return await list_in_force(jetstream, Subjects(settings.nats.namespace))


def _tenant_json(found: InForce) -> str:
    version, one = found.version, found.version.tenant
    members: dict[str, Any] = {
        "tenant": version.name,
        "key": one.key if one else None,
        "revision": version.revision,
        "state": _state(found),
        "complete": found.complete,
        "time": time_text(version.time),
        **written_json(version.written),
        "versions": found.kept,
        "routes": {
            route.name: {"mapping": route.mapping, "connection": route.connection} for route in _routes(one)
        },
        "pauses": [pause_json(*pause) for pause in found.pauses.all()],
    }
    return json.dumps(members, ensure_ascii=False)


def _state(found: InForce) -> str:
    if found.version.unreadable:
        return "unreadable"
    if found.version.removed:
        return "being removed"
    return "in force" if found.complete else "incomplete"


def _tenant_text(found: InForce) -> str:
    version, one = found.version, found.version.tenant
    if one is None:
        what = version.unreadable or "its removal was interrupted: run `bridge tenant apply` again"
        return f"{version.name}: {what}"
    kept = f"{found.kept} version{'' if found.kept == 1 else 's'}"
    lines = [f"{one.name}: key {one.key!r}, revision {one.revision}, {written_text(version)}; {kept} kept"]
    if not found.complete:
        lines.append(
            "an apply was interrupted before its routes were in force: run `bridge tenant apply` again"
        )
    lines += [
        f"{route.name}: {route.mapping} → {route.connection} ({one.connections[route.connection].base_url})"
        for route in _routes(one)
    ]
    lines += [pause_text(*pause) for pause in found.pauses.all()]
    return "\n    ".join(lines)


def _routes(tenant: Tenant | None) -> list[Route]:
    return [] if tenant is None else [route for _, route in sorted(tenant.routes.items())]
