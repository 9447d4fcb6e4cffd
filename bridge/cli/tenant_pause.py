"""`bridge tenant pause` and `resume`: a tenant, a route, or what goes through a connection sends nothing for a while."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.errors import Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.pause_words import pause_json, pause_text
from bridge.cli.running import run
from bridge.cli.tenant_name import tenant_name
from bridge.cli.whoever_asks import whoever_asks, why_option
from bridge.settings import Settings, load_settings
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.tenants.pause_store import PauseChange, PauseStore
from pipeline.tenants.pauses import Pause, Paused, TenantPauses
from pipeline.tenants.store import TenantStore
from pipeline.yaml_nodes import nearest

_Done = tuple[str, Paused, PauseChange, TenantPauses]
"""Tenant, what was named, what came of it, and what is paused now."""

_target = click.argument("target", metavar="TENANT[/ROUTE]")
_connection = click.option(
    "--connection", metavar="NAME", help="What goes through this connection of TENANT."
)


@click.command()
@_target
@_connection
@why_option
@config_option
@json_option
def pause(target: str, connection: str | None, why: str, config: Path, *, as_json: bool) -> None:
    """Send nothing for TENANT, one of its routes, or one of its connections, until `bridge tenant resume`.

    What comes meanwhile waits, in order, and its deadline stands still. It is in force at once.
    """
    settings = load_settings(config, with_sources=False, with_secrets=False)
    asked = Pause(time.time(), whoever_asks(), why)
    name, what, change, _ = done = run(_change(settings, target, connection, asked))
    assert change.after is not None
    if as_json:
        click.echo(_json(done))
    elif change.before is not None:
        click.echo(f"{name}: {pause_text(what, change.before)}; nothing was changed")
    else:
        click.echo(f"{name}: {pause_text(what, change.after)}")


@click.command()
@_target
@_connection
@config_option
@json_option
def resume(target: str, connection: str | None, config: Path, *, as_json: bool) -> None:
    """End what `bridge tenant pause` began, named in the same way; other pauses stay."""
    settings = load_settings(config, with_sources=False, with_secrets=False)
    name, what, change, left = done = run(_change(settings, target, connection, None))
    if as_json:
        click.echo(_json(done))
        return
    lines = [f"{name}: {what} goes on" if change.before else f"{name}: {what} was not paused"]
    lines += [f"but {pause_text(*one)}" for one in left.all()]
    click.echo("\n    ".join(lines))


async def _change(settings: Settings, target: str, connection: str | None, wanted: Pause | None) -> _Done:
    written, slash, route = target.partition("/")
    if slash and connection is not None:
        raise Usage("name a route or a connection, not both; each has a pause of its own")
    what = Paused(route if slash else None, connection)
    async with event_bus(settings, f"bridge tenant {'pause' if wanted else 'resume'}") as jetstream:
        subjects = Subjects(settings.nats.namespace)
        store = PauseStore(jetstream, subjects)
        name = await tenant_name(written, jetstream, subjects)
        if wanted is not None or (await store.get(name)).get(what) is None:
            await _check_there(jetstream, subjects, name, what)
        doing = store.resume(name, what) if wanted is None else store.pause(name, what, wanted)
        return name, what, await doing, await store.get(name)


async def _check_there(jetstream: JetStream, subjects: Subjects, name: str, what: Paused) -> None:
    """What is paused already may be resumed even where no version has it any more; a slip of the pen is told."""
    found = await TenantStore(jetstream, subjects).get(name)
    if found is None:
        raise Usage(f"no tenant {name!r} is in force; `bridge tenant list` shows them")
    kinds: tuple[tuple[str, str | None, Mapping[str, object]], ...] = (
        ("route", what.route, found.routes),
        ("connection", what.connection, found.connections),
    )
    for kind, asked, there in kinds:
        if asked is not None and asked not in there:
            raise Usage(f"tenant {name} has no {kind} {asked!r} in force{nearest(asked, there)}")


def _json(done: _Done) -> str:
    name, what, change, left = done
    members = {
        "tenant": name,
        "route": what.route,
        "connection": what.connection,
        "changed": change.before != change.after,
        "pauses": [pause_json(*one) for one in left.all()],
    }
    return json.dumps(members, ensure_ascii=False)
