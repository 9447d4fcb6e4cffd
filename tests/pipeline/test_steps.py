"""Mappings that read, send several requests, look up and save: from EVENTS to the ERP, on real servers."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psycopg
import pytest

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Call, Reply, Step
from bridge.demo.nats_server import EmbeddedNats
from bridge.source_rows import SourceRowReader
from cdc.row_reads import session
from cdc.settings import SourceSettings, TableSettings
from eventbus.buckets import Bucket
from eventbus.subjects import lane_of
from pipeline.delivery.attempt import DeliveryId
from pipeline.delivery.retry_record import RetryRecord
from pipeline.delivery.retry_records import RetryRecords
from pipeline.delivery.saved_values import SavedValue, newest
from pipeline.lanes import turns as lane_turns
from pipeline.mapping import MappingText
from pipeline.rows import enrichment
from pipeline.tenants.model import Route, RouteSource, Tenant
from tests.pipeline.delivering import QUICK, UPSERT, Bus, acme, bus, eventually
from tests.pipeline.processes import Runner
from tests.pipeline.test_replaying import letters_of, open_letters, replay, replaying

TABLES = """
CREATE TABLE parts (id int PRIMARY KEY, company int NOT NULL, wo int NOT NULL, code text, qty numeric(12,2) DEFAULT 2.50);
INSERT INTO parts (id, company, wo, code) VALUES (1, 4711, 1, 'A'), (2, 4711, 1, 'B"\\'), (3, 99, 1, 'not yours'), (4, 4711, 2, 'C');
"""
TABLE_SETTINGS = {"public.parts": TableSettings("company"), "public.orders": TableSettings("company")}
STEPS = """
source: {table: public.orders}
enrich:
  parts: {table: public.parts, where: {wo: "{{ key.id }}"}, many: true}
connector: rest
steps:
  look:
    reads: true
    request: {method: GET, path: "/api/requests", query: {ref: "{{ event.id }}"}}
  create:
    request:
      method: POST
      path: /api/requests
      body: {n: "{{ after.n }}", ref: "{{ event.id }}", parts: "{{ parts | map(attribute='code') | list }}", qty: "{{ parts | map(attribute='qty') | list }}"}
    repeat: REPEAT
  release:
    request:
      method: PUT
      path: "/api/releases/{{ steps.create.body.found[0] if steps.create.found else steps.create.body.id }}"
      body: {n: "{{ after.n }}", before: "{{ steps.look.body.found | length }}"}
    repeat: upsert
response:
  save: {request: "{{ steps.create.body.id | default(none) }}"}
"""
FIND = """
      find:
        request: {method: GET, path: /api/requests, query: {ref: "{{ event.id }}"}}
        found: body.found | length > 0
"""
FOLLOWS = """
source: {table: public.orders}
connector: rest
request:
  method: PUT
  path: "/api/follows/{{ key.id }}"
  body: {n: "{{ after.n }}", request: "{{ wait_for('orders', key.id, 'request') }}"}
