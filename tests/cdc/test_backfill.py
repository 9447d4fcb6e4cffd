"""Backfills beside capture, against real servers: every row once, and none older than its live change."""

import asyncio
import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from cdc.backfill.label import Label
from cdc.backfill.read_table import Refused
from cdc.backfill.request import cancel, check_table
from cdc.backfill.run_record import RunRecord, Target
from cdc.pgoutput import parse_begin
from cdc.position import run_of
from cdc.settings import TableSettings, split_table
from cdc.source_errors import CaptureStopped
from eventbus.event import HEADER_BACKFILL, HEADER_BACKFILL_ROUTE, HEADER_EVENT_ID
from eventbus.lsn import format_lsn
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from eventbus.wire import header_lines
from tests.cdc.backfilling import ask, assert_complete, ended, forget_all, record, store
from tests.cdc.capturing import AS_EVENTS_HOLDS, Source, Workload, eventually
from tests.cdc.standby import Standby


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    """With rows from before its slot, and its streams made."""
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await found.create()
    return found


async def test_a_table_that_changes_meanwhile_is_read_whole_and_never_ends_older(source: Source) -> None:
    workload = Workload(seed=11)
    await workload.large(source, 3_000)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        working = asyncio.create_task(workload.run(source, AS_EVENTS_HOLDS))
        await ask(source, "one", chunk=200)
        done = await ended(source, "one")
        working.cancel()
        await asyncio.wait((working,))
        await source.captured()
    events = await source.events()
    assert (done.state, done.error) == ("done", None)
    assert sum(event["op"] == "read" for event in events) == done.done > 2_000
    await assert_complete(source, events)


async def test_a_read_says_where_it_stands(source: Source) -> None:
    await source.sql("INSERT INTO orders VALUES (7, 3, 'ö', 1.10)")
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "r1")
        await ended(source, "r1")
        await source.sql("UPDATE orders SET cost = 2 WHERE id = 7")
        await source.captured()
    read, update = await source.events()
    at = read["source"].pop("lsn")
    assert at == read["source"]["commit_lsn"] < update["source"]["commit_lsn"]
    assert read["source"].pop("commit_lsn") == at
    assert read["source"].pop("commit_ts").endswith("Z")
    assert read == {
        "v": 1,
        "id": "shop:br1:1",
        "op": "read",
        "tenant": "3",
        "source": {
            "name": "shop",
            "db": update["source"]["db"],
            "schema": "public",
            "table": "orders",
            "ordinal": 0,
            "xid": None,
        },
        "key": {"id": 7},
        "before": None,
        "identity": ["id", "company"],
        "after": {"id": 7, "company": 3, "status": "ö", "cost": Decimal("1.10"), "note": None, "changed": 0},
    }
    position = await source.position()
    assert position is not None
    assert position.mark.runs == ()


