"""Capture against real servers: what is committed stands in EVENTS once, whatever is stopped, lost or taken away."""

import asyncio
import dataclasses
import json
import re
from functools import partial

import pytest
from structlog.testing import capture_logs

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from cdc.capture import Capture
from cdc.pgoutput import parse_begin
from cdc.progress import ProgressSettings
from cdc.source_errors import CaptureStopped, SourceLost
from cdc.start_decision import Consent
from eventbus.batch_publisher import BatchPublisher
from eventbus.connection import connect
from eventbus.event import HEADER_EVENT_ID
from eventbus.group_commit import Outgoing
from eventbus.lsn import format_lsn
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from eventbus.wire import header_lines
from tests.cdc.capturing import STREAMS, Source, Workload, assert_gap_free, eventually, fill


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await found.create()
    return found


async def insert(source: Source, *ids: int) -> None:
    await source.sql(*(f"INSERT INTO orders VALUES ({id_}, 1, 'open', 1.10)" for id_ in ids))


async def stopped(source: Source, consent: Consent | None = None) -> str:
    """The code with which capture stops by itself."""
    with pytest.raises(CaptureStopped) as caught:
        async with asyncio.timeout(20):
            await source.capture(consent).run(asyncio.Event())
    return caught.value.stop.code


async def test_mixed_changes_are_published_once_in_commit_order(source: Source) -> None:
    workload = Workload(seed=1)
    async with source.capturing():
        await workload.run(source, 700)
        await workload.large(source, 2_500)  # more than a batch holds
        await workload.run(source, 4_200)
        await source.captured()
    events = await assert_gap_free(source)
    assert len(events) >= workload.changes


async def test_capture_goes_on_where_it_stopped(source: Source) -> None:
    for step in range(3):
        async with source.capturing():
            await insert(source, step)
            await source.captured()
        await insert(source, step + 10)
    async with source.capturing():
        await source.captured()
    await assert_gap_free(source)


async def test_a_drain_confirms_everything_it_published(source: Source) -> None:
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
    position = await source.position()
    assert position is not None
    confirmed = await source.value(
        f"SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{source.settings.slot}'"
    )
    assert confirmed == position.flush


async def test_an_event_larger_than_a_message_goes_through_the_object_store(source: Source) -> None:
    async with source.capturing():
        await source.sql("INSERT INTO orders VALUES (1, 1, 'open', 1, repeat('é', 1500000))")
        await source.captured()
    (event,) = await assert_gap_free(source)
    assert event["after"]["note"] == "é" * 1_500_000


