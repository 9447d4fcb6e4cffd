"""Rules C3, C5, C7 of the capture protocol against a real server, which is killed, full, or shared with a rival."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from functools import partial

import pytest

from bridge.demo.nats_server import EmbeddedNats
from eventbus import fenced_writer, wire
from eventbus.batch_publisher import BatchPublisher
from eventbus.connection import Connection, Reply, connect
from eventbus.errors import ConnectionLost
from eventbus.fence import NOTHING, Torn
from eventbus.fenced_writer import FencedWriter
from eventbus.group_commit import CommitLimits, Committed
from eventbus.jetstream import JetStream
from eventbus.position import Place, PositionInvalid, PositionLost, WriteFailed
from eventbus.settings import NatsSettings
from tests.eventbus.writing import (
    encode,
    group,
    key_of,
    make_stream,
    place,
    stored_numbers,
    torn_headers,
    until,
    writer,
)
from tests.eventbus.writing import (
    reached as mark_of,
)

DEADLINE_S = 20


@pytest.fixture
async def where(jetstream: JetStream, namespace: str) -> Place:
    where = place(namespace)
    await make_stream(jetstream, where)
    return where


@contextlib.asynccontextmanager
async def running(writer: FencedWriter[int]) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(writer.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_flood_fills_batches_and_each_message_is_stored_once_in_order(
    connection: Connection, jetstream: JetStream, where: Place
) -> None:
    committed: list[Committed[int]] = []
    one = writer(connection, where, committed)
    assert await one.position.read() == NOTHING
    assert (await one.claim(NOTHING, 0)).torn is None
    async with running(one):
        for first in range(1, 2_501, 5):
            await one.wait_room()
            one.put(group(first, first + 4, where))
        await one.drain()
    assert await stored_numbers(jetstream, where) == list(range(1, 2_501))
    assert sum(batch.messages for batch in committed) == 2_500
    assert len(committed) < 20
    stored = await one.position.read()
    assert (stored.seq, key_of({"Bridge-Event-Id": "2500"})) == (one.fence, (committed[-1].mark,))
    assert stored.mark.token.startswith("c-")


async def test_a_position_moves_without_messages(connection: Connection, where: Place) -> None:
    committed: list[Committed[int]] = []
    one = writer(connection, where, committed)
    await one.claim(NOTHING, 0)
    async with running(one):
        one.put(group(1, 0, where))
        await one.drain()
    assert [(batch.mark, batch.messages) for batch in committed] == [(0, 0)]
    assert (await one.position.read()).seq == one.fence


async def test_of_two_writers_the_older_is_refused(
    connection: Connection, jetstream: JetStream, where: Place
) -> None:
    older, newer = writer(connection, where, []), writer(connection, where, [])
    await older.claim(NOTHING, 0)
    await newer.claim(await newer.position.read(), 0)
    async with running(older) as task, running(newer):
        older.put(group(1, 3, where))
        with pytest.raises(PositionLost, match=where.position):
            await task
        with pytest.raises(PositionLost):
            await older.drain()
        newer.put(group(1, 2, where))
        await newer.drain()
    assert await stored_numbers(jetstream, where) == [1, 2]


async def test_a_claim_of_a_position_read_too_early_is_lost(connection: Connection, where: Place) -> None:
    one, other = writer(connection, where, []), writer(connection, where, [])
    await one.claim(NOTHING, 0)
    with pytest.raises(PositionLost) as lost:
        await other.claim(NOTHING, 0)
    assert lost.value.stored.seq == one.fence


async def test_the_rest_of_a_torn_batch_is_found_among_others(
    connection: Connection, jetstream: JetStream, where: Place
) -> None:
    one = writer(connection, where, [])
    await one.claim(NOTHING, 0)
    subject = where.look.replace(">", "1.public.t.insert")
    # a batch without its position is what a torn one leaves
    await connection.request(subject, b"", torn_headers("c-torn", 1, 1))
    await connection.request(subject, b"", torn_headers("c-torn", 2, 2))
    await jetstream.publish(subject, b"", torn_headers("c-torn", 3, 3) + b"Nats-Batch-Commit: 1\r\n")
    backfill = wire.pub(subject.encode(), b"", b"")
    await connection.send(backfill * 5_000)
    await jetstream.publish(subject, b"", torn_headers("b-other", 1, 99) + b"Nats-Batch-Commit: 1\r\n")
    claimed = await one.claim(await one.position.read(), 0)
    assert claimed.torn is not None
    assert key_of(claimed.torn.headers) == (3,)
    # a later owner, before any batch, finds it too
    later = await one.claim(await one.position.read(), 0)
    assert later.torn == claimed.torn


async def test_a_batch_whose_answer_is_lost_is_not_stored_twice(
    connection: Connection, jetstream: JetStream, where: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch = BatchPublisher._dispatch
    dropped: list[str] = []

    def drop_first(self: BatchPublisher, batch: str, reply: Reply) -> None:
        if reply.payload and not dropped:
            dropped.append(batch)
        else:
            dispatch(self, batch, reply)

    monkeypatch.setattr(BatchPublisher, "_dispatch", drop_first)
    monkeypatch.setattr(fenced_writer, "COMMIT_TIMEOUT_S", 0.3)
    committed: list[Committed[int]] = []
    one = writer(connection, where, committed)
    await one.claim(NOTHING, 0)
    async with running(one):
        one.put(group(1, 10, where))
        one.put(group(11, 20, where))
        await one.drain()
        one.put(group(21, 21, where))
        await one.drain()
    assert dropped
    assert await stored_numbers(jetstream, where) == list(range(1, 22))
    assert [batch.mark for batch in committed][-1] == 21


async def test_few_messages_are_stored_without_a_batch_and_found_by_who_claims_next(
    connection: Connection, jetstream: JetStream, where: Place
) -> None:
    committed: list[Committed[int]] = []
    older, newer = writer(connection, where, committed), writer(connection, where, [])
    await older.claim(NOTHING, 0, CommitLimits(few=8, lag_s=60.0))
    async with running(older) as task:
        for number in (1, 2, 3):
            older.put(group(number, number, where))
            await older.drain()
        assert [(one.mark, one.single) for one in committed] == [(1, True), (2, True), (3, True)]
        stored = await jetstream.last_message(where.stream, where.look)
        assert stored is not None
        assert "Nats-Batch-Id" not in stored.headers
        held = await newer.position.read()
        assert mark_of(held.payload) == 0
        claimed = await newer.claim(held, 0)
        assert mark_of_torn(claimed.torn) == 3
        older.put(group(4, 4, where))
        with pytest.raises(PositionLost):
            await task
    assert await stored_numbers(jetstream, where) == [1, 2, 3]


async def test_a_single_message_whose_answer_is_lost_is_not_stored_twice(
    connection: Connection, jetstream: JetStream, where: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch = BatchPublisher._dispatch
    dropped: list[str] = []

    def drop_second(self: BatchPublisher, batch: str, reply: Reply) -> None:
        if len(dropped) == 1:
            dropped.append(batch)
        else:
            dropped.append(batch)
            dispatch(self, batch, reply)

    monkeypatch.setattr(BatchPublisher, "_dispatch", drop_second)
    monkeypatch.setattr(fenced_writer, "COMMIT_TIMEOUT_S", 0.3)
    one = writer(connection, where, [])
    await one.claim(NOTHING, 0, CommitLimits(few=8))
    async with running(one):
        for number in (1, 2, 3, 4):
            one.put(group(number, number, where))
            await one.drain()
    assert len(dropped) > 2
    assert await stored_numbers(jetstream, where) == [1, 2, 3, 4]


async def test_a_full_stream_makes_the_writer_wait_and_say_so(
    connection: Connection, jetstream: JetStream, namespace: str
) -> None:
    where = place(namespace)
    await make_stream(jetstream, where, max_bytes=100_000)
    one = writer(connection, where, [])
    await one.claim(NOTHING, 0)
    async with running(one):
        one.put(group(1, 150, where))
        await one.drain()
        one.put(group(151, 300, where))
        await until(lambda: one.blocked == 10077)
        await jetstream.purge_stream(where.stream, subject=where.look)
        await one.drain()
        await until(lambda: one.blocked is None)
    assert await stored_numbers(jetstream, where) == list(range(151, 301))


async def test_a_claim_waits_while_the_stream_is_full(
    connection: Connection, jetstream: JetStream, namespace: str
) -> None:
    where = place(namespace)
    await make_stream(jetstream, where, max_bytes=20_000)
    subject = where.look.replace(">", "1.public.t.insert")
    await connection.send(wire.pub(subject.encode(), b"", b"") * 1_000)
    one = writer(connection, where, [])
    claiming = asyncio.create_task(one.claim(NOTHING, 0))
    await until(lambda: one.blocked == 10077)
    await jetstream.purge_stream(where.stream, subject=where.look)
    await claiming
    assert one.blocked is None
    assert (await one.position.read()).seq == one.fence


async def test_a_refusal_that_waiting_does_not_mend_ends_the_writer(
    connection: Connection, jetstream: JetStream, where: Place
) -> None:
    one = writer(connection, where, [])
    await one.claim(NOTHING, 0, CommitLimits(patience=1))
    config = (await jetstream.stream_info(where.stream) or {})["config"]
    await jetstream.update_stream(config | {"max_msg_size": 100})
    async with running(one) as task:
        one.put(group(1, 3, where))
        with pytest.raises(WriteFailed, match=f"{where.stream}.*10054"):
            await task


async def test_something_else_on_the_positions_subject_is_named(
    connection: Connection, jetstream: JetStream, where: Place
) -> None:
    await jetstream.publish(where.position, b"hello")
    with pytest.raises(PositionInvalid, match=where.position):
        await writer(connection, where, []).position.read()


async def test_losing_the_connection_ends_the_writer_at_once(own_nats: EmbeddedNats) -> None:
    settings = NatsSettings(servers=(own_nats.url,))
    async with await connect(settings, name="test", reconnect=False) as connection:
        where = place()
        await make_stream(JetStream(connection), where)
        one = writer(connection, where, [])
        await one.claim(NOTHING, 0)
        async with running(one) as task:
            await own_nats.kill()
            with pytest.raises(ConnectionLost, match=own_nats.url):
                await task


class NumberSource:
    """Writes 1, 2, 3, … from where the position stands, and remembers what was acknowledged."""

    def __init__(self, settings: NatsSettings, where: Place, total: int, few: int = 0) -> None:
        self._settings = settings
        self._where = where
        self._total = total
        self._limits = CommitLimits(few=few)
        self._chance = random.Random(7)
        self.acknowledged = 0

    async def write(self) -> None:
        async with await connect(self._settings, name="test", reconnect=False) as connection:
            one = FencedWriter(
                connection, self._where, encode=encode, key_of=key_of, committed=self._committed
            )
            held = await one.position.read()
            start = mark_of(held.payload)
            claimed = await one.claim(held, start, self._limits)
            reached = mark_of_torn(claimed.torn) or start
            assert reached >= self.acknowledged
            async with running(one):
                await self._put(one, reached)
                await one.drain()

    async def _put(self, one: FencedWriter[int], reached: int) -> None:
        while reached < self._total:
            await one.wait_room()
            last = min(self._total, reached + self._chance.randint(1, 40))
            if self._limits.few and self._chance.random() < 0.9:
                last = reached + 1
                await one.drain()
            one.put(group(reached + 1, last, self._where))
            reached = last
            await asyncio.sleep(0)

    def has_reached(self, number: int) -> bool:
        return self.acknowledged >= number

    def _committed(self, batch: Committed[int]) -> None:
        self.acknowledged = batch.mark


def mark_of_torn(torn: Torn | None) -> int:
    return int(torn.headers["Bridge-Event-Id"]) if torn else 0


@pytest.mark.parametrize(("total", "few"), [(30_000, 0), (1_500, 8)])
async def test_killing_the_server_again_and_again_loses_and_doubles_nothing(
    own_nats: EmbeddedNats, total: int, few: int
) -> None:
    settings = NatsSettings(servers=(own_nats.url,))
    where = place()
    async with await connect(settings, name="test", reconnect=False) as connection:
        await make_stream(JetStream(connection), where)
    source = NumberSource(settings, where, total, few)
    for kill_at in range(total // 10, total, total // 5):
        writing = asyncio.create_task(source.write())
        await until(partial(source.has_reached, kill_at))
        await own_nats.kill()
        with pytest.raises(ConnectionLost):
            await writing
        await own_nats.start()
    await source.write()
    async with await connect(settings, name="test", reconnect=False) as connection:
        assert await stored_numbers(JetStream(connection), where) == list(range(1, total + 1))