KEYED = {
    "public.by_text": "(k text, v int, PRIMARY KEY (k))",
    "public.reversed": '(a int, b text COLLATE "C", v int, PRIMARY KEY (b, a))',
    "public.by_uuid": "(k uuid DEFAULT gen_random_uuid() PRIMARY KEY, v int)",
    "public.by_time": "(k timestamptz, n numeric, v int, PRIMARY KEY (n, k))",
    "public.by_mood": "(k mood, n numeric, v int, PRIMARY KEY (k, n))",
    "public.by_bytes": "(k bytea PRIMARY KEY, v int)",
    "public.Mixed %": '("Select" int PRIMARY KEY, "a""b %" int)',
    "public.named": "(k int NOT NULL, v int UNIQUE NOT NULL)",
    "public.parted": "(k int PRIMARY KEY, v int) PARTITION BY RANGE (k)",
    "odd.order": "(k int PRIMARY KEY, v int)",
}
FILL = (
    "INSERT INTO by_text SELECT chr(64 + i % 26) || CASE WHEN i % 2 = 0 THEN 'é' ELSE 'z' END || i, i FROM generate_series(1, 60) i",
    "INSERT INTO reversed SELECT i, chr(96 + i % 7), i FROM generate_series(1, 60) i",
    "INSERT INTO by_uuid (v) SELECT i FROM generate_series(1, 60) i",
    "INSERT INTO by_time SELECT now() - i * interval '1.000001 hour', i % 3 / 7.0, i FROM generate_series(1, 60) i",
    "INSERT INTO by_mood SELECT (ARRAY['sad', 'ok', 'glad'])[1 + i % 3]::mood, i / 3.0, i FROM generate_series(1, 60) i",
    "INSERT INTO by_bytes SELECT decode(to_hex(1000 + i), 'escape'), i FROM generate_series(1, 60) i",
    'INSERT INTO "Mixed %" SELECT i, i FROM generate_series(1, 60) i',
    "INSERT INTO named SELECT i, 100 - i FROM generate_series(1, 60) i",
    "INSERT INTO parted SELECT i, i FROM generate_series(1, 60) i",
    'INSERT INTO odd."order" SELECT i, i FROM generate_series(1, 60) i',
)


async def test_every_kind_of_key_is_read_in_pieces(
    any_database: str, nats_server: EmbeddedNats, namespace: str
) -> None:
    source = Source(any_database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    settings = {name: TableSettings(key=("v",) if name == "public.named" else ()) for name in KEYED}
    source.settings = replace(source.settings, tables={**settings, "public.marks": TableSettings()})
    made = [f"CREATE TABLE {_quoted(name)} {columns}" for name, columns in KEYED.items()]
    await source.sql(
        "CREATE TABLE marks (n bigserial PRIMARY KEY)",
        "CREATE SCHEMA odd",
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad')",
        *made,
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (30)",
        "CREATE TABLE parted_2 PARTITION OF parted DEFAULT",
        *FILL,
    )
    await source.set_up()
    async with source.capturing():
        await source.captured()
        for number, name in enumerate(KEYED):
            await ask(source, f"r{number}", name, chunk=7)
        for number, name in enumerate(KEYED):
            done = await ended(source, f"r{number}")
            assert (name, done.state, done.done, done.error) == (name, "done", 60, None)
    events = await source.events(*(split_table(name)[1] for name in KEYED))
    assert len(events) == 60 * len(KEYED) == len({event["id"] for event in events})
    for name in KEYED:
        schema, table = split_table(name)
        found = [e for e in events if (e["source"]["schema"], e["source"]["table"]) == (schema, table)]
        assert len({repr(event["after"]) for event in found}) == 60


def _quoted(name: str) -> str:
    return ".".join(f'"{part}"' for part in split_table(name))


async def test_bytes_that_are_no_utf_8_are_read_as_events_have_them(
    database: str, nats_server: EmbeddedNats, namespace: str
) -> None:
    source = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    settings = {"public.texts": TableSettings("tenant"), "public.marks": TableSettings()}
    source.settings = replace(source.settings, tables=settings)
    await source.sql(
        # as an old database may hold them: no other way past the server's check
        "CREATE CAST (bytea AS text) WITHOUT FUNCTION",
        "CREATE TABLE marks (n bigserial PRIMARY KEY)",
        "CREATE TABLE texts (id int PRIMARY KEY, tenant text, note text)",
        "INSERT INTO texts VALUES (1, '\\xe9'::bytea::text, '\\xc3a922e9'::bytea::text)",
    )
    await source.set_up()
    async with source.capturing():
        await source.captured()
        await ask(source, "texts", "public.texts")
        assert (await ended(source, "texts")).state == "done"
    (read,) = await source.events("texts")
    assert read["after"] == {"id": 1, "tenant": r"\351", "note": r'é"\351'}
    assert read["tenant"] == r"\351"


async def test_a_run_goes_on_where_capture_was_stopped(source: Source) -> None:
    await Workload(seed=1).large(source, 500)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "slow", chunk=50, rate=400)
        await read_to(source, "slow", 100)
    half = await source.events()
    assert 100 <= len(half) < 500
    await source.sql("UPDATE orders SET status = 'late' WHERE id % 10 = 0")
    async with source.capturing():
        await source.captured()
        await ended(source, "slow")
    events = await source.events()
    reads = [event["id"] for event in events if event["op"] == "read"]
    assert reads == [f"shop:bslow:{n}" for n in range(1, 501)]
    await assert_complete(source, events)


