"""A stall is seen, an idle database pins nothing, and what a slot holds is told: on a real server."""

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from prometheus_client import REGISTRY
from psycopg.conninfo import make_conninfo
from structlog.testing import capture_logs
from structlog.typing import EventDict

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from cdc.capture import Capture
from cdc.catalogue import Catalogue
from cdc.heartbeat import Heartbeat, HeartbeatSettings
from cdc.progress import ProgressSettings
from cdc.status import CaptureStatus
from cdc.status_reading import read_status
from eventbus.condition import Condition, Matter, Role
from eventbus.connection import connect
from eventbus.settings import NatsSettings
from tests.cdc.capturing import MB, STREAMS, Source, eventually, fill

BEATS = HeartbeatSettings(every=0.05, late_after=0.4, lost_after=60.0)


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    found.settings = replace(found.settings, heartbeat=0.1)
    await found.create()
    return found


def beats(monkeypatch: pytest.MonkeyPatch, settings: HeartbeatSettings = BEATS) -> None:
    monkeypatch.setattr("cdc.vital_signs.HeartbeatSettings.of", lambda _: settings)


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"bridge_capture_{name}", {"source": "shop", **labels})
    return -1.0 if found is None else found


async def walsender(source: Source) -> int:
    query = f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{source.settings.slot}'"
    return int(await eventually(lambda: source.value(query), lambda pid: pid is not None))


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def condition(capture: Capture) -> Condition:
    return capture.state.condition()


def codes(matters: tuple[Matter, ...]) -> list[str]:
    return [matter.code for matter in matters]


async def status(source: Source) -> CaptureStatus:
    catalogue = await Catalogue.open(source.dsn)
    async with await connect(source.nats, name="test", reconnect=False) as nats:
        found = await read_status(source.settings, catalogue, nats, source.nats.namespace)
    await catalogue.close()
    return found