repeat: upsert
"""


class Books(PlainErp):
    """Knows no idempotency keys, and what was booked for an event can be looked up."""

    def handle(self, call: Call) -> Reply:
        if call.method != "GET":
            return self._book(call)
        [ref] = parse_qs(call.query)["ref"]
        found = [key for (_, key), body in self.documents.items() if body.get("ref") == ref]
        return Reply(200, {"found": found})

    def sent(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method == method]


@pytest.fixture
async def erp() -> AsyncIterator[Books]:
    async with Books() as erp:
        yield erp


@pytest.fixture
async def sources(database: str) -> Mapping[str, SourceSettings]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(TABLES)
    return {"shop": SourceSettings("shop", database, TABLE_SETTINGS)}


def tenant(erp: PlainErp, repeat: str = "idempotency_key", **route: Any) -> Tenant:
    return acme(erp, STEPS.replace("REPEAT", repeat), **route)


async def test_each_request_once_in_order_with_rows_and_the_answers_before_it(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings]
) -> None:
    await shop.apply(tenant(erp))
    shop.route()
    shop.work(reader=SourceRowReader(lambda: sources))
    await shop.change(1, 5)
    await shop.change(2, 6)
    await erp.until(lambda: len(erp.sent("PUT")) == 2)
    await shop.settled()
    by_path = {call.idempotency_key: call.body for call in erp.sent("POST") + erp.sent("PUT")}
    first = "shop:0/1:1/acme/orders"
    assert by_path[f"{first}/create"] == {
        "n": 5,
        "ref": "shop:0/1:1",
        "parts": ["A", 'B"\\'],
        "qty": [Decimal("2.50"), Decimal("2.50")],
    }
    assert str(by_path[f"{first}/create"]["qty"][0]) == "2.50"
    assert by_path[f"{first}/release"] == {"n": 5, "before": 0}
    assert [call.method for call in erp.calls if call.idempotency_key.startswith(first)] == [
        "GET",
        "POST",
        "PUT",
    ]
    records = await eventually(shop.attempts, lambda found: len(found) == 6)
    steps = [(record["step"], record["then"]) for record in records if record["event_id"] == "shop:0/1:1"]
    assert steps == [("look", "next"), ("create", "next"), ("release", "ack")]
    assert await shop.dead_letters() == []
    saved = await shop.stored("KV_SAVED")
    assert {next(iter(json.loads(entry.payload).values()))["seq"] for entry in saved} == {2, 3}


async def test_two_tenants_never_see_each_others_rows(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings]
) -> None:
    mine = tenant(erp)
    other = replace(mine, name="globex", key="99")
    await shop.apply(mine, other)
    shop.route()
    shop.work(reader=SourceRowReader(lambda: sources))
    for n in range(3):
        await shop.change(1, n)
        await shop.change(1, n, tenant="99")
    await erp.until(lambda: len(erp.sent("PUT")) == 6)
    for call in erp.sent("POST"):
        whose = call.idempotency_key.split("/")[-3]
        assert call.body["parts"] == {"acme": ["A", 'B"\\'], "globex": ["not yours"]}[whose]


async def test_a_column_that_came_unchanged_is_read_by_key(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings]
) -> None:
    async with await psycopg.AsyncConnection.connect(sources["shop"].dsn, autocommit=True) as connection:
        await connection.execute(
            "CREATE TABLE orders (id int PRIMARY KEY, company int, photo text);"
            "INSERT INTO orders VALUES (1, 4711, 'large'), (2, 99, 'not yours')"
        )
    await shop.apply(acme(erp, UPSERT.replace("after.n", "after.photo")))
    shop.route()
    shop.work(reader=SourceRowReader(lambda: sources))
    await shop.change(1, 1, unchanged=["photo"])
    await erp.until(lambda: ("orders", "1") in erp.documents)
    assert erp.documents["orders", "1"] == {"n": "large"}
    await shop.change(2, 1, unchanged=["photo"])
    [letter] = await eventually(shop.dead_letters, lambda found: len(found) == 1)
    assert (letter["reason"], letter["error"]["class"]) == ("mapping", "unchanged_column")
    assert "the row is gone" in letter["error"]["message"]


async def test_a_delivery_waits_for_what_another_saves(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings]
) -> None:
    made = tenant(erp)
    follows = Route("follows", RouteSource("public.orders"), "follows", "erp", retry=QUICK)
    mappings = {**made.mappings, "follows": MappingText("mappings/follows.yaml", FOLLOWS)}
    held = asyncio.Event()
    # the first to arrive is the lookup of `orders`: `follows` has nothing to send yet
    erp.script([Step(hold=held)])
    await shop.apply(replace(made, routes={**made.routes, "follows": follows}, mappings=mappings))
    shop.route()
    shop.work(reader=SourceRowReader(lambda: sources))
    await shop.change(1, 5)
    records = await eventually(shop.attempts, lambda found: len(found) >= 1)
    assert {(record["route"], record["then"], record["attempt"]) for record in records} == {
        ("follows", "hold", 1)
    }
    assert "route orders has saved no 'request'" in records[0]["message"]
    held.set()
    await erp.until(lambda: ("follows", "1") in erp.documents)
    await shop.settled()
    [request] = [key for (collection, key) in erp.documents if collection == "requests"]
    assert erp.documents["follows", "1"] == {"n": 5, "request": request}


async def test_what_may_have_arrived_is_looked_up(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings]
) -> None:
    await shop.apply(tenant(erp, FIND))
    shop.route()
    shop.work(reader=SourceRowReader(lambda: sources))
    erp.script([Step(), Step(cut="after")])
    await shop.change(1, 5)
    await erp.until(lambda: len(erp.sent("PUT")) == 1)
    await shop.settled()
    assert len(erp.sent("POST")) == 1
    records = await eventually(shop.attempts, lambda found: len(found) == 5)
    assert [(record["step"], record.get("lookup", False), record["then"]) for record in records] == [
        ("look", False, "next"),
        ("create", False, "retry"),
        ("look", False, "next"),
        ("create", True, "next"),
        ("release", False, "ack"),
    ]
    erp.script([Step(), Step(cut="before")])
    await shop.change(2, 6)
    await erp.until(lambda: len(erp.sent("PUT")) == 2)
    assert len(erp.sent("POST")) == 3


async def test_a_request_that_nobody_can_look_up_is_for_a_person(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings]
) -> None:
    await shop.apply(tenant(erp, "unsafe"))
    shop.route()
    shop.work(reader=SourceRowReader(lambda: sources))
    erp.script([Step(), Step(cut="after")])
    await shop.change(1, 5)
    [letter] = await eventually(shop.dead_letters, lambda found: len(found) == 1)
    assert letter["reason"] == "uncertain"
    assert (len(erp.sent("POST")), len(erp.sent("PUT"))) == (1, 0)


async def test_a_replay_goes_on_behind_what_is_finished(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings]
) -> None:
    await shop.apply(tenant(erp, "unsafe"))
    shop.route()
    shop.work(reader=SourceRowReader(lambda: sources))
    erp.script([Step(), Step(), Step(Reply(422, {"message": "closed period"}))])
    await shop.change(1, 5)
    [letter] = await letters_of(shop, 1)
    erp.script([Step(), Step(Reply(422, {"message": "closed period"}))])
    await replaying(shop).settle(letter.id, replay())
    await erp.until(lambda: len(erp.sent("PUT")) == 2)
    [letter] = await letters_of(shop, 1)
    await replaying(shop).settle(letter.id, replay())
    await erp.until(lambda: ("releases", "RE-000001") in erp.documents)
    await shop.settled()
    assert (len(erp.sent("POST")), await open_letters(shop)) == (1, [])


async def test_a_replay_of_what_was_uncertain_is_sent_as_a_person_decided(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings]
) -> None:
    await shop.apply(tenant(erp, "unsafe"))
    shop.route()
    shop.work(reader=SourceRowReader(lambda: sources))
    erp.script([Step(), Step(cut="before")])
    await shop.change(1, 5)
    [letter] = await letters_of(shop, 1)
    assert letter.reason == "uncertain"
    record = RetryRecord(
        8, 1.0, 1.0, intent="started", step="create"
    )  # as a worker killed at this moment leaves it
    delivery = DeliveryId("acme", "orders", "", 0, letter.id.seq)
    bucket = Bucket(shop.jetstream, shop.subjects.bucket("RETRY"))
    known = await RetryRecords(bucket).read(delivery)
    assert await RetryRecords(bucket).write(delivery, record, known.revision, time.time() + 60)
    await replaying(shop).settle(letter.id, replay())
    await erp.until(lambda: len(erp.sent("PUT")) == 1)
    assert len(erp.sent("POST")) == 2


async def test_a_source_that_is_away_holds_the_routes_that_read_it_and_no_others(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_turns, "NOT_READY_S", 0.3)
    monkeypatch.setattr(enrichment, "AWAY_S", 0.3)
    made = tenant(erp)
    plain = Route("plain", RouteSource("public.orders"), "plain", "erp", retry=QUICK)
    text = FOLLOWS.replace("follows", "plain").replace("{{ wait_for('orders', key.id, 'request') }}", "none")
    mappings = {**made.mappings, "plain": MappingText("mappings/plain.yaml", text)}
    await shop.apply(replace(made, routes={**made.routes, "plain": plain}, mappings=mappings))
    shop.route()
    there = {"shop": replace(sources["shop"], read_dsn="postgresql://127.0.0.1:1/nowhere")}
    reader = SourceRowReader(lambda: there)
    shop.work(reader=reader)
    for n in range(5):
        await shop.change(n, n)
    await erp.until(lambda: len(erp.sent("PUT")) == 5)
    assert erp.sent("POST") == []
    assert all(record["route"] == "plain" for record in await shop.attempts())
    there["shop"] = sources["shop"]
    reader._open.clear()
    await erp.until(lambda: len(erp.sent("POST")) == 5)
    await shop.settled()
    assert await shop.dead_letters() == []


@pytest.mark.slow
async def test_what_may_have_ended_its_workers_goes_alone_with_all_its_requests(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings]
) -> None:
    async with PlainErp() as other:
        made = tenant(erp)
        elsewhere = replace(made.connections["erp"], name="other", base_url=other.base_url)
        plain = Route("plain", RouteSource("public.orders"), "plain", "other", retry=QUICK)
        await shop.apply(
            replace(
                made,
                connections={**made.connections, "other": elsewhere},
                routes={**made.routes, "plain": plain},
                mappings={**made.mappings, "plain": MappingText("mappings/plain.yaml", UPSERT)},
            )
        )
        stop = shop.route()
        await shop.change(1, 1)
        await eventually(lambda: shop.stored("DELIVERIES", "deliveries.>"), lambda found: len(found) == 2)
        await stop()
        await shop.crashed_owners(lane_of("acme", shop.nats.lanes), suspect=999)
        held = asyncio.Event()
        erp.script([Step(), Step(hold=held)])
        shop.work(reader=SourceRowReader(lambda: sources))
        await erp.until(lambda: len(erp.calls) == 2, timeout_s=30)
        lanes, lane = Bucket(shop.jetstream, shop.subjects.bucket("LANES")), lane_of("acme", shop.nats.lanes)
        before = await lanes.get(f"lease.{lane}")
        # so long that the other one would have gone meanwhile
        await eventually(lambda: lanes.get(f"lease.{lane}"), lambda found: found != before)
        released = time.time()
        held.set()
        await other.until(lambda: len(other.calls) == 1, timeout_s=30)
        assert other.calls[0].at >= released
        assert [call.method for call in erp.calls] == ["GET", "POST", "PUT"]


async def test_a_slow_database_spends_no_attempt(
    shop: Bus, erp: Books, sources: Mapping[str, SourceSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "TIMEOUT_S", 1)
    await shop.apply(tenant(erp))
    shop.route()
    shop.work(reader=SourceRowReader(lambda: sources))
    async with await psycopg.AsyncConnection.connect(sources["shop"].dsn) as other:
        await other.execute("LOCK TABLE parts")
        await shop.change(1, 5)
        [record] = await eventually(shop.attempts, lambda found: len(found) == 1)
        assert (record["attempt"], record["then"], record["outcome"]) == (1, "hold", "not_sent")
        assert "reading public.parts took longer than 1 s" in record["message"]
    await erp.until(lambda: len(erp.sent("PUT")) == 1)
    assert {each["attempt"] for each in await shop.attempts()} == {1}


@pytest.mark.slow
async def test_a_worker_killed_between_two_requests_sends_neither_again(
    nats_server: EmbeddedNats,
    namespace: str,
    erp: Books,
    sources: Mapping[str, SourceSettings],
    tmp_path: Path,
) -> None:
    async with bus(nats_server.url, namespace) as shop:
        await shop.apply(tenant(erp))
        shop.route()
        worker = Runner(shop, tmp_path, "worker")
        settings = json.loads(worker._config.read_text())
        tables = {name: {"tenant_column": "company"} for name in TABLE_SETTINGS}
        settings["sources"] = {"shop": {"dsn": sources["shop"].dsn, "tables": tables}}
        worker._config.write_text(json.dumps(settings))
        held = asyncio.Event()
        erp.script([Step(), Step(), Step(hold=held)])
        await worker.start()
        try:
            await shop.change(1, 5)
            await erp.until(lambda: len(erp.calls) == 3, timeout_s=30)
            await worker.kill()
            held.set()
            await worker.start()
            await erp.until(lambda: len(erp.sent("PUT")) == 2, timeout_s=30)
            await shop.settled(30)
            assert await worker.stop() == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                await worker.kill()
        assert len(erp.sent("POST")) == 1
        assert erp.documents["releases", "RE-000001"] == {"n": 5, "before": 1}
        assert await shop.dead_letters() == []


def test_an_older_event_never_takes_a_newer_ones_place() -> None:
    there = newest({}, 5, {"a": 1, "b": 2})
    assert newest(there, 7, {"a": 3}) == {"a": SavedValue(7, 3), "b": SavedValue(5, 2)}
    assert newest(there, 4, {"a": 0, "c": 9}) == {**there, "c": SavedValue(4, 9)}
    assert newest(there, 5, {"a": 1, "b": 2}) == there