async def test_an_idle_table_does_not_pin_wal(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.tenure.ProgressSettings", partial(ProgressSettings, lone_every=0.2))
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
        await source.sql("CREATE TABLE other AS SELECT generate_series(1, 1000) i", "CHECKPOINT")
        reached = await source.value("SELECT pg_current_wal_flush_lsn()")
        await source.confirmed(reached)
    assert len(await source.events()) == 1


async def test_a_claim_that_waits_for_room_is_given_up_for_a_stop(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.cdc.capturing.STREAMS", dataclasses.replace(STREAMS, events_max_bytes=100_000))
    async with source.capturing():
        await source.captured()
    await fill(source)
    stop = asyncio.Event()
    capture = source.capture()
    running = asyncio.create_task(capture.run(stop))

    async def reasons() -> list[str]:
        return [reason.code for reason in capture.state.condition().reasons]

    await eventually(reasons, lambda codes: codes == ["claiming", "blocked"])
    stop.set()
    await asyncio.wait_for(running, 5)


async def test_a_second_capture_waits_and_takes_over(source: Source) -> None:
    stop_first, stop_second = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(source.capture().run(stop_first))
    await insert(source, 1)
    await source.captured()
    second = asyncio.create_task(source.capture().run(stop_second))
    await insert(source, 2)
    await source.captured()
    stop_first.set()
    await first
    await insert(source, 3)
    await source.captured()
    stop_second.set()
    await second
    await assert_gap_free(source)


async def test_a_slot_moved_by_somebody_else_is_a_gap(source: Source) -> None:
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
    await insert(source, 2)
    moved = f"SELECT pg_replication_slot_advance('{source.settings.slot}', pg_current_wal_lsn())"
    await source.sql(moved)
    assert await stopped(source) == "gap"
    assert await stopped(source, Consent(new_epoch=True)) == "gap"
    async with source.capturing(Consent(accept_gap=True)):
        await insert(source, 3)
        await source.captured()
    assert [event["key"]["id"] for event in await source.events()] == [1, 3]
    async with source.capturing():  # the consent is remembered, not needed again
        await source.captured()


async def test_a_slot_made_anew_is_a_gap(source: Source) -> None:
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
    await insert(source, 2)
    await source.sql(f"SELECT pg_drop_replication_slot('{source.settings.slot}')")
    assert await stopped(source) == "slot_missing"
    await source.set_up()
    assert await stopped(source) == "gap"


async def test_a_deleted_stream_is_not_begun_again_without_a_word(source: Source) -> None:
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
    async with source.jetstream() as jetstream:
        await jetstream.call(f"STREAM.DELETE.{Subjects(source.nats.namespace).stream('EVENTS')}")
    assert await stopped(source) == "position_missing"
    async with source.capturing(Consent(accept_gap=True)):
        await insert(source, 2)
        await source.captured()
    assert [event["id"].partition(":")[0] for event in await source.events()] == ["shop"]


async def test_a_stream_deleted_under_capture_ends_it(source: Source) -> None:
    task = asyncio.create_task(source.capture().run(asyncio.Event()))
    await insert(source, 1)
    reached = await source.value("SELECT pg_current_wal_insert_lsn()")
    await source.captured()
    await source.confirmed(reached)
    async with source.jetstream() as jetstream:
        await jetstream.call(f"STREAM.DELETE.{Subjects(source.nats.namespace).stream('EVENTS')}")
    await insert(source, 2)
    async with asyncio.timeout(30):
        with pytest.raises(CaptureStopped) as caught:
            await task
    assert caught.value.stop.code == "position_missing"


async def test_drop_and_setup_begin_a_new_epoch(source: Source) -> None:
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
    await source.drop()
    assert await source.sql("SELECT FROM pg_publication") == []
    await source.set_up()
    async with source.capturing():
        await insert(source, 2)
        await source.captured()
    assert [event["id"].partition(":")[0] for event in await source.events()] == ["shop", "shop@2"]


async def test_another_database_behind_the_name_is_refused(
    source: Source, nats_server: EmbeddedNats, own_postgres: EmbeddedPostgres
) -> None:
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
    other = Source(own_postgres.dsn(), source.nats)
    await other.create()
    assert await stopped(other) == "other_database"
    async with other.capturing(Consent(new_epoch=True)):
        await insert(other, 2)
        await other.captured()
    assert [event["id"].partition(":")[0] for event in await other.events()] == ["shop", "shop@2"]


async def test_a_publication_made_anew_is_refused(source: Source) -> None:
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
    await source.sql("DROP PUBLICATION bridge", "CREATE PUBLICATION bridge FOR TABLE orders, marks")
    assert await stopped(source) == "other_database"


async def test_a_publication_dropped_under_capture_ends_it(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.publication_watch.WATCH_EVERY_S", 0.05)
    running = asyncio.create_task(source.capture().run(asyncio.Event()))
    await source.captured()
    await source.sql("DROP PUBLICATION bridge")
    with pytest.raises(CaptureStopped, match="dropped or made anew while capture ran") as stopped:
        await asyncio.wait_for(running, 20)
    first, then = stopped.value.stop.ways
    assert "--new-epoch" in then
    by_hand = re.search(r"`(SELECT .*?)`, then `bridge cdc setup`", first)
    assert by_hand is not None
    await source.sql(by_hand[1])
    await source.set_up()
    async with source.capturing(Consent(new_epoch=True)):
        await insert(source, 1)
        await source.captured()
    assert [event["id"].partition(":")[0] for event in await source.events()] == ["shop@2"]


async def test_a_slot_with_two_phase_is_refused(source: Source) -> None:
    slot = source.settings.slot
    await source.sql(
        f"SELECT pg_drop_replication_slot('{slot}')",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput', false, true)",
    )
    assert await stopped(source) == "slot_two_phase"


async def test_a_missing_slot_and_a_refused_login_end_the_first_start(source: Source) -> None:
    await source.sql(f"SELECT pg_drop_replication_slot('{source.settings.slot}')")
    assert await stopped(source) == "slot_missing"
    elsewhere = dataclasses.replace(source.settings, dsn="postgresql://nobody:wrong@127.0.0.1:1/x")
    with pytest.raises(SourceLost):
        await Capture(elsewhere, source.nats, STREAMS, Consent()).run(asyncio.Event())


async def test_a_killed_nats_server_costs_nothing(database: str, own_nats: EmbeddedNats) -> None:
    source = Source(database, NatsSettings((own_nats.url,), sync_interval=0.0))
    await source.create()
    workload = Workload(seed=2)
    async with source.capturing():
        await source.captured()
        for _ in range(3):
            working = asyncio.create_task(workload.run(source, workload.changes + 300))
            await asyncio.sleep(0.1)  # into the middle of it
            await own_nats.kill()
            await own_nats.start()
            await working
        await source.captured()
    await assert_gap_free(source)


async def test_a_killed_postgres_costs_nothing(
    own_postgres: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str
) -> None:
    source = Source(own_postgres.dsn(), NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await source.create()
    async with source.capturing():
        await source.captured()
        for number in range(2):
            await insert(source, number)
            await own_postgres.kill()
            await own_postgres.start()
        await source.captured()
        with capture_logs() as logs:
            await own_postgres.stop()
            await own_postgres.start()
            await source.captured()
    await assert_gap_free(source)
    assert any("it was shut down or restarted" in line.get("because", "") for line in logs), logs


async def test_a_shutdown_of_postgres_does_not_wait_for_what_is_held_back(
    own_postgres: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str
) -> None:
    source = Source(own_postgres.dsn(), NatsSettings((nats_server.url,), namespace, sync_interval=120.0))
    await source.create()
    async with source.capturing():
        await insert(source, 1)
        await source.captured()
        began = asyncio.get_running_loop().time()
        await own_postgres.stop()
        assert asyncio.get_running_loop().time() - began < 12
        await own_postgres.start()
        await insert(source, 2)
        await source.captured()
    await assert_gap_free(source)


async def test_capture_goes_on_behind_a_torn_batch(source: Source) -> None:
    async with source.capturing():
        await source.captured()
    await source.sql("INSERT INTO orders SELECT i, 1, 'open', 1 FROM generate_series(1, 3) i")
    peek = "pg_logical_slot_peek_binary_changes('{}', NULL, NULL, 'proto_version', '1', 'publication_names', 'bridge')"
    changes = await source.sql(f"SELECT data FROM {peek.format(source.settings.slot)}")
    lsn = format_lsn(parse_begin(changes[0][0])[0])
    await store_without_position(source, f"shop:{lsn}:1", f"shop:{lsn}:2")
    async with source.capturing():
        await source.captured()
    assert [event["id"] for event in await source.events()] == [
        f"shop:{lsn}:{number}" for number in (1, 2, 3)
    ]


async def store_without_position(source: Source, first: str, last: str) -> None:
    """What a batch leaves whose position was never stored."""
    subject = Subjects(source.nats.namespace).event("shop", "1", "public", "orders", "insert")
    committed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def message(event_id: str) -> tuple[bytes, bytes]:
        payload = json.dumps({"id": event_id, "source": {"table": "orders"}}).encode()
        return header_lines({HEADER_EVENT_ID: event_id}), payload

    async with await connect(source.nats, name="test", reconnect=False) as connection:
        publisher = BatchPublisher(connection, lambda _, seq, __: committed.set_result(seq))
        await publisher.send("c-torn", 1, [Outgoing(subject.encode(), *message(first), (0, 1))])
        await publisher.commit("c-torn", 2, subject, *message(last))
        assert await committed is not None