async def test_a_walsender_that_stands_still_is_a_stall_until_it_moves_again(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats(monkeypatch)
    capture = source.capture()
    with capture_logs() as logs:
        async with source.capturing(capture=capture):
            with frozen(await walsender(source)):
                await eventually(
                    partial(condition, capture), lambda found: codes(found.reasons) == ["stalled"]
                )
                await eventually(told(logs, "the server's word on the stalled stream"), bool)
                assert value("stalled") == 1
                found = await status(source)
                assert (found.state, found.holds) == ("running", False)
                assert "nothing has come from PostgreSQL" in (found.stalled or "")
            await eventually(partial(condition, capture), lambda found: found.ready)
            await source.captured()
    (stalled,) = await told(logs, "the stream is stalled: connected, and nothing comes")()
    assert stalled["walsender_pid"] > 0
    assert (
        "state streaming" in (await told(logs, "the server's word on the stalled stream")())[0]["walsender"]
    )
    assert await told(logs, "the stream moves again")()


def told(logs: list[EventDict], event: str) -> Callable[[], Awaitable[list[EventDict]]]:
    async def found() -> list[EventDict]:
        return [line for line in logs if line["event"] == event]

    return found


async def test_a_stall_that_lasts_ends_the_tenure_and_a_fresh_one_begins(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats(monkeypatch, replace(BEATS, lost_after=0.6))
    source.settings = replace(source.settings, dsn=with_sender_timeout(source.dsn))
    capture, before = source.capture(), max(0.0, value("tenures_total"))
    with capture_logs() as logs:
        async with source.capturing(capture=capture):
            with frozen(await walsender(source)):
                await eventually(told(logs, "beginning again"), bool)
            await eventually(partial(condition, capture), lambda found: found.role is Role.OWNER)
            await source.captured()
    (again,) = await told(logs, "beginning again")()
    assert "nothing has come from PostgreSQL" in again["because"]
    assert value("tenures_total") == before + 2
    assert value("errors_total", kind="SourceLost") >= 1


def with_sender_timeout(dsn: str) -> str:
    return make_conninfo(dsn, options="-c wal_sender_timeout=1s")


async def test_what_only_other_tables_and_databases_change_does_not_pin_wal(
    source: Source, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.tenure.ProgressSettings", partial(ProgressSettings, lone_every=0.2))
    elsewhere = Source(postgres.dsn(), source.nats)
    async with source.capturing():
        await source.captured()
        before = len(await source.events("marks"))
        for _ in range(3):
            await source.sql("CREATE TABLE other AS SELECT generate_series(1, 1000) i", "DROP TABLE other")
            await elsewhere.sql("CREATE TABLE other AS SELECT generate_series(1, 1000) i", "DROP TABLE other")
            await source.confirmed(await source.value("SELECT pg_current_wal_insert_lsn()"))
        assert len(await source.events("marks")) == before


async def test_heartbeats_alone_move_an_idle_slot(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.tenure.ProgressSettings", partial(ProgressSettings, lone_every=0.2))
    async with source.capturing():
        await source.captured()
        await source.confirmed(await source.value("SELECT pg_current_wal_insert_lsn() + 200"))
        assert 0 < value("heartbeat_seconds") < 10
    assert value("lag_bytes") >= 0


@pytest.fixture
async def muted(source: Source) -> AsyncIterator[Source]:
    """Its login may not write a message into the WAL."""
    role = f"muted_{secrets.token_hex(4)}"
    emit = "pg_logical_emit_message(boolean, text, bytea, boolean)"
    await source.sql(
        f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'm'", f"REVOKE EXECUTE ON FUNCTION {emit} FROM PUBLIC"
    )
    source.settings = replace(source.settings, dsn=make_conninfo(source.dsn, user=role, password="m"))
    yield source
    await source.sql(f"DROP ROLE {role}")


async def test_a_heartbeat_that_the_server_refuses_does_not_stop_capture(
    muted: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, third = muted.capture(), asyncio.Event()

    def refused(heartbeat: Heartbeat) -> None:
        heartbeat._under_way = None
        if heartbeat._number == 3:
            third.set()

    monkeypatch.setattr(Heartbeat, "refused", refused)
    with capture_logs() as logs:
        async with muted.capturing(capture=capture):
            found = await eventually(partial(condition, capture), lambda found: bool(found.findings))
            await asyncio.wait_for(third.wait(), 20)
            await muted.captured()
    assert (found.ready, codes(found.findings)) == (True, ["heartbeat_refused"])
    (once,) = await told(logs, "the server takes no heartbeat: capture goes on, but a stall is not seen")()
    assert "permission denied for function pg_logical_emit_message" in once["because"]


async def test_more_wal_than_the_limit_is_told_and_capture_stays_ready(source: Source) -> None:
    source.settings = replace(source.settings, wal_limit=1)
    capture = source.capture()
    with capture_logs() as logs:
        async with source.capturing(capture=capture):
            found = await eventually(
                partial(condition, capture), lambda found: found.role is Role.OWNER and bool(found.findings)
            )
            await eventually(told(logs, "the slot holds more WAL than wal_limit"), bool)
            assert (found.ready, codes(found.findings)) == (True, ["wal_limit"])
            assert f"slot {source.settings.slot} holds" in found.findings[0].message
            assert value("slot_held_bytes") > 1
            assert (value("wal_limit_bytes"), value("wal_limit_passed")) == (1, 1)
    (line,) = await told(logs, "the slot holds more WAL than wal_limit")()
    assert line["held_bytes"] > line["wal_limit_bytes"] == 1


async def test_more_wal_than_the_limit_is_told_while_nats_is_away(
    database: str, own_nats: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.wal_watch.LOOK_EVERY_S", 0.1)
    monkeypatch.setattr("cdc.capture._LONGEST_PAUSE", 0.3)
    source = Source(database, NatsSettings((own_nats.url,), sync_interval=0.0))
    await source.create()
    source.settings = replace(source.settings, wal_limit=16 * MB)
    capture = source.capture()
    async with source.capturing(capture=capture):
        await source.captured()
        await own_nats.kill()
        await eventually(partial(condition, capture), lambda found: found.role is Role.STARTING)
        await source.sql(
            "SELECT pg_logical_emit_message(false, 'ballast', repeat('x', 1000000)) FROM generate_series(1, 20)"
        )
        found = await eventually(partial(condition, capture), lambda found: bool(found.findings))
        assert (codes(found.findings), codes(found.reasons)) == (["wal_limit"], ["starting"])
        assert "NATS" in found.findings[0].message
        assert value("wal_limit_passed") == 1
        await own_nats.start()
        await source.captured()
        await source.sql("CHECKPOINT")  # only with a snapshot in the WAL does the server let go of more
        await eventually(partial(condition, capture), lambda found: not found.findings)


async def test_a_full_stream_is_why_it_is_not_ready_and_how_far_it_is_behind(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats(monkeypatch)
    monkeypatch.setattr("tests.cdc.capturing.STREAMS", replace(STREAMS, events_max_bytes=100_000))
    capture = source.capture()
    running = asyncio.create_task(capture.run(asyncio.Event()))
    await source.captured()
    await fill(source)
    await source.sql("INSERT INTO orders VALUES (1, 1)")
    await eventually(partial(condition, capture), lambda found: codes(found.reasons) == ["blocked"])
    found = await eventually(partial(status, source), lambda found: (found.lag_seconds or 0) > 1)
    assert (found.state, found.blocked, found.stalled, found.holds) == ("running", 10077, None, False)
    assert value("blocked_code") == 10077
    running.cancel()
    await asyncio.wait((running,))


async def test_events_bytes_and_batches_are_counted(source: Source) -> None:
    counted = ("events_total", "bytes_total", "batches_total", "commit_seconds_count")
    before = {name: max(0.0, value(name)) for name in counted}
    async with source.capturing():
        await source.sql("INSERT INTO orders SELECT i, 1 FROM generate_series(1, 50) i")
        await source.captured()
        assert (value("owner"), value("standby")) == (1, 0)
    assert value("events_total") - before["events_total"] == 51  # with the mark of `captured`
    assert value("bytes_total") - before["bytes_total"] > 50 * 200
    batches = value("batches_total") - before["batches_total"]
    assert batches == value("commit_seconds_count") - before["commit_seconds_count"] > 0
    assert value("last_event_timestamp_seconds") > 0


async def test_who_stands_by_is_ready_and_says_so(source: Source) -> None:
    first, second = source.capture(), source.capture()
    async with source.capturing(capture=first):
        await asyncio.wait_for(first.ready.wait(), 20)
        async with source.capturing(capture=second):
            await asyncio.wait_for(second.ready.wait(), 20)
            found = await condition(second)
            assert (found.role, found.ready) == (Role.STANDBY, True)
