"""`bridge tenant list`: what is in force."""

import json
from pathlib import Path
from typing import Any

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.event_bus import event_bus
from bridge.cli.pause_words import pause_json, pause_text
from bridge.cli.running import run
from bridge.settings import Settings, load_settings
from eventbus.subjects import Subjects
from pipeline.tenants.apply import Application, InForce
from pipeline.tenants.model import Route, Tenant


@click.command("list")
@config_option
@json_option
def list_tenants(config: Path, *, as_json: bool) -> None:
    """Which tenants are in force, with their keys, revisions and routes."""
    for found in run(_list(load_settings(config, with_sources=False, with_secrets=False))):
        click.echo(_tenant_json(found) if as_json else _tenant_text(found))


async def _list(settings: Settings) -> list[InForce]:
    async with event_bus(settings, "bridge tenant list") as jetstream:
        return await Application(jetstream, Subjects(settings.nats.namespace)).list()


def _tenant_json(found: InForce) -> str:
    one = found.tenant
    members: dict[str, Any] = {
        "tenant": one.name,
        "key": one.key,
        "revision": one.revision,
        "complete": found.complete,
        "routes": {
            route.name: {"mapping": route.mapping, "connection": route.connection} for route in _routes(one)
        },
        "pauses": [pause_json(*pause) for pause in found.pauses.all()],
    }
    return json.dumps(members, ensure_ascii=False)


def _tenant_text(found: InForce) -> str:
    one = found.tenant
    lines = [f"{one.name}: key {one.key!r}, revision {one.revision}"]
    if not found.complete:
        lines.append(
            "an apply was interrupted before its routes were in force: run `bridge tenant apply` again"
        )
    lines += [
        f"{route.name}: {route.mapping} → {route.connection} ({_endpoint(one, route)})"
        for route in _routes(one)
    ]
    lines += [pause_text(*pause) for pause in found.pauses.all()]
    return "\n    ".join(lines)


def _routes(tenant_: Tenant) -> list[Route]:
    return [route for _, route in sorted(tenant_.routes.items())]


def _endpoint(tenant_: Tenant, route: Route) -> str:
    return tenant_.connections[route.connection].base_url
