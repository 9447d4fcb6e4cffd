"""One webhook that arrives again and again, while everything goes wrong: its event is stored once.

Requests crash, answers are lost, batches arrive late, are stored message by message before everybody's eyes, and torn.
"""

import random
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from bridge.console.marker import (
    Found,
    Marker,
    Pause,
    ReadEventId,
    ReadMarker,
    StoreBatch,
    Stored,
    WriteMarker,
    store_once,
)
from eventbus.fence import Written
from tests.simulation.jetstream_model import (
    FULL,
    NO_RESOURCES,
    WRONG_LAST_SEQUENCE,
    Draft,
    ModelMessage,
    StreamModel,
)

MARKER, EVENT, OTHER = "intake.p.hash", "events.p.1.intake.event.message", "events.s.1.public.t.insert"
MINE = Marker("p:wmsg", "acme", "digest")
SEEDS = 3_000


class Violated(AssertionError):
    """What must hold does not."""


@dataclass
class Sent:
    """A write on its way. answer: once the server has given it."""

    drafts: list[Draft]
    answer: Written | None = None


@dataclass
class Arrival:
    """One request with the webhook."""

    steps: Generator[Any, Any, Any]
    waits: Sent | None = None
    answer: Any = None
    began: bool = False
    history: list[str] = field(default_factory=list)


class World:
    def __init__(self, seed: int, *, claims: bool = True, expects: bool = True) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.claims = claims
        self.stream = StreamModel()
        self.stream.checks_expected = expects
        self.stream.on_stored = self._on_stored
        self.queue: deque[Sent] = deque()
        self.storing: tuple[Sent, deque[Draft]] | None = None
        self.events = 0
        self.chaos = True
        self.log: list[str] = []

    def run(self) -> None:
        arrivals = [self._arrival() for _ in range(self.random.choice((1, 2, 3)))]
        for _ in range(self.random.randint(10, 150)):
            if self.random.random() < 0.5:
                place = self.random.randrange(len(arrivals))
                if self.random.random() < 0.03 or self._step(arrivals[place]):
                    arrivals[place] = self._arrival()
            else:
                self._serve()
        self.chaos = False
        last = self._arrival()
        for _ in range(500):
            if self._step(last):
                break
            self._serve()
        else:
            raise self._violated("the last request never ends")
        if self.events != 1:
            raise self._violated(f"{self.events} events")

    def _arrival(self) -> Arrival:
        return Arrival(store_once(MINE))

    def _violated(self, what: str) -> Violated:
        return Violated(f"seed {self.seed}: {what}\n" + "\n".join(self.log))

    def _chance(self, probability: float) -> bool:
        return self.chaos and self.random.random() < probability

    def _on_stored(self, message: ModelMessage) -> None:
        self.log.append(f"stored {message.seq} {message.subject} {message.payload.decode()}")
        if message.subject == EVENT:
            self.events += 1
            if self.events > 1:
                raise self._violated("the event is stored twice")

    def _step(self, arrival: Arrival) -> bool:
        """Whether the request has ended."""
        if arrival.waits is not None:
            if arrival.waits.answer is None and not self._chance(0.1):
                return False
            lost = arrival.waits.answer is None or self._chance(0.1)
            arrival.answer = Written(None) if lost else arrival.waits.answer
            arrival.waits = None
        try:
            request = arrival.steps.send(arrival.answer if arrival.began else None)
        except StopIteration as end:
            self._ended(end.value)
            return True
        arrival.began = True
        self.log.append(f"{id(arrival) % 1000} {request}")
        self._ask(arrival, request)
        return False

    def _ended(self, outcome: Any) -> None:
        self.log.append(str(outcome))
        if isinstance(outcome, Stored) and self.events != 1:
            raise self._violated("acknowledged, and not stored")
        if not isinstance(outcome, Stored) and not self.chaos:
            raise self._violated(f"refused in peace: {outcome}")

    def _ask(self, arrival: Arrival, request: Any) -> None:
        match request:
            case Pause():
                arrival.answer = None
            case ReadMarker():
                found = self.stream.last(MARKER)
                arrival.answer = found and Found(found.seq, msgspec.json.decode(found.payload, type=Marker))
            case ReadEventId(seq):
                message = self.stream.messages.get(seq)
                arrival.answer = message.headers.get("id", "") if message else ""
            case WriteMarker(marker, expected) if not self.claims and not marker.stored:
                arrival.answer = Written(expected)
            case WriteMarker(marker, expected):
                arrival.waits = self._send([_marker(marker, expected, rollup=True)])
            case StoreBatch(expected):
                done = msgspec.structs.replace(MINE, stored=True)
                event = Draft(EVENT, b"event", {"id": MINE.id})
                arrival.waits = self._send([_marker(MINE, expected), event, _marker(done, None)])

    def _send(self, drafts: list[Draft]) -> Sent:
        sent = Sent(drafts)
        if self._chance(0.05):
            return sent  # it never arrives
        self.queue.append(sent)
        if self._chance(0.1):
            self.queue.rotate(1)  # on a connection of its own
        return sent

    def _serve(self) -> None:
        """The server's next step."""
        if self.storing is not None:
            self._store_on()
        elif self._chance(0.1):
            self.stream.publish(Draft(OTHER, b"another", {"id": "s:0/1:1"}))
        elif self._chance(0.05) and self._proven():
            self.stream.purge("events.>", self.stream.last_seq + 1)
        elif self.queue:
            self._take(self.queue.popleft())

    def _proven(self) -> bool:
        found = self.stream.last(MARKER)
        return found is not None and msgspec.json.decode(found.payload, type=Marker).stored

    def _take(self, sent: Sent) -> None:
        if self._chance(0.05):
            # wrong sequence: another webhook's, in the same batch
            sent.answer = Written(None, self.random.choice((FULL, 10210, 10176, WRONG_LAST_SEQUENCE)))
        elif not all(map(self.stream._expectation_holds, sent.drafts)):
            sent.answer = Written(None, WRONG_LAST_SEQUENCE)
        else:
            self.storing = sent, deque(sent.drafts)

    def _store_on(self) -> None:
        assert self.storing is not None
        sent, left = self.storing
        if len(left) < len(sent.drafts) and self._chance(0.15):
            self.log.append("torn")
            self.storing = None
            sent.answer = self.random.choice((Written(None, NO_RESOURCES), Written(None)))
            return
        seq = self.stream._store(left.popleft())
        if not left:
            self.storing, sent.answer = None, Written(seq)


def _marker(marker: Marker, expected: int | None, *, rollup: bool = False) -> Draft:
    return Draft(MARKER, msgspec.json.encode(marker), expected=expected, rollup=rollup)


def run_all(**rules: bool) -> None:
    for seed in range(SEEDS):
        World(seed, **rules).run()


def test_a_webhook_is_stored_once_whatever_happens() -> None:
    run_all()


@pytest.mark.parametrize("without", ["claims", "expects"])
def test_without_one_of_the_rules_it_is_stored_twice(without: str) -> None:
    with pytest.raises(Violated, match="stored twice"):
        run_all(**{without: False})
