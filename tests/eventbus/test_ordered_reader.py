"""Reading in order and without a gap, whatever happens to the consumer behind it (rule T5)."""

import asyncio

import pytest

from bridge.demo.nats_server import EmbeddedNats
from eventbus import wire
from eventbus.connection import connect
from eventbus.errors import ConnectionLost
from eventbus.jetstream import JetStream
from eventbus.message import Message
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.settings import NatsSettings


async def make_stream(jetstream: JetStream, name: str, namespace: str) -> None:
    await jetstream.create_stream(
        {"name": name, "subjects": [f"{namespace}.>"], "storage": "file", "max_bytes": 64 * 2**20}
    )


async def publish(jetstream: JetStream, subject: str, count: int) -> None:
    await jetstream.connection.send(wire.pub(subject.encode(), b"", b"x" * 100) * (count - 1))
    await jetstream.publish(subject, b"x" * 100)


async def read(reader: OrderedReader, count: int) -> list[int]:
    seqs: list[int] = []
    async with asyncio.timeout(20):
        while len(seqs) < count:
            seqs += [message.seq for message in await reader.next()]
    return seqs


async def test_several_subjects_come_in_the_order_of_the_stream(jetstream: JetStream, namespace: str) -> None:
    stream = f"{namespace}-EVENTS"
    await make_stream(jetstream, stream, namespace)
    for kind in ("events", "routes", "position", "events"):
        await publish(jetstream, f"{namespace}.{kind}.x", 2)
    subjects = [f"{namespace}.events.>", f"{namespace}.routes.*"]
    async with OrderedReader(jetstream, Reading(stream, subjects, 2)) as reader:
        assert await read(reader, 5) == [2, 3, 4, 7, 8]
        assert await reader.empty()
        await publish(jetstream, f"{namespace}.routes.x", 1)
        assert await read(reader, 1) == [9]


async def test_a_consumer_that_vanishes_is_made_again_behind_what_was_read(
    jetstream: JetStream, namespace: str
) -> None:
    stream = f"{namespace}-EVENTS"
    await make_stream(jetstream, stream, namespace)
    await publish(jetstream, f"{namespace}.events.x", 3_000)
    async with OrderedReader(jetstream, Reading(stream, [f"{namespace}.>"]), window=100) as reader:
        assert reader.waiting == 3_000
        seqs = await read(reader, 500)
        (consumer,) = (await jetstream.call(f"CONSUMER.NAMES.{stream}"))["consumers"]
        await jetstream.delete_consumer(stream, consumer)
        seqs += await read(reader, 3_000 - len(seqs))
    assert seqs == list(range(1, 3_001))
    assert not (await jetstream.call(f"CONSUMER.NAMES.{stream}"))["consumers"]


async def test_what_is_deleted_before_it_is_read_is_not_waited_for(
    jetstream: JetStream, namespace: str
) -> None:
    stream = f"{namespace}-EVENTS"
    await make_stream(jetstream, stream, namespace)
    await publish(jetstream, f"{namespace}.events.x", 100)
    async with OrderedReader(jetstream, Reading(stream, [f"{namespace}.>"]), window=20) as reader:
        seqs: list[int] = []
        async with asyncio.timeout(20):
            async for message in reader.what_is_there():
                if not seqs:
                    await jetstream.purge_stream(stream, subject=f"{namespace}.>")
                seqs.append(message.seq)
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) < 100


async def test_a_delivery_that_was_lost_is_read_again(
    jetstream: JetStream, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = f"{namespace}-EVENTS"
    await make_stream(jetstream, stream, namespace)
    await publish(jetstream, f"{namespace}.events.x", 500)
    async with OrderedReader(jetstream, Reading(stream, [f"{namespace}.>"])) as reader:
        pulls = reader._pulls
        assert pulls is not None
        original = pulls.next
        lost: list[Message] = []

        async def without_the_third() -> list[Message]:
            messages: list[Message] = []
            while len(messages) < 500:  # all in one: nothing comes behind the gap that would show it
                messages += await original()
            if not lost:
                lost.append(messages.pop(2))
            return messages

        monkeypatch.setattr(pulls, "next", without_the_third)
        assert await read(reader, 500) == list(range(1, 501))
        assert lost


async def test_reading_goes_on_after_the_server_was_killed(own_nats: EmbeddedNats) -> None:
    settings = NatsSettings(servers=(own_nats.url,))
    async with await connect(settings, name="test", reconnect=True) as connection:
        jetstream = JetStream(connection)
        await make_stream(jetstream, "EVENTS", "x")
        await publish(jetstream, "x.events", 1_000)
        async with OrderedReader(jetstream, Reading("EVENTS", ["x.>"]), window=50) as reader:
            seqs = await read(reader, 300)
            await own_nats.kill()
            await own_nats.start()
            seqs += await read(reader, 1_000 - len(seqs))
        assert seqs == list(range(1, 1_001))


async def test_without_reconnect_a_killed_server_is_said(own_nats: EmbeddedNats) -> None:
    settings = NatsSettings(servers=(own_nats.url,))
    async with await connect(settings, name="test", reconnect=False) as connection:
        jetstream = JetStream(connection)
        await make_stream(jetstream, "EVENTS", "x")
        async with OrderedReader(jetstream, Reading("EVENTS", ["x.>"])) as reader:
            await own_nats.kill()
            with pytest.raises(ConnectionLost):
                await read(reader, 1)


async def test_of_many_subjects_the_last_message_of_each_comes_however_large_they_are(
    jetstream: JetStream, namespace: str
) -> None:
    stream = f"{namespace}-EVENTS"
    await make_stream(jetstream, stream, namespace)
    for number in range(60):
        await jetstream.publish(f"{namespace}.events.{number}", b"x" * 300_000)
    async with OrderedReader(jetstream, Reading(stream, [f"{namespace}.events.>"], None)) as reader:
        assert await read(reader, 60) == list(range(1, 61))
