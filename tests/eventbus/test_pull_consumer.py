"""Pulling under a pin, settling and sweeping (rules R1, R3, R5, R10), against a real server."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from bridge.demo.nats_server import EmbeddedNats
from eventbus import wire
from eventbus.connection import Connection, connect
from eventbus.errors import ConnectionLost, JetStreamError
from eventbus.jetstream import JetStream
from eventbus.message import Message, ack_subject
from eventbus.pull_consumer import PIN_GROUP, ConsumerGone, PinLost, PullConsumer, Source, pinned_consumer
from eventbus.settings import NatsSettings
from eventbus.settling import Settling
from tests.eventbus.writing import until

LANE = "lane-0"
PIN_TIMEOUT_S = 2.0


@pytest.fixture
async def stream(jetstream: JetStream, namespace: str) -> str:
    """A stream of deliveries with one lane."""
    name = f"{namespace}-DELIVERIES"
    await jetstream.create_stream(
        {
            "name": name,
            "subjects": [f"{namespace}.deliveries.>"],
            "storage": "file",
            "max_bytes": 64 * 2**20,
            "discard": "new",
        }
    )
    config = pinned_consumer(LANE, f"{namespace}.deliveries.0.>", max_ack_pending=10_000)
    await jetstream.create_consumer(name, config | {"priority_timeout": int(PIN_TIMEOUT_S * 1e9)})
    return name


@pytest.fixture
def settling(connection: Connection) -> Settling:
    return Settling(connection)


@contextlib.asynccontextmanager
async def pulling(connection: Connection, stream: str, window: int = 1_000) -> AsyncIterator[PullConsumer]:
    consumer = PullConsumer(connection, Source(stream, LANE, PIN_GROUP), window)
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            yield consumer
    finally:
        await consumer.stop()


async def publish(jetstream: JetStream, stream: str, count: int, payload: bytes = b"x" * 345) -> None:
    subject = f"{stream.removesuffix('-DELIVERIES')}.deliveries.0.acme.orders"
    await jetstream.connection.send(wire.pub(subject.encode(), b"", payload) * (count - 1))
    await jetstream.publish(subject, payload)


async def take(consumer: PullConsumer, count: int) -> list[Message]:
    messages: list[Message] = []
    while len(messages) < count:
        messages += await consumer.next()
    return messages


async def test_a_flood_comes_in_order_and_every_ack_is_confirmed(
    connection: Connection, jetstream: JetStream, stream: str, settling: Settling
) -> None:
    await publish(jetstream, stream, 5_000)
    seqs: list[int] = []
    async with pulling(connection, stream, window=100) as consumer:
        while len(seqs) < 5_000:
            messages = await consumer.next()
            assert len(messages) <= 100
            seqs += [message.seq for message in messages]
            await settling.ack(messages)
        assert await consumer.empty()
    assert seqs == list(range(1, 5_001))
    info = await jetstream.consumer_info(stream, LANE)
    assert info is not None
    assert (info["ack_floor"]["stream_seq"], info["num_ack_pending"]) == (5_000, 0)


async def test_a_pull_waits_for_what_comes_later(
    connection: Connection, jetstream: JetStream, stream: str
) -> None:
    async with pulling(connection, stream) as consumer:
        waiting = asyncio.create_task(consumer.next())
        assert await consumer.empty()
        await publish(jetstream, stream, 1)
        (message,) = await waiting
        assert message.subject.endswith(".deliveries.0.acme.orders")
        assert (message.delivered, message.pending, len(message.payload)) == (1, 0, 345)


async def test_big_messages_do_not_stop_the_flow(
    connection: Connection, jetstream: JetStream, stream: str
) -> None:
    await publish(jetstream, stream, 40, b"x" * 900_000)
    async with pulling(connection, stream) as consumer:
        assert [message.seq for message in await take(consumer, 40)] == list(range(1, 41))


async def test_only_one_client_is_pinned_until_it_falls_silent(
    connection: Connection, jetstream: JetStream, stream: str
) -> None:
    await publish(jetstream, stream, 1)
    async with pulling(connection, stream) as first, pulling(connection, stream) as second:
        owner, rival = (first, second) if await came_first(first, second) else (second, first)
        await publish(jetstream, stream, 3)
        assert len(await take(owner, 3)) == 3
        assert (owner.pin, rival.pin) != (None, None)
        assert rival.pin is None
        owner.window = 0  # it stops pulling, and says nothing
        await until(lambda: owner.quiet)
        await publish(jetstream, stream, 1)
        assert [message.seq for message in await take(rival, 1)] == [5]
        owner.window = 10
        with pytest.raises(PinLost, match=LANE):
            await owner.next()


async def came_first(first: PullConsumer, second: PullConsumer) -> bool:
    tasks = [asyncio.create_task(one.next()) for one in (first, second)]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return tasks[0] in done


async def test_a_client_with_a_full_window_keeps_its_pin(
    connection: Connection, jetstream: JetStream, stream: str
) -> None:
    await publish(jetstream, stream, 20)
    async with pulling(connection, stream, window=5) as owner:
        assert len(await take(owner, 1)) <= 5
        await asyncio.sleep(PIN_TIMEOUT_S + 1)  # what is shown is that time changes nothing
        await take(owner, 10)


async def test_what_a_dead_owner_left_comes_back_in_order_before_anything_new(
    connection: Connection, jetstream: JetStream, stream: str, settling: Settling
) -> None:
    await publish(jetstream, stream, 10)
    async with pulling(connection, stream) as owner:
        messages = await take(owner, 10)
        await settling.ack([messages[0], messages[1], messages[4]])
    await publish(jetstream, stream, 2)
    await jetstream.unpin(stream, LANE, PIN_GROUP)
    info = await jetstream.consumer_info(stream, LANE)
    assert info is not None
    floor, delivered = info["ack_floor"]["stream_seq"], info["delivered"]
    await settling.sweep(
        ack_subject(stream, LANE), floor + 1, delivered["stream_seq"], delivered["consumer_seq"]
    )
    async with pulling(connection, stream) as heir:
        again = await take(heir, 9)
    assert [message.seq for message in again] == [3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert [message.delivered for message in again] == [2] * 7 + [1] * 2


async def test_a_consumer_that_waits_for_acks_is_not_empty(
    connection: Connection, jetstream: JetStream, stream: str, settling: Settling
) -> None:
    config = (await jetstream.consumer_info(stream, LANE) or {})["config"]
    await jetstream.create_consumer(stream, config | {"max_ack_pending": 5}, action="update")
    await publish(jetstream, stream, 6)
    async with pulling(connection, stream) as consumer:
        messages = await take(consumer, 5)
        consumer.window = 0
        assert not await consumer.empty()
        await settling.ack(messages)
        consumer.window = 10
        assert [message.seq for message in await take(consumer, 1)] == [6]


async def test_a_nak_delays_and_progress_keeps_a_message(
    connection: Connection, jetstream: JetStream, stream: str, settling: Settling
) -> None:
    await publish(jetstream, stream, 2)
    async with pulling(connection, stream) as consumer:
        first, second = await take(consumer, 2)
        await settling.progress([second])
        await settling.nak([first], delay=0.3)
        assert await consumer.empty()
        (again,) = await consumer.next()
        assert (again.seq, again.delivered) == (1, 2)


async def test_a_terminated_message_leaves_its_reason_in_an_advisory(
    connection: Connection, jetstream: JetStream, stream: str, settling: Settling
) -> None:
    reasons: asyncio.Queue[str] = asyncio.Queue()
    await connection.subscribe(
        f"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.{stream}.{LANE}",
        lambda *parts: reasons.put_nowait(json.loads(parts[3])["reason"]),
    )
    await publish(jetstream, stream, 1)
    async with pulling(connection, stream) as consumer:
        (message,) = await consumer.next()
        await settling.terminate(message, "rejected:\r\n no such plant")
        assert await reasons.get() == "rejected: no such plant"
        assert await consumer.empty()


async def test_a_consumer_that_goes_is_noticed(
    connection: Connection, jetstream: JetStream, stream: str, settling: Settling
) -> None:
    await publish(jetstream, stream, 1)
    async with pulling(connection, stream) as consumer:
        messages = await consumer.next()
        assert await jetstream.delete_consumer(stream, LANE)
        with pytest.raises(ConsumerGone, match=LANE):
            await consumer.next()
        with pytest.raises(JetStreamError) as error:
            await settling.ack(messages)
        assert error.value.err_code == 503
    assert not await jetstream.delete_consumer(stream, LANE)
    async with pulling(connection, stream) as absent:
        with pytest.raises(ConsumerGone, match=LANE):
            await absent.next()


async def test_no_window_lets_the_pulls_expire(
    connection: Connection, jetstream: JetStream, stream: str
) -> None:
    async with pulling(connection, stream) as consumer:
        consumer.window = 0
        await until(lambda: consumer.quiet)
        await publish(jetstream, stream, 3)
        consumer.window = 1
        assert len(await consumer.next()) == 1


async def test_pulls_that_are_ended_leave_what_comes_later_to_the_next_client(
    connection: Connection, jetstream: JetStream, stream: str
) -> None:
    await publish(jetstream, stream, 2)
    async with pulling(connection, stream) as first, pulling(connection, stream) as second:
        taken = await take(first, 1)
        await first.cease()
        while not first.quiet:
            taken += await first.next()
        await Settling(connection).ack(taken)
        await publish(jetstream, stream, 3)
        info = await jetstream.consumer_info(stream, LANE)
        assert info is not None
        assert (info["num_pending"], info["num_ack_pending"]) == (3, 0)
        await jetstream.unpin(stream, LANE, PIN_GROUP)
        assert len(await take(second, 3)) == 3


async def test_losing_the_server_ends_the_pulls_and_the_acks(own_nats: EmbeddedNats) -> None:
    settings = NatsSettings(servers=(own_nats.url,))
    async with await connect(settings, name="test", reconnect=False) as connection:
        jetstream = JetStream(connection)
        await jetstream.create_stream({"name": "x-DELIVERIES", "subjects": ["x.deliveries.>"]})
        config = pinned_consumer(LANE, "x.deliveries.0.>", max_ack_pending=100)
        await jetstream.create_consumer("x-DELIVERIES", config)
        await publish(jetstream, "x-DELIVERIES", 1)
        async with pulling(connection, "x-DELIVERIES") as consumer:
            messages = await consumer.next()
            await own_nats.kill()
            with pytest.raises(ConnectionLost):
                await consumer.next()
            with pytest.raises(ConnectionLost):
                await Settling(connection).ack(messages)
