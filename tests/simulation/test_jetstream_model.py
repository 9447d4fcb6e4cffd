"""The model does what nats-server does: the same random requests, the same answers."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from bridge.demo.nats_server import EmbeddedNats
from eventbus.connection import connect
from eventbus.settings import NatsSettings
from tests.simulation.jetstream_model import Draft, StreamModel, matches
from tests.simulation.server_stream import ServerStream

SUBJECTS = ("a.1", "a.2", "b")
CAPACITY = 8
PATIENT = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
subjects = st.sampled_from(SUBJECTS)
expectations = st.sampled_from(("nothing", "nothing", "the last", "none", "another"))


@pytest.fixture
async def server(nats_server: EmbeddedNats, namespace: str) -> AsyncIterator[ServerStream]:
    async with await connect(
        NatsSettings(servers=(nats_server.url,)), name="test", reconnect=False
    ) as connection:
        stream = ServerStream(connection, f"{namespace}-S", namespace)
        await stream.create()
        yield stream


class Streams(RuleBasedStateMachine):
    """Random commands on both, until hypothesis finds the shortest sequence on which they differ."""

    server: ClassVar[Callable[..., Coroutine[Any, Any, ServerStream]]]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        self.model = StreamModel(CAPACITY)
        self.real = self.runner.run(self.server())
        self.numbers: dict[str, int] = {}
        self.begun = 0

    def both(self, of_model: int, of_server: Coroutine[Any, Any, int]) -> None:
        answered = self.runner.run(of_server)
        assert of_model == answered, f"the model says {of_model}, the server {answered}"

    def draft(self, subject: str, expects: str, *, rollup: bool) -> Draft:
        last = self.model.last(subject)
        expected = {"nothing": None, "the last": last.seq if last else 0, "none": 0, "another": 3}[expects]
        return Draft(subject, b"%d" % self.model.last_seq, {}, expected, rollup)

    @rule(subject=subjects, expects=expectations, rollup=st.booleans())
    def publish(self, subject: str, expects: str, *, rollup: bool) -> None:
        draft = self.draft(subject, expects, rollup=rollup)
        self.both(self.model.publish(draft), self.real.publish(draft))

    @rule(subject=subjects, of=subjects, expects=expectations)
    def publish_behind(self, subject: str, of: str, expects: str) -> None:
        """Only while another subject stands where it is said to."""
        expected = self.draft(of, expects, rollup=False).expected or 0
        draft = Draft(subject, b"%d" % self.model.last_seq, {}, expected, of=of)
        self.both(self.model.publish(draft), self.real.publish(draft))

    @rule()
    def begin_batch(self) -> None:
        self.begun += 1
        self._add(f"batch-{self.begun}", 1)

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), ahead=st.sampled_from((1, 1, 1, 1, 2)))
    def add(self, data: st.DataObject, ahead: int) -> None:
        batch = data.draw(st.sampled_from(sorted(self.numbers)))
        self._add(batch, self.numbers[batch] + ahead)

    def _add(self, batch: str, number: int) -> None:
        draft = Draft("c", b"%b.%d" % (batch.encode(), number))
        answer = self.model.add(batch, number, draft)
        self.both(answer, self.real.publish(draft, batch, number))
        self.numbers[batch] = number
        if answer < 0:
            del self.numbers[batch]

    @precondition(lambda self: self.numbers)
    @rule(
        data=st.data(),
        subject=subjects,
        expects=expectations,
        rollup=st.booleans(),
        ahead=st.sampled_from((1, 1, 1, 2)),
    )
    def commit(self, data: st.DataObject, subject: str, expects: str, *, rollup: bool, ahead: int) -> None:
        batch = data.draw(st.sampled_from(sorted(self.numbers)))
        number, draft = self.numbers.pop(batch) + ahead, self.draft(subject, expects, rollup=rollup)
        self.both(self.model.commit(batch, number, draft), self.real.publish(draft, batch, number, last=True))

    @rule(subject=subjects, expects=expectations)
    def commit_alone(self, subject: str, expects: str) -> None:
        self.begun += 1
        batch, draft = f"batch-{self.begun}", self.draft(subject, expects, rollup=True)
        self.both(self.model.commit(batch, 1, draft), self.real.publish(draft, batch, 1, last=True))

    @rule(pattern=st.sampled_from(("a.*", "b", "c", ">")), kept=st.integers(0, 4))
    def purge(self, pattern: str, kept: int) -> None:
        below = max(1, self.model.last_seq - kept)
        self.model.purge(pattern, below)
        self.runner.run(self.real.purge(pattern, below))

    def teardown(self) -> None:
        assert contents(self.model) == self.runner.run(self.real.contents())


def contents(model: StreamModel) -> list[tuple[int, str, bytes]]:
    return [(m.seq, m.subject, m.payload) for m in model.messages.values()]


def test_streams_and_batches(nats_server: EmbeddedNats, namespace: str) -> None:
    with asyncio.Runner() as runner:
        connecting = connect(NatsSettings(servers=(nats_server.url,)), name="test", reconnect=False)
        connection, numbers = runner.run(connecting), itertools.count(1)

        async def another() -> ServerStream:
            number = next(numbers)
            stream = ServerStream(connection, f"{namespace}-{number}", f"{namespace}.{number}")
            await stream.create(CAPACITY)
            return stream

        machine = type("OnThisServer", (Streams,), {"server": staticmethod(another), "runner": runner})
        try:
            run_state_machine_as_test(machine, settings=PATIENT)
        finally:
            runner.run(connection.close())


async def test_what_has_a_ttl_is_gone_afterwards(server: ServerStream) -> None:
    chance, model = random.Random(1), StreamModel()
    for step in range(40):
        draft = Draft(chance.choice(SUBJECTS), b"%d" % step, lasts=chance.random() < 0.5)
        assert model.publish(draft) == await server.publish(draft)
    model.expire()
    async with asyncio.timeout(60):
        while await server.contents() != contents(model):  # noqa: ASYNC110 - a server tells nobody that a message expired
            await asyncio.sleep(0.05)
    for subject in SUBJECTS:
        last = model.last(subject)
        draft = Draft(subject, b"next", expected=last.seq if last else 0)
        assert model.publish(draft) == await server.publish(draft)


def test_a_pattern_matches_as_the_server_does() -> None:
    assert [matches(p, "a.b.c") for p in ("a.b.c", "a.*.c", "a.>", ">", "a.b", "a.b.c.>", "*.b")] == [
        *(True, True, True, True, False, False, False),
    ]