async def test_what_a_torn_batch_stored_is_not_read_again(source: Source) -> None:
    await Workload(seed=1).large(source, 300)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "torn", chunk=50, rate=200)
        await read_to(source, "torn", 50)
    position = await source.position()
    assert position is not None
    (mark,) = position.mark.runs
    await leave_torn(source, mark.n + 1, int(mark.cursor[0]) + 1, position.mark.lsn)
    async with source.capturing():
        await source.captured()
        await ended(source, "torn")
    reads = [event for event in await source.events() if event["op"] == "read"]
    assert [event["id"] for event in reads] == [f"shop:btorn:{n}" for n in range(1, 301)]
    assert [event["key"]["id"] for event in reads] == list(range(1, 301))


async def test_a_key_that_moved_in_a_torn_batch_is_read_too(source: Source) -> None:
    await Workload(seed=1).large(source, 300)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "torn", chunk=50, rate=200)
        await read_to(source, "torn", 50)
    await source.sql("UPDATE orders SET id = -id WHERE id = 290")
    ((begin,),) = await source.sql(
        "SELECT data FROM pg_logical_slot_peek_binary_changes("
        f"'{source.settings.slot}', NULL, NULL, 'proto_version', '1', 'publication_names', 'bridge')"
        " WHERE get_byte(data, 0) = ascii('B') ORDER BY lsn DESC LIMIT 1"
    )
    event_id = f"shop:{format_lsn(parse_begin(begin)[0])}:1"
    event = {"id": event_id, "op": "update", "source": {"table": "orders"}, "key": {"id": -290}}
    await publish_torn(source, "update", event, {})
    async with source.capturing():
        await source.captured()
        await ended(source, "torn")
    events = await source.events()
    assert [e["id"] for e in events].count(event_id) == 1
    assert -290 in [e["key"]["id"] for e in events if e["op"] == "read"]


async def leave_torn(source: Source, n: int, key: int, lsn: int) -> None:
    """A read as the beginning of a batch whose position was never stored."""
    read_id = f"shop:btorn:{n}"
    label = Label("torn", 1, lsn, n, (str(key),)).text()
    event = {"id": read_id, "op": "read", "source": {"table": "orders"}, "key": {"id": key}}
    await publish_torn(source, "read", event, {HEADER_BACKFILL: label})


async def publish_torn(source: Source, op: str, event: dict[str, Any], headers: dict[str, str]) -> None:
    subjects = Subjects(source.nats.namespace)
    headers = {HEADER_EVENT_ID: event["id"], "Nats-Batch-Id": "c-torn", **headers}
    async with source.jetstream() as jetstream:
        # a batch id on a single message is refused, so it goes as a batch of its own
        headers |= {"Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"}
        subject = subjects.event("shop", "1", "public", "orders", op)
        await jetstream.publish(subject, json.dumps(event).encode(), header_lines(headers))


async def read_to(source: Source, run: str, rows: int) -> None:
    """Waits until so many rows are published."""

    async def done() -> int:
        position = await source.position()
        return 0 if position is None else run_of(position.mark.runs, run).n

    await eventually(done, lambda found: found >= rows)


