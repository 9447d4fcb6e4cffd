"""The outbox on a real server: a message is in EVENTS once, whatever is restarted, and its row may go at once."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from bridge.demo.nats_server import EmbeddedNats
from eventbus.settings import NatsSettings
from tests.cdc.capturing import TABLES, Source

EMIT = "SELECT pg_logical_emit_message({}, 'bridge.outbox', '{}')"


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    return await with_outbox(database, nats_server, namespace)


async def with_outbox(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    found.settings = replace(found.settings, outbox="bridge.outbox")
    await found.sql(TABLES)
    await found.set_up()
    return found


def emit(number: int, *, transactional: bool = True) -> str:
    content = {"tenant": "7", "topic": "t", "key": number % 3, "payload": {"n": number}}
    return EMIT.format(transactional, json.dumps(content))


async def numbers(source: Source) -> list[int]:
    return [event["after"]["n"] for event in await source.events("t")]


async def test_both_ways_in_make_one_shape_in_commit_order(
    any_database: str, nats_server: EmbeddedNats, namespace: str
) -> None:
    source = await with_outbox(any_database, nats_server, namespace)
    write = "INSERT INTO bridge.outbox (tenant, topic, key, payload) VALUES ('7', 't', '{}', '{{\"n\": {}}}')"
    async with source.capturing():
        await source.sql(
            f"BEGIN; INSERT INTO orders VALUES (1, 7, 'open', 1); {emit(1)}; {write.format(2, 2)}; "
            f"{emit(0, transactional=False)}; DELETE FROM bridge.outbox; COMMIT",
            write.format(0, 3),
            "TRUNCATE bridge.outbox",
            f"BEGIN; {emit(98)}; ROLLBACK",
            emit(4, transactional=False),
        )
        await source.captured()
    events = await source.events("t", "orders")
    assert [(e["op"], e["source"]["ordinal"]) for e in events] == [
        *(("message", 0), ("insert", 1), ("message", 2), ("message", 3), ("message", 1), ("message", 0)),
    ]
    assert await numbers(source) == [0, 1, 2, 3, 4]
    messages = [e for e in events if e["op"] == "message"]
    same = ("v", "op", "tenant", "before")
    assert len({json.dumps([e[name] for name in same]) for e in messages}) == 1
    assert {tuple(e) for e in messages} == {tuple(messages[0])}
    assert [e["source"]["xid"] is None for e in messages] == [True, False, False, False, True]
    assert messages[-1]["source"]["commit_ts"][:4] >= "2026"


async def test_messages_outside_transactions_are_there_once_over_restarts(source: Source) -> None:
    emitted = [emit(number, transactional=bool(number % 4)) for number in range(2_000)]
    working = asyncio.create_task(source.sql(*emitted))
    while not working.done():
        async with source.capturing():
            await source.captured()
    async with source.capturing():
        await source.captured()
    await working
    assert await numbers(source) == [*range(2_000)]


async def test_one_message_alone_lets_go_of_wal_and_is_remembered(source: Source) -> None:
    async with source.capturing():
        await source.sql(emit(1, transactional=False))
        reached = await source.value("SELECT pg_current_wal_insert_lsn()")
        await source.captured()
        await source.confirmed(reached)
    async with source.capturing():
        await source.captured()
    assert await numbers(source) == [1]


async def test_what_cannot_be_understood_is_told_and_counted_and_capture_goes_on(source: Source) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("bridge_outbox_invalid_total", {"source": "shop"}) or 0.0

    before = counted()
    with capture_logs() as logs:
        async with source.capturing():
            await source.sql(EMIT.format("true", "no JSON"), EMIT.format("false", "{}"), emit(1))
            await source.captured()
    found: list[Any] = [e["after"]["content"] for e in await source.events("invalid")]
    assert found == ["no JSON", "{}"]
    assert await numbers(source) == [1]
    assert counted() - before == 2
    told = [line for line in logs if "outbox" in line["event"]]
    assert sum(line["messages"] for line in told) == 2
