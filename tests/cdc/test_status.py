"""What `bridge cdc status` makes of the facts, and what it tells of captures that run."""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.cli.main import main
from bridge.demo.nats_server import EmbeddedNats
from cdc.capture_state import Answer, EventRate
from cdc.position import Position
from cdc.settings import SourceSettings
from cdc.source_facts import SlotState
from cdc.status import CaptureStatus, Reader, StatusFacts, number_text, status_of
from eventbus.settings import NatsSettings
from tests.cdc.capturing import Source, eventually

MB = 2**20
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SLOT = SlotState(
    exists=True,
    plugin="pgoutput",
    database="d",
    two_phase=False,
    active_pid=77,
    confirmed_flush=100 * MB,
    wal_status="reserved",
    invalidation=None,
    publication_oid=1,
    recorded={},
    wal_end=100 * MB,
    connected_to="d",
    restart=90 * MB,
)
POSITION = Position(
    lsn="0/6400000",
    ordinal=1,
    flush="0/6400000",
    system_id="1",
    timeline=1,
    database="d",
    publication_oid=1,
    slot="s",
    tables_hash="",
    written="2026-11-24T11:59:30+00:00",
)
OWNER = Answer(
    host="a", process=1, walsender=77, role="owner", since="s", events_per_second=5.0, lag_seconds=0.02
)
STANDBY = Answer(host="b", process=2, walsender=78, role="standby", since="t")
FACTS = StatusFacts(SLOT, POSITION, Reader(77), NOW - timedelta(seconds=3), [STANDBY, OWNER])


def status(facts: StatusFacts = FACTS, wal_limit: int | None = None) -> CaptureStatus:
    return status_of(SourceSettings("shop", "", {}, wal_limit=wal_limit), facts, NOW)


def test_owner_and_standbys_are_told_apart_by_the_walsender() -> None:
    found = status()
    assert found.owner is not None
    assert (found.owner.host, found.owner.process, found.owner.pid) == ("a", 1, 77)
    assert [each.host for each in found.standbys] == ["b"]
    assert (found.state, found.holds, found.findings) == ("running", True, [])
    assert (found.events_per_second, found.last_event_age_seconds, found.lag_seconds) == (5.0, 3.0, 0.02)


def test_a_reader_of_which_no_capture_answers_is_told_and_is_no_error() -> None:
    found = status(replace(FACTS, answers=[STANDBY]))
    assert found.owner is not None
    assert found.owner.host is None
    assert [matter.code for matter in found.findings] == ["owner_silent"]
    assert found.holds


def test_what_the_slot_holds_is_told_against_the_limit() -> None:
    found = status(wal_limit=9 * MB)
    assert (found.held_bytes, found.wal_limit_passed, found.holds) == (10 * MB, True, True)
    assert [matter.code for matter in found.findings] == ["wal_limit"]
    assert not status(wal_limit=10 * MB).wal_limit_passed


def test_without_an_owner_the_lag_is_the_positions_age() -> None:
    behind = SLOT._replace(wal_end=101 * MB, active_pid=None)
    found = status(replace(FACTS, slot=behind, reader=None, answers=[]))
    assert (found.state, found.lag_bytes, found.lag_seconds, found.holds) == ("stopped", MB, 30.0, True)
    quiet = status(replace(FACTS, slot=SLOT._replace(active_pid=None), reader=None, answers=[]))
    assert (quiet.lag_bytes, quiet.lag_seconds) == (0, 0.0)


@pytest.mark.parametrize(
    ("slot", "state"),
    [
        ({"exists": False, "active_pid": None}, "missing"),
        ({"wal_status": "lost", "active_pid": None}, "lost"),
        ({"confirmed_flush": 101 * MB, "active_pid": None}, "moved"),
    ],
)
def test_where_capture_cannot_go_on_it_does_not_hold(slot: Mapping[str, Any], state: str) -> None:
    found = status(replace(FACTS, slot=SLOT._replace(**slot), reader=None, answers=[]))
    assert (found.state, found.holds) == (state, False)


@pytest.mark.parametrize("trouble", [{"stalled": "since noon"}, {"blocked": 10077}])
def test_a_stall_or_a_full_stream_does_not_hold(trouble: Mapping[str, Any]) -> None:
    answer = Answer(host="a", process=1, walsender=77, role="owner", since="", **trouble)
    found = status(replace(FACTS, answers=[answer]))
    assert (found.stalled, found.blocked) == (trouble.get("stalled"), trouble.get("blocked"))
    assert not found.holds


def test_the_rate_is_of_the_last_looks() -> None:
    rate = EventRate()
    assert rate.per_second == 0.0
    for second in range(30):
        rate.seen(0 if second < 15 else (second - 14) * 100, float(second))
    assert rate.per_second == 100.0


async def told(file: Path, *options: str) -> tuple[int, str]:
    words = ("cdc", "status", "--config", str(file), *options)
    done = await asyncio.to_thread(CliRunner().invoke, main, words)
    return done.exit_code, done.stdout


async def test_running_captures_are_seen_with_who_owns_and_who_stands_by(
    database: str, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await source.create()
    file = tmp_path / "bridge.yaml"
    file.write_text(
        f"sources:\n  shop:\n    dsn: {json.dumps(source.dsn)}\n    slot: {source.settings.slot}\n    wal_limit: 1B\n"
        f"    tables: {{public.orders: {{tenant_column: company}}}}\n"
        f"nats: {{servers: [{json.dumps(nats_server.url)}], namespace: '{namespace}'}}\n"
    )
    first, second = source.capture(), source.capture()
    async with source.capturing(capture=first):
        await asyncio.wait_for(first.ready.wait(), 20)
        async with source.capturing(capture=second):
            await asyncio.wait_for(second.ready.wait(), 20)
            await source.captured()

            async def status() -> dict[str, Any]:
                code, out = await told(file, "--json")
                assert code == 0
                return dict(json.loads(out))

            found = await eventually(status, lambda found: found["events_per_second"] > 0)
            text = (await told(file))[1]
    assert found["state"] == "running"
    assert found["owner"]["application"] == "fracttal-bridge"
    assert (found["owner"]["process"], found["owner"]["address"]) == (os.getpid(), "127.0.0.1")
    assert [each["process"] for each in found["standbys"]] == [os.getpid()]
    assert (found["stalled"], found["blocked"], found["wal_limit_passed"]) == (None, None, True)
    assert found["held_bytes"] > 1
    assert [finding["code"] for finding in found["findings"]] == ["wal_limit"]
    assert 0 <= found["last_event_age_seconds"] < 20
    assert "MORE than the 1 bytes of wal_limit" in text
    assert "stands by:" in text
    code, out = await told(file, "--json")
    stopped = json.loads(out)
    assert (code, stopped["state"], stopped["owner"], stopped["standbys"]) == (0, "stopped", None, [])
    await source.sql(f"SELECT pg_drop_replication_slot('{source.settings.slot}')")
    code, out = await told(file)
    assert (code, "There is no slot" in out) == (1, True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0064, "0.0064"), (51.93, "51.9"), (999.6, "1,000"), (11_000.0, "11,000")],
)
def test_numbers_for_people_have_no_exponent(value: float, text: str) -> None:
    assert number_text(value) == text