async def test_a_row_that_never_rests_does_not_keep_its_backfill_from_ending(source: Source) -> None:
    await Workload(seed=1).large(source, 20)
    await source.sql(
        "UPDATE orders SET note = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)"
    )
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        busy = [asyncio.create_task(bother(source, key)) for key in (3, 4)]
        for number in range(5):
            await ask(source, f"r{number}", chunk=5)
            assert (await ended(source, f"r{number}")).done == 20
        for task in busy:
            task.cancel()
        await asyncio.wait(busy)
        await source.captured()
    events = await source.events()
    await assert_complete(source, events)
    latest = 0
    for event in events:
        if event["key"]["id"] == 3:
            assert event["after"]["changed"] >= latest
            latest = event["after"]["changed"]
    assert latest > 20


async def bother(source: Source, key: int) -> None:
    async with await AsyncConnection.connect(source.dsn, autocommit=True) as connection:
        while True:
            await connection.execute("UPDATE orders SET changed = changed + 1 WHERE id = %s", [key])


async def test_rows_that_get_other_keys_meanwhile_are_read_too(source: Source) -> None:
    await Workload(seed=1).large(source, 200)
    await source.sql(
        "UPDATE orders SET note = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)"
    )
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "moving", chunk=20, rate=200)
        await read_to(source, "moving", 40)
        # from what is still to be read to where the run has been; the value out of line is not sent
        await source.sql("UPDATE orders SET id = -id WHERE id > 150")
        await ended(source, "moving")
        await source.captured()
    events = await source.events()
    await assert_complete(source, events)
    assert {event["key"]["id"] for event in events if event["op"] == "read"} >= set(range(-200, -150))


async def test_columns_may_change_meanwhile(source: Source) -> None:
    await Workload(seed=1).large(source, 200)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "ddl", chunk=20, rate=200)
        await read_to(source, "ddl", 40)
        await source.sql("ALTER TABLE orders ADD COLUMN more text DEFAULT 'new'")
        await source.sql("ALTER TABLE orders ALTER COLUMN changed TYPE text")
        done = await ended(source, "ddl")
    assert (done.state, done.done) == ("done", 200)
    reads = await source.events()
    assert "more" not in reads[0]["after"]
    assert (reads[-1]["after"]["more"], reads[-1]["after"]["changed"]) == ("new", "0")


async def test_a_table_that_another_one_stands_in_for_is_read_no_further(source: Source) -> None:
    await Workload(seed=1).large(source, 200)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "swap", chunk=20, rate=200)
        await read_to(source, "swap", 40)
        await source.sql(
            "ALTER TABLE orders RENAME TO orders_old",
            "CREATE TABLE orders (LIKE orders_old INCLUDING ALL)",
            "INSERT INTO orders SELECT * FROM orders_old",
        )
        failed = await ended(source, "swap")
    assert failed.state == "failed"
    assert "does not send public.orders" in (failed.error or "")
    assert failed.done < 200


async def test_a_wide_table_is_read_within_bounds(source: Source) -> None:
    await Workload(seed=1).large(source, 130)
    await source.sql("UPDATE orders SET note = repeat('x', 1500000) WHERE id > 120")
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "wide")
        done = await ended(source, "wide")
    assert (done.state, done.done) == ("done", 130)
    await assert_complete(source, await source.events())


async def test_one_tenants_rows_for_one_route(source: Source) -> None:
    await Workload(seed=1).large(source, 70)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "mine", tenant="3", route="acme/orders")
        await ended(source, "mine")
    subjects = Subjects(source.nats.namespace)
    async with source.jetstream() as jetstream:
        last = await jetstream.last_message(subjects.stream("EVENTS"), subjects.events_of("shop"))
    assert last is not None
    assert last.headers[HEADER_BACKFILL_ROUTE] == "acme/orders"
    events = await source.events()
    assert [event["tenant"] for event in events] == ["3"] * 10


