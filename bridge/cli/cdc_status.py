"""`bridge cdc status`: where the slot stands."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import click

from bridge.cli.cdc_words import print_line, servers, words
from bridge.cli.context import chosen_source, config_option, json_option, source_option
from bridge.cli.errors import Unreachable
from bridge.cli.running import run
from bridge.settings import Settings, load_settings
from cdc.catalogue import Catalogue
from cdc.settings import SourceSettings
from cdc.status import CaptureStatus, Owner, number_text, size_text, slot_text
from cdc.status_reading import read_status
from eventbus.errors import ConnectionLost, NatsRefused, NatsUnreachable, NoAnswer


@click.command()
@config_option
@source_option
@json_option
@click.pass_context
def status(context: click.Context, *, config: Path, source: str | None, as_json: bool) -> None:
    """Where the slot stands: who reads it and who stands by, what is published, how much WAL it holds.

    Exit 1 where capture cannot go on: no slot, a slot that is lost or was moved, a stall, or JetStream takes nothing.
    A capture that is merely stopped is exit 0.
    """
    settings = load_settings(config, with_secrets=False)
    chosen = chosen_source(settings, source)
    with words():
        found = run(_status(settings, chosen))
    if as_json:
        findings = [matter._asdict() for matter in found.findings]
        print_line(dataclasses.asdict(found) | {"findings": findings})
    else:
        click.echo("\n".join(_lines(found)))
    if not found.holds:
        context.exit(1)


async def _status(settings: Settings, source: SourceSettings) -> CaptureStatus:
    try:
        async with servers(settings, source) as (catalogue, nats):
            return await read_status(source, catalogue, nats, settings.nats.namespace)
    except (NatsUnreachable, NatsRefused, NoAnswer, ConnectionLost, Unreachable) as error:
        # just then a DBA asks how much WAL is held
        raise Unreachable(f"{error}\nPostgreSQL tells: {await _slot(source)}") from None


async def _slot(source: SourceSettings) -> str:
    """Raises SourceLost."""
    catalogue = await Catalogue.open(source.dsn)
    try:
        return slot_text(source.slot, await catalogue.slot(source.slot, source.publication))
    finally:
        await catalogue.close()


def _lines(found: CaptureStatus) -> Iterator[str]:
    yield found.summary
    if found.stalled is not None:
        yield f"STALLED: {found.stalled}"
    if found.blocked is not None:
        yield f"BLOCKED: JetStream takes nothing, code {found.blocked}; the slot waits"
    facts = (
        ("owner", _owner_text(found.owner)),
        ("stands by", _standbys_text(found)),
        ("lag", _lag_text(found)),
        ("events", _events_text(found)),
        ("WAL held", _held_text(found)),
        ("confirmed", found.confirmed),
        ("published", found.published),
        ("end of WAL", found.wal_end),
        ("epoch", found.epoch),
    )
    yield from (f"  {name + ':':<12}{value}" for name, value in facts if value is not None)
    yield from (f"  look: {matter.message} [{matter.code}]" for matter in found.findings)


def _owner_text(owner: Owner | None) -> str | None:
    if owner is None:
        return None
    capture = f" of {owner.host} (process {owner.process})" if owner.host else ""
    seen = f", since {owner.since}" if owner.since else ""
    if owner.application is None:
        return f"PostgreSQL's process {owner.pid}{capture}{seen}"
    place = owner.address or "a socket"
    return f"{owner.application}{capture} from {place}, PostgreSQL's process {owner.pid}{seen}"


def _standbys_text(found: CaptureStatus) -> str | None:
    if found.state != "running":
        return None
    standbys = (f"{each.host} (process {each.process}) since {each.since}" for each in found.standbys)
    return ", ".join(standbys) or "nobody"


def _lag_text(found: CaptureStatus) -> str | None:
    if found.lag_bytes is None:
        return None
    seconds = "" if found.lag_seconds is None else f", {number_text(found.lag_seconds)} s"
    return f"{size_text(found.lag_bytes)}{seconds}"


def _events_text(found: CaptureStatus) -> str | None:
    rate = None if found.events_per_second is None else f"{number_text(found.events_per_second)} a second"
    age = found.last_event_age_seconds
    last = "none yet" if age is None else f"the last one {age:.0f} s ago"
    return f"{rate}, {last}" if rate else last


def _held_text(found: CaptureStatus) -> str | None:
    if found.held_bytes is None:
        return None
    parts = [size_text(found.held_bytes)]
    if found.wal_limit is not None:
        passed = ", MORE than" if found.wal_limit_passed else " of"
        parts[0] += f"{passed} the {size_text(found.wal_limit)} of wal_limit"
    if found.wal_status not in (None, "reserved"):
        parts.append(f"wal_status {found.wal_status}")
    if found.safe_wal_bytes is not None:
        parts.append(
            f"{size_text(found.safe_wal_bytes)} more until the slot is lost (max_slot_wal_keep_size)"
        )
    return ", ".join(parts)
