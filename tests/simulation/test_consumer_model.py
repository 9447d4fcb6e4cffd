"""The model's consumers do what nats-server's do: the same random requests, the same answers."""

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from bridge.demo.nats_server import EmbeddedNats
from eventbus import wire
from eventbus.connection import Connection, connect
from eventbus.errors import JetStreamError
from eventbus.jetstream import JetStream
from eventbus.message import Message, ack_subject, ack_subject_for
from eventbus.pull_consumer import PIN_GROUP, pinned_consumer
from eventbus.settings import NatsSettings
from eventbus.settling import Settling
from tests.simulation.consumer_model import ConsumersModel, Delivery, Facts
from tests.simulation.jetstream_model import Draft, StreamModel
from tests.simulation.server_stream import ServerStream

SUBJECTS = ("0.t.r", "0.t.s", "1.u.r")
FILTERS = {"lane-0": "0.>", "lane-1": "1.>", "D-1": "0.t.r", "D-2": "0.t.s"}
PATIENT = settings(
    max_examples=25, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
names = st.sampled_from(("lane-0", "lane-0", "lane-1", "D-1", "D-1", "D-2"))


class Handed(NamedTuple):
    """A message as it was given to a client, perhaps of a consumer that is gone."""

    consumer: str
    seq: int
    consumer_seq: int


class ServerConsumers:
    """The consumers of a real stream, behind the model's doors."""

    def __init__(self, stream: ServerStream) -> None:
        self.stream = stream
        self.settling = Settling(stream.jetstream.connection)
        self._numbers = itertools.count()
        self.pins: dict[int, str] = {}
        """What the model calls them → what the server does."""

    async def create(self, name: str, subject: str, start: int) -> int:
        config = pinned_consumer(
            name, f"{self.stream.prefix}.{subject}", max_ack_pending=3, start=start if start > 1 else None
        )
        try:
            await self.stream.jetstream.create_consumer(self.stream.name, config)
        except JetStreamError as error:
            return -error.err_code
        return 0

    async def delete(self, name: str) -> bool:
        return await self.stream.jetstream.delete_consumer(self.stream.name, name)

    async def pull(self, name: str, pin: int, *, waits: bool, patient: bool) -> Message | int | None:
        """waits: something must come; patient: nothing may, and the server does not say so at once."""
        request: dict[str, Any] = {"batch": 1, "group": PIN_GROUP} | ({"id": self.pins[pin]} if pin else {})
        request |= (
            {"expires": 20_000_000_000 if waits else 30_000_000} if waits or patient else {"no_wait": True}
        )
        connection, inbox = self.stream.jetstream.connection, f"{self.stream.prefix}-{next(self._numbers)}"
        came: asyncio.Future[Message | int | None] = asyncio.get_running_loop().create_future()

        def arrive(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
            if not came.done():
                status = 0 if reply else wire.status_of(headers)
                came.set_result(
                    Message(subject, reply, headers, payload)
                    if reply
                    else None
                    if status in (404, 408)
                    else -status
                )

        end = await connection.subscribe(inbox, arrive)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream.name}.{name}".encode()
        await connection.send(wire.pub(subject, inbox.encode(), json.dumps(request).encode()))
        async with asyncio.timeout(30):
            answer = await came
        await end.cease()
        return answer

    async def settle(self, handed: Handed, body: bytes, *, answers: bool) -> int:
        """answers: the server must; else another one tells that this one is in."""
        sample = ack_subject(self.stream.name, handed.consumer)
        reply = ack_subject_for(sample, handed.seq, handed.consumer_seq)
        if not answers:
            await self.stream.jetstream.connection.send(wire.pub(reply, b"", body))
            body = b"+WPI"
        found = await self.stream.jetstream.connection.request(reply.decode(), body)
        return -wire.status_of(found.headers) if found.headers else 0

    async def facts(self, name: str) -> Facts:
        info = await self.stream.jetstream.consumer_info(self.stream.name, name)
        assert info is not None
        return Facts(
            info["ack_floor"]["stream_seq"],
            info["delivered"]["stream_seq"],
            info["delivered"]["consumer_seq"],
            info["num_ack_pending"],
            info["num_pending"],
        )


class Consumers(RuleBasedStateMachine):
    """Random commands on both, until hypothesis finds the shortest sequence on which they differ."""

    server: ClassVar[Callable[..., Coroutine[Any, Any, ServerStream]]]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        self.stream = StreamModel()
        self.model = ConsumersModel(self.stream)
        self.real = ServerConsumers(self.runner.run(self.server()))
        self.handed: list[Handed] = []
        self.pins: dict[str, list[int]] = {name: [0] for name in FILTERS}

    def run(self, of_server: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(of_server)

    @rule(subject=st.sampled_from(SUBJECTS))
    def publish(self, subject: str) -> None:
        draft = Draft(subject, b"%d" % self.stream.last_seq)
        assert self.stream.publish(draft) == self.run(self.real.stream.publish(draft))

    @rule(name=names, back=st.integers(0, 4), start=st.booleans())
    def create(self, name: str, back: int, *, start: bool) -> None:
        first = max(1, self.stream.last_seq + 1 - back) if start else 1
        answer = self.model.create(name, FILTERS[name], first, max_ack_pending=3)
        assert answer == self.run(self.real.create(name, FILTERS[name], first))

    @rule(name=names)
    def delete(self, name: str) -> None:
        assert self.model.delete(name) == self.run(self.real.delete(name))

    @rule(name=names, data=st.data())
    def pull(self, name: str, data: st.DataObject) -> None:
        if name not in self.model:
            return
        pin = data.draw(st.sampled_from(self.pins[name][-2:]))
        if pin != self.model.pin(name) and self.model[name].waits_again:
            return  # the server puts what it cannot give to anybody at the end of its queue, once or often
        wanted = self.model.pull(name, pin)
        found = self.run(
            self.real.pull(name, pin, waits=isinstance(wanted, Delivery), patient=wanted is None)
        )
        if isinstance(wanted, Delivery) and isinstance(found, Message):
            assert (wanted.message.seq, wanted.consumer_seq, wanted.delivered) == (
                found.seq,
                found.consumer_seq,
                found.delivered,
            )
            self.handed.append(Handed(name, found.seq, found.consumer_seq))
            theirs = self.real.pins.setdefault(wanted.pin, found.headers["Nats-Pin-Id"])
            assert found.headers["Nats-Pin-Id"] == theirs
            self.pins[name].append(wanted.pin)
        else:
            assert wanted == found

    @precondition(lambda self: self.handed)
    @rule(data=st.data(), how=st.sampled_from(("ack", "ack", "nak", "later", "progress", "term")))
    def settle(self, data: st.DataObject, how: str) -> None:
        handed = data.draw(st.sampled_from(self.handed[-6:]))
        body = {
            "ack": b"+ACK",
            "nak": b"-NAK",
            "later": b'-NAK {"delay": 60000000000}',
            "progress": b"+WPI",
            "term": b"+TERM no",
        }[how]
        if handed.consumer not in self.model:
            assert self.run(self.real.settle(handed, body, answers=True)) == -503
            return
        consumer, answers = self.model[handed.consumer], True
        match how:
            case "ack":
                answers = consumer.ack(handed.seq)
            case "nak":
                consumer.nak(handed.seq, by=handed.consumer_seq)
            case "later":
                consumer.nak(handed.seq, by=handed.consumer_seq, delayed=True)
            case "term":
                answers = consumer.terminate(handed.seq, "no")
        assert self.run(self.real.settle(handed, body, answers=answers and body[:1] == b"+")) == 0

    @rule(name=names)
    def unpin(self, name: str) -> None:
        if name in self.model:
            self.model.unpin(name)
            self.run(self.real.stream.jetstream.unpin(self.real.stream.name, name, PIN_GROUP))

    @rule(subject=st.sampled_from(("0.>", "1.>", "0.t.*", "0.t.r", "")), kept=st.integers(0, 6))
    def purge(self, subject: str, kept: int) -> None:
        seen = min((self.model[name].next_seq for name in self.model.names), default=1)
        below = max(1, min(self.stream.last_seq - kept, seen))
        self.model.purge(subject or ">", below)
        self.run(self.real.stream.purge(subject or ">", below))

    @rule(name=names)
    def inspect(self, name: str) -> None:
        if name in self.model:
            assert self.model[name].facts() == self.run(self.real.facts(name))


def test_consumers(nats_server: EmbeddedNats, namespace: str) -> None:
    with asyncio.Runner() as runner:
        connecting = connect(NatsSettings(servers=(nats_server.url,)), name="test", reconnect=False)
        connection, numbers = runner.run(connecting), itertools.count(1)

        async def another() -> ServerStream:
            number = next(numbers)
            stream = ServerStream(connection, f"{namespace}-{number}", f"{namespace}.{number}")
            await stream.create()
            return stream

        machine = type("OnThisServer", (Consumers,), {"server": staticmethod(another), "runner": runner})
        try:
            run_state_machine_as_test(machine, settings=PATIENT)
        finally:
            runner.run(connection.close())


async def filled(server: EmbeddedNats, prefix: str) -> tuple[ServerConsumers, ConsumersModel, Connection]:
    """The same 60 messages in both, of which a lane's consumer has delivered 40."""
    connection = await connect(NatsSettings(servers=(server.url,)), name="test", reconnect=False)
    real, model = ServerConsumers(ServerStream(connection, f"{prefix}-S", prefix)), StreamModel()
    await real.stream.create()
    consumers = ConsumersModel(model)
    for number in range(60):
        draft = Draft(SUBJECTS[number % 3], b"x")
        assert model.publish(draft) == await real.stream.publish(draft)
    consumers.create("lane-0", FILTERS["lane-0"], max_ack_pending=100)
    config = pinned_consumer("lane-0", f"{prefix}.0.>", max_ack_pending=100)
    await real.stream.jetstream.create_consumer(real.stream.name, config)
    for _ in range(30):
        await both_pull(real, consumers, "lane-0")
    return real, consumers, connection


async def both_pull(real: ServerConsumers, model: ConsumersModel, name: str) -> int:
    pin = model.pin(name)
    wanted = model.pull(name, pin)
    assert isinstance(wanted, Delivery)
    found = await real.pull(name, pin, waits=True, patient=False)
    assert isinstance(found, Message)
    assert (found.seq, found.consumer_seq) == (wanted.message.seq, wanted.consumer_seq)
    real.pins[wanted.pin] = found.headers["Nats-Pin-Id"]
    return found.seq


async def test_what_waits_to_be_delivered_again_is_forgotten_by_a_purge(
    nats_server: EmbeddedNats, namespace: str
) -> None:
    real, model, connection = await filled(nats_server, namespace)
    async with connection:
        consumer = model["lane-0"]
        for seq in consumer.pending[:4]:
            consumer.ack(seq)
            await real.settle(Handed("lane-0", seq, 1), b"+ACK", answers=True)
        pending = consumer.pending
        for seq in pending:
            consumer.nak(seq)
            await real.settle(Handed("lane-0", seq, consumer.consumer_seq), b"-NAK", answers=False)
        assert await both_pull(real, model, "lane-0") == pending[0]
        model.purge("0.>", pending[0])
        await real.stream.purge("0.>", pending[0])
        assert await both_pull(real, model, "lane-0") > pending[-1]
        assert await real.facts("lane-0") == consumer.facts()


async def test_a_restart_forgets_pins_and_what_waits(own_nats: EmbeddedNats) -> None:
    real, model, connection = await filled(own_nats, "t")
    async with connection:
        consumer = model["lane-0"]
        for seq in consumer.pending[3:6]:
            consumer.ack(seq)
            await real.settle(Handed("lane-0", seq, 1), b"+ACK", answers=True)
        consumer.nak(consumer.pending[0])
        await real.settle(
            Handed("lane-0", consumer.pending[0], consumer.consumer_seq), b"-NAK", answers=False
        )
        old = model.pin("lane-0")
        await own_nats.stop()
    model.restart(killed=False)
    await own_nats.start()
    async with await connect(NatsSettings(servers=(own_nats.url,)), name="test", reconnect=False) as again:
        real.stream.jetstream = JetStream(again)
        assert await real.facts("lane-0") == consumer.facts()
        assert model.pull("lane-0", old) == await real.pull("lane-0", old, waits=False, patient=False)
        await both_pull(real, model, "lane-0")
        assert await real.facts("lane-0") == consumer.facts()


async def test_a_killed_server_is_where_it_was_a_moment_ago(own_nats: EmbeddedNats) -> None:
    real, model, connection = await filled(own_nats, "t")
    async with connection:
        consumer = model["lane-0"]
        states = [consumer.facts()]
        for seq in consumer.pending:
            consumer.ack(seq)
            states.append(consumer.facts())
        seqs = [message.seq for message in model.stream.between(FILTERS["lane-0"], 0, consumer.next_seq)]
        await asyncio.gather(*(real.settle(Handed("lane-0", seq, 1), b"+ACK", answers=True) for seq in seqs))
        await own_nats.kill()
    await own_nats.start()
    async with await connect(NatsSettings(servers=(own_nats.url,)), name="test", reconnect=False) as again:
        real.stream.jetstream = JetStream(again)
        found = await real.facts("lane-0")
        assert found in states or found.delivered < states[0].delivered