async def test_a_cancelled_run_ends_and_its_place_is_forgotten(source: Source) -> None:
    await Workload(seed=1).large(source, 300)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "stop", chunk=10, rate=20)
        await ask(source, "other", chunk=10)
        await read_to(source, "stop", 10)
        async with source.jetstream() as jetstream:
            runs = store(source, jetstream)
            assert await cancel(runs, "stop")
            assert not await cancel(runs, "stop")
        assert (await ended(source, "other")).done == 300

        async def open_runs() -> Any:
            position = await source.position()
            return position and position.mark.runs

        await source.sql("INSERT INTO marks DEFAULT VALUES")
        await eventually(open_runs, lambda runs: runs == ())
    assert (await record(source, "stop")).state == "cancelled"


REFUSED = {
    "keyless": ("ALTER TABLE keyless DROP CONSTRAINT keyless_pkey", "has no key"),
    "nullable": ("ALTER TABLE nullable ALTER v DROP NOT NULL", "is no unique index over NOT NULL columns"),
    "renamed": ("ALTER TABLE renamed RENAME TO other", "dropped or renamed"),
    "unsent": ("ALTER PUBLICATION bridge DROP TABLE unsent", "does not send"),
    "closed": (
        "REVOKE SELECT ON closed FROM {role}",
        'GRANT USAGE ON SCHEMA "public" TO "{role}"; GRANT SELECT ON "public"."closed" TO "{role}";',
    ),
    "hidden": ("ALTER TABLE hidden ENABLE ROW LEVEL SECURITY", "ALTER ROLE {role} BYPASSRLS"),
}


async def test_what_cannot_be_read_whole_is_refused_with_its_cure(
    database: str, nats_server: EmbeddedNats, namespace: str
) -> None:
    source = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    role = f"reader_{source.settings.slot}"
    tables = {f"public.{name}": TableSettings(key=("v",) * (name == "nullable")) for name in REFUSED}
    source.settings = replace(source.settings, tables={**tables, "public.marks": TableSettings()})
    await source.sql(
        "CREATE TABLE marks (n bigserial PRIMARY KEY)",
        *(f"CREATE TABLE {name} (id int PRIMARY KEY, v int UNIQUE NOT NULL)" for name in REFUSED),
    )
    await source.set_up()
    await source.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    await source.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    await source.sql(*(sql.format(role=role) for sql, _ in REFUSED.values()))
    reader = replace(source.settings, dsn=make_conninfo(source.dsn, user=role, password="secret"))
    for name, (_, words) in REFUSED.items():
        with pytest.raises(Refused, match=re.escape(words.format(role=role))):
            await check_table(reader, RunRecord(target=Target(f"public.{name}")))
    async with source.capturing():
        await source.captured()
        for name in ("keyless", "renamed"):
            await ask(source, name, f"public.{name}")
            done = await ended(source, name)
            assert done.state == "failed"
            assert REFUSED[name][1] in (done.error or "")
        await source.captured()
    await source.sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def test_a_snapshot_reads_every_table_once_an_epoch(source: Source) -> None:
    await Workload(seed=1).large(source, 50)
    await forget_all(source)
    for _ in range(2):
        async with source.capturing(capture=source.capture(snapshot=True)):
            await source.captured()
            await ended(source, "snapshot1-public=2Eorders")
            await ended(source, "snapshot1-public=2Emarks")
    reads = [event for event in await source.events() if event["op"] == "read"]
    assert len(reads) == 50
    async with source.jetstream() as jetstream:
        assert len(await store(source, jetstream).all()) == 2


async def test_a_snapshot_of_a_table_without_a_key_is_refused_before_anything_begins(source: Source) -> None:
    await source.sql("ALTER TABLE orders DROP CONSTRAINT orders_pkey")
    with pytest.raises(CaptureStopped, match=r"no snapshot: .*has no key"):
        async with asyncio.timeout(20):
            await source.capture(snapshot=True).run(asyncio.Event())
    assert await source.position() is None


