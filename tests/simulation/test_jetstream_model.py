"""The model does what nats-server does: the same random requests, the same answers."""

import asyncio
import json
import random
from collections.abc import AsyncIterator

import pytest

from bridge.demo.nats_server import EmbeddedNats
from eventbus import wire
from eventbus.connection import Connection, Reply, connect
from eventbus.errors import JetStreamError
from eventbus.jetstream import JetStream
from eventbus.message import Message
from eventbus.settings import NatsSettings
from eventbus.settling import Settling
from tests.simulation.jetstream_model import ConsumerModel, Draft, StreamModel, matches

SUBJECTS = ("a.1", "a.2", "b")


class ServerStream:
    """The model's doors on a real stream."""

    def __init__(self, connection: Connection, name: str, prefix: str) -> None:
        self.jetstream = JetStream(connection)
        self.name = name
        self.prefix = prefix

    async def create(self) -> None:
        await self.jetstream.create_stream(
            {
                "name": self.name,
                "subjects": [f"{self.prefix}.>"],
                "storage": "file",
                "allow_atomic": True,
                "allow_rollup_hdrs": True,
            }
        )

    async def publish(self, draft: Draft, batch: str = "", number: int = 0, *, last: bool = False) -> int:
        headers: dict[str, str] = {}
        if number:
            headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
        if number and last:
            headers["Nats-Batch-Commit"] = "1"
        if draft.expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(draft.expected)
        if draft.rollup:
            headers["Nats-Rollup"] = "sub"
        subject = f"{self.prefix}.{draft.subject}"
        if number and not last:
            reply = await self.jetstream.connection.request(
                subject, draft.payload, wire.header_lines(headers)
            )
            return -_code(reply)
        try:
            return await self.jetstream.publish(subject, draft.payload, wire.header_lines(headers))
        except JetStreamError as error:
            return -error.err_code

    async def contents(self) -> list[tuple[int, str, bytes]]:
        found, start = [], 1
        while message := await self.jetstream.next_message(self.name, f"{self.prefix}.>", start):
            found.append((message.seq, message.subject.removeprefix(f"{self.prefix}."), message.payload))
            start = message.seq + 1
        return found


def _code(reply: Reply) -> int:
    return int(json.loads(reply.payload)["error"]["err_code"]) if reply.payload else 0


def some_draft(chance: random.Random, model: StreamModel, payload: bytes) -> Draft:
    subject = chance.choice(SUBJECTS)
    last = model.last(subject)
    expected = chance.choice([None, None, last.seq if last else 0, 0, 3])
    return Draft(subject, payload, {}, expected, rollup=chance.random() < 0.2)


@pytest.fixture
async def server(nats_server: EmbeddedNats, namespace: str) -> AsyncIterator[ServerStream]:
    async with await connect(
        NatsSettings(servers=(nats_server.url,)), name="test", reconnect=False
    ) as connection:
        stream = ServerStream(connection, f"{namespace}-S", namespace)
        await stream.create()
        yield stream


@pytest.mark.parametrize("seed", range(3))
async def test_streams_and_batches(server: ServerStream, seed: int) -> None:
    chance, model = random.Random(seed), StreamModel()
    for step in range(100):
        draft = some_draft(chance, model, b"%d" % step)
        if chance.random() < 0.6:
            assert model.publish(draft) == await server.publish(draft), step
            continue
        batch, size = f"batch-{step}", chance.randint(0, 3)
        for number in range(1, size + 1):
            member = Draft("c", b"%d.%d" % (step, number))
            assert model.add(batch, number, member) == await server.publish(member, batch, number)
        number = size + chance.choice([1, 1, 1, 2])
        answers = model.commit(batch, number, draft), await server.publish(draft, batch, number, last=True)
        assert answers[0] == answers[1], (step, number, draft)
    assert [(m.seq, m.subject, m.payload) for m in model.messages.values()] == await server.contents()


@pytest.mark.parametrize("seed", range(3))
async def test_consumers(server: ServerStream, seed: int) -> None:
    chance, model = random.Random(seed), StreamModel()
    consumer = ConsumerModel(model, "a.*")
    jetstream = server.jetstream
    await jetstream.create_consumer(
        server.name,
        {
            "name": "c",
            "durable_name": "c",
            "filter_subject": f"{server.prefix}.a.*",
            "ack_policy": "explicit",
            "max_ack_pending": 10_000,
        },
    )
    settling, held = Settling(jetstream.connection), dict[int, Message]()
    arrived: asyncio.Queue[Message | None] = asyncio.Queue()

    def arrive(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        arrived.put_nowait(Message(subject, reply, headers, payload) if reply else None)

    await jetstream.connection.subscribe(f"{server.prefix}-inbox", arrive)
    pull = wire.pub(
        f"$JS.API.CONSUMER.MSG.NEXT.{server.name}.c".encode(),
        f"{server.prefix}-inbox".encode(),
        b'{"batch": 1, "no_wait": true}',
    )
    for step in range(200):
        choice = chance.random()
        if choice < 0.3:
            draft = Draft(chance.choice(SUBJECTS), b"%d" % step)
            assert model.publish(draft) == await server.publish(draft)
        elif choice < 0.7 or not held:
            wanted = consumer.pull()
            await jetstream.connection.send(pull)
            found = await arrived.get()
            assert (wanted and (wanted.message.seq, wanted.consumer_seq, wanted.delivered)) == (
                found and (found.seq, found.consumer_seq, found.delivered)
            ), step
            if found:
                held[found.seq] = found
        else:
            message = held[chance.choice(list(held))]
            if choice < 0.85:
                consumer.ack(message.seq)
                await settling.ack([message])
            elif choice < 0.95:
                consumer.nak(message.seq)
                await settling.nak([message])
                await settling.confirm_progress(message.reply)
            else:
                consumer.terminate(message.seq, "no")
                await settling.terminate(message, "no")
    info = await jetstream.consumer_info(server.name, "c")
    assert info is not None
    assert (info["num_ack_pending"], info["delivered"]["stream_seq"]) == (
        len(consumer.pending),
        consumer.delivered_seq,
    )


def test_a_pattern_matches_as_the_server_does() -> None:
    assert [matches(p, "a.b.c") for p in ("a.b.c", "a.*.c", "a.>", ">", "a.b", "a.b.c.>", "*.b")] == [
        *(True, True, True, True, False, False, False),
    ]
