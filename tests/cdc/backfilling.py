"""Backfills of a source in tests: asking for one, waiting for its end, and what its events make of the tables."""

from typing import Any

from cdc.backfill.run_record import RunRecord, Target
from cdc.backfill.run_store import RunStore
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from tests.cdc.capturing import Source, eventually


async def ask(source: Source, run: str, table: str = "public.orders", **more: Any) -> None:
    """Capture has to have run once, so that the bucket is there."""
    target = Target(table, more.pop("tenant", None), more.pop("route", None))
    async with source.jetstream() as jetstream:
        await store(source, jetstream).create(run, RunRecord(target=target, **more))


async def record(source: Source, run: str) -> RunRecord:
    async with source.jetstream() as jetstream:
        found = await store(source, jetstream).get(run)
    assert found is not None
    return found.record


async def ended(source: Source, run: str, within: float = 30.0) -> RunRecord:
    return await eventually(lambda: record(source, run), lambda found: not found.is_open, within)


def store(source: Source, jetstream: JetStream) -> RunStore:
    return RunStore(jetstream, Subjects(source.nats.namespace), "shop")


def replayed(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows that a consumer holds who keeps the last it heard of each key, whatever the event was."""
    rows: dict[str, dict[str, Any]] = {}
    deleted: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["op"] == "truncate":
            rows.clear()
            continue
        key = _key(event["key"])
        old = event["before"] and {name: event["before"].get(name) for name in event["key"]}
        before = rows.pop(_key(old), {}) if old and None not in old.values() else rows.pop(key, {})
        if event["op"] == "delete":
            deleted[key] = before
        else:
            # a move between tenants may leave values unchanged, and so unsent
            rows[key] = {**deleted.pop(key, {}), **before, **event["after"]}
    return rows


def _key(key: dict[str, Any]) -> str:
    return repr(sorted(key.items()))


async def forget_all(source: Source) -> None:
    """As if every row were older than the slot: capture begins behind all that is there."""
    await source.drop()
    await source.set_up()


async def assert_complete(source: Source, events: list[dict[str, Any]]) -> None:
    reads = [event["id"] for event in events if event["op"] == "read"]
    assert len(reads) == len(set(reads))
    rows = await source.sql("SELECT id, company, status, cost, note, changed FROM orders ORDER BY id")
    found = replayed(events)
    held = sorted(
        tuple(row[name] for name in ("id", "company", "status", "cost", "note", "changed"))
        for row in found.values()
    )
    assert held == rows
