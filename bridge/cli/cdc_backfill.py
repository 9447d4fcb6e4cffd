"""`bridge cdc backfill`: existing rows as `read` events, done by the capture that runs."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bridge.cli.backfill_progress import follow, record_json, record_text
from bridge.cli.cdc_words import print_line, words
from bridge.cli.context import chosen_source, config_option, json_option, source_option
from bridge.cli.errors import Findings, Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.running import run
from bridge.cli.tenant_name import tenant_name
from bridge.cli.whoever_asks import whoever_asks
from bridge.settings import Settings, load_settings
from cdc.backfill.request import ask, cancel, check_table
from cdc.backfill.run_record import MOST_ROWS, RunRecord, Target
from cdc.backfill.run_store import RunStore
from cdc.settings import SourceSettings
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.tenants.model import Tenant
from pipeline.tenants.store import TenantStore
from pipeline.yaml_nodes import nearest


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line says."""

    table: str
    tenant: str | None
    route: str | None
    chunk: int
    rate: int | None
    detach: bool
    as_json: bool


@click.command()
@click.argument("table", required=False)
@config_option
@source_option
@click.option("--tenant", metavar="TENANT", help="Only this tenant's rows: its folder's name, or key:… .")
@click.option("--route", metavar="TENANT/ROUTE", help="For this route alone, whatever its operations say.")
@click.option("--rate", metavar="N/s", help="At most so many rows a second.")
@click.option("--chunk", type=click.IntRange(1, 10_000), default=MOST_ROWS, help="Rows read at once at most.")
@click.option("--detach", is_flag=True, help="Ask for it, and do not wait.")
@click.option("--list", "as_list", is_flag=True, help="Show the source's backfills.")
@click.option("--cancel", "cancelled", metavar="RUN", help="End one; what it has published stays.")
@json_option
def backfill(  # noqa: PLR0913 - an argument for each option
    *,
    table: str | None,
    config: Path,
    source: str | None,
    tenant: str | None,
    route: str | None,
    rate: str | None,
    chunk: int,
    detach: bool,
    as_list: bool,
    cancelled: str | None,
    as_json: bool,
) -> None:
    """Publish the existing rows of TABLE as `read` events, while capture runs; asked for again, go on watching it."""
    settings = load_settings(config, with_secrets=False)
    chosen = chosen_source(settings, source)
    if as_list + (cancelled is not None) + (table is not None) != 1:
        raise Usage("write a table, as public.work_orders, or --list, or --cancel RUN")
    with words():
        if as_list:
            run(_list(settings, chosen, as_json=as_json))
        elif cancelled is not None:
            run(_cancel(settings, chosen, cancelled))
        elif table is not None:
            asked = _Asked(table, tenant, route, chunk, _rate(rate), detach, as_json)
            run(_backfill(settings, chosen, asked))


async def _backfill(settings: Settings, source: SourceSettings, asked: _Asked) -> None:
    if asked.table not in source.tables:
        raise Usage(
            f"source {source.name} has no table {asked.table!r} in {settings.file}"
            f"{nearest(asked.table, source.tables)}"
        )
    async with event_bus(settings, "bridge cdc backfill") as jetstream:
        record = RunRecord(
            target=await _target(settings, source, asked, jetstream),
            by=whoever_asks(),
            requested=datetime.now(UTC).isoformat(timespec="seconds"),
            chunk=asked.chunk,
            rate=asked.rate,
        )
        await check_table(source, record)
        store = _store(settings, source, jetstream)
        found = await ask(store, record)
        if asked.detach:
            stored = await store.get(found.run)
            assert stored is not None
            print_line(record_json(stored)) if asked.as_json else click.echo(record_text(stored))
            return
        state = await follow(store, source, found, as_json=asked.as_json)
    if state != "done":
        raise Findings(f"backfill {found.run} of {asked.table} is {state}")


async def _target(settings: Settings, source: SourceSettings, asked: _Asked, jetstream: JetStream) -> Target:
    subjects = Subjects(settings.nats.namespace)
    of_route = None if asked.route is None else await _of_route(jetstream, subjects, asked)
    key = None if of_route is None else of_route.key
    if asked.tenant is not None:
        key = await _key(asked.tenant, jetstream, subjects)
        if of_route is not None and key != of_route.key:
            raise Usage(f"--route {asked.route} is not a route of tenant {asked.tenant}")
    elif source.tables[asked.table].tenant_column is None:
        key = None  # a route for any tenant, of a table without tenants
    return Target(asked.table, key, asked.route)


async def _of_route(jetstream: JetStream, subjects: Subjects, asked: _Asked) -> Tenant:
    name, slash, route = (asked.route or "").partition("/")
    if not slash:
        raise Usage(f"--route {asked.route}: write TENANT/ROUTE")
    found = await TenantStore(jetstream, subjects).get(name)
    if found is None:
        raise Usage(f"no tenant {name!r} is in force; `bridge tenant list` shows them")
    if route not in found.routes:
        raise Usage(f"tenant {name} has no route {route!r} in force{nearest(route, found.routes)}")
    table = found.routes[route].source.table
    if table != asked.table:
        raise Usage(f"route {asked.route} is for {table}, not for {asked.table}")
    return found


async def _key(written: str, jetstream: JetStream, subjects: Subjects) -> str:
    if written.startswith("key:"):
        return written.removeprefix("key:")  # of a tenant that need not be in force
    name = await tenant_name(written, jetstream, subjects)
    found = await TenantStore(jetstream, subjects).get(name)
    if found is None:
        raise Usage(f"no tenant {name!r} is in force; write key:… with the tenant column's value")
    return found.key


async def _list(settings: Settings, source: SourceSettings, *, as_json: bool) -> None:
    async with event_bus(settings, "bridge cdc backfill") as jetstream:
        found = await _store(settings, source, jetstream).all()
    for stored in found:
        if as_json:
            print_line(record_json(stored))
        else:
            click.echo(record_text(stored))
    if not found and not as_json:
        click.echo(f"no backfill of source {source.name} was ever asked for")


async def _cancel(settings: Settings, source: SourceSettings, name: str) -> None:
    async with event_bus(settings, "bridge cdc backfill") as jetstream:
        store = _store(settings, source, jetstream)
        if await cancel(store, name):
            click.echo(f"backfill {name} is cancelled; what it has published stays")
            return
        stored = await store.get(name)
    if stored is None:
        raise Usage(f"source {source.name} has no backfill {name!r}; `bridge cdc backfill --list` shows them")
    raise Findings(f"backfill {name} has ended: it is {stored.record.state}")


def _store(settings: Settings, source: SourceSettings, jetstream: JetStream) -> RunStore:
    return RunStore(jetstream, Subjects(settings.nats.namespace), source.name)


def _rate(written: str | None) -> int | None:
    if written is None:
        return None
    digits = written.removesuffix("/s")
    if not digits.isdecimal() or int(digits) == 0:
        raise Usage(f"--rate {written}: write rows a second, as 500/s")
    return int(digits)