async def test_what_is_inserted_behind_the_last_row_is_left_to_capture(source: Source) -> None:
    await Workload(seed=1).large(source, 100)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "growing", chunk=10, rate=100)
        await read_to(source, "growing", 20)
        await source.sql("INSERT INTO orders SELECT i, 1, 'new' FROM generate_series(1001, 3000) i")
        assert (await ended(source, "growing")).done == 100
        await source.captured()
    await assert_complete(source, await source.events())


async def test_a_commit_that_waits_for_a_synchronous_standby_is_newer_than_what_is_read_meanwhile(
    own_postgres: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str
) -> None:
    dsn = make_conninfo(own_postgres.dsn(), options="-c synchronous_commit=local")
    source = Source(dsn, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await source.create()
    await Workload(seed=1).large(source, 40)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "r", chunk=10, rate=20)
        await read_to(source, "r", 10)
        await source.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
        committing = asyncio.create_task(close_and_wait(own_postgres.dsn(), 35))
        # its event is published while every snapshot still takes it for running
        await eventually(source.events, lambda events: any(event["op"] == "update" for event in events))
        assert (await ended(source, "r")).done == 40
        assert not committing.done()
        await source.sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        await committing
    events = [event for event in await source.events() if event["key"]["id"] == 35]
    assert [(event["op"], event["after"]["status"]) for event in events] == [
        ("update", "closed"),
        ("read", "closed"),
    ]


async def close_and_wait(dsn: str, key: int) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("UPDATE orders SET status = 'closed' WHERE id = %s", [key])


@pytest.mark.slow
async def test_rows_are_read_from_a_standby_that_is_behind(
    own_postgres: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source = Source(own_postgres.dsn(), NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await source.create()
    workload = Workload(seed=12)
    await workload.large(source, 3_000)
    await forget_all(source)
    async with Standby(tmp_path / "standby", own_postgres) as standby:
        source.settings = replace(source.settings, read_dsn=standby.dsn())
        async with source.capturing():
            await source.captured()
            working = asyncio.create_task(workload.run(source, AS_EVENTS_HOLDS))
            stuttering = asyncio.create_task(stutter(standby.dsn()))
            await ask(source, "one", chunk=100)
            done = await ended(source, "one", within=60)
            for task in (working, stuttering):
                task.cancel()
            await asyncio.wait((working, stuttering))
            await source.captured()
        source.settings = replace(source.settings, read_dsn=None)
    assert (done.state, done.error) == ("done", None)
    await assert_complete(source, await source.events())


async def stutter(dsn: str) -> None:
    """Has the standby stand and go on."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        while True:
            await connection.execute("SELECT pg_wal_replay_pause()")
            await asyncio.sleep(0.15)
            await connection.execute("SELECT pg_wal_replay_resume()")
            await asyncio.sleep(0.05)


async def test_a_transaction_that_is_sent_before_it_commits_is_newer_than_what_is_read(
    source: Source,
) -> None:
    await Workload(seed=1).large(source, 400)
    name = conninfo_to_dict(source.dsn)["dbname"]
    await source.sql(f"ALTER DATABASE {name} SET logical_decoding_work_mem = '64kB'")
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        await ask(source, "r", chunk=50, rate=400)
        async with await AsyncConnection.connect(source.dsn, autocommit=True) as connection:
            for status in ("first", "second", "third"):
                async with connection.transaction():
                    await connection.execute(
                        "UPDATE orders SET status = %s, note = repeat('x', 900)", [status]
                    )
                    async with connection.transaction():  # a subtransaction has an xid of its own
                        await connection.execute("UPDATE orders SET changed = changed + 1")
                    await asyncio.sleep(0.2)  # chunks are read meanwhile
        await ended(source, "r")
        await source.captured()
    streamed = f"SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = '{source.settings.slot}'"
    assert await source.value(streamed) > 0
    await assert_complete(source, await source.events())
