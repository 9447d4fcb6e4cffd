"""What surrounds a lane's workers in the simulation: a server, ERPs, a clock, and the invariants, by name."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectors.protocol import Delivered, Outcome, Rejected, RetryLater, Unavailable, Uncertain
from pipeline.lane_state import Barrier
from tests.simulation.jetstream_model import ConsumerModel, StreamModel


class Violated(AssertionError):
    """What must hold does not."""


@dataclass(frozen=True)
class LaneRules:
    """The protocol's parts, so that a test can break one of them."""

    barrier: Callable[[Barrier], Barrier] = lambda barrier: barrier
    confirms_before_the_next: bool = True
    remembers: bool = True
    reads_dead_letters: bool = True
    checks_lease: bool = True
    sweeps: bool = True
    notes_intents: bool = True
    counts_deliveries: bool = True


class Bucket:
    """Keys under compare-and-set."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[int, Any]] = {}
        self._revision = 0

    def get(self, key: str) -> tuple[int, Any]:
        return self.values.get(key, (0, None))

    def update(self, key: str, value: Any, expected: int) -> int | None:
        if self.get(key)[0] != expected:
            return None
        self._revision += 1
        self.values[key] = (self._revision, value)
        return self._revision


@dataclass
class Fate:
    """What a delivery will meet. unsafe: must not be sent twice; answers: before the ERP takes it."""

    route: str
    key: int
    unsafe: bool
    answers: list[str]


class Surroundings:
    """The clock, the server and the ERPs of one run; what must hold is checked where it would show.

    kills: workers crash; else the server does, and one worker lives through it all. Both at once may bring back what
    nobody remembers, which nobody promises otherwise.
    """

    def __init__(self, seed: int, rules: LaneRules, total: int = 14) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.rules = rules
        self.kills = self.random.random() < 0.7
        self.chaos = True
        self.now = 1000.0
        self.stream = StreamModel()
        self.consumer = ConsumerModel(self.stream, "deliveries.>")
        self.lanes, self.retry, self.dead = Bucket(), Bucket(), Bucket()
        self.fates: dict[int, Fate] = {}
        self.booked: list[int] = []
        self.excused: dict[int, int] = {}
        self.total = total
        self.down = False

    def violated(self, invariant: str, what: str) -> Violated:
        return Violated(f"seed {self.seed}: {invariant}: {what}")

    def chance(self, probability: float) -> bool:
        return self.chaos and self.random.random() < probability

    # ── What the ERP and the server do, and what must hold then ──────────────────────────────────────────────────

    def erp(self, seq: int) -> Outcome:
        fate = self.fates[seq]
        if str(seq) in self.dead.values:
            raise self.violated("nothing is sent after its dead letter", f"{seq}")
        if self.down:
            return Unavailable("down")
        answer = fate.answers.pop(0) if fate.answers and self.chaos else ""
        if answer == "later":
            return RetryLater("busy")
        if answer == "no":
            return Rejected("no")
        if answer == "uncertain" and self.random.random() < 0.5:
            return Uncertain("cut before")
        self._book(seq, fate)
        return Uncertain("cut after") if answer == "uncertain" else Delivered(None)

    def _book(self, seq: int, fate: Fate) -> None:
        line = (fate.route, fate.key)
        later = [other for other in self.booked if other > seq and self._line(other) == line]
        if later:
            raise self.violated("each key in order", f"{seq} is booked after {later}")
        if seq in self.booked and fate.unsafe:
            raise self.violated("what is unsafe is sent once", f"{seq}")
        if self.booked.count(seq) > self.excused.get(seq, 0) + self.unread(seq):
            raise self.violated("twice only where an answer was lost", f"{seq}")
        self.booked.append(seq)

    def _line(self, seq: int) -> tuple[str, int]:
        fate = self.fates[seq]
        return fate.route, fate.key

    def unread(self, seq: int) -> int:
        """How many owners whose time is over have sent it and, stopped as they are, not read the answer."""
        raise NotImplementedError

    def excuse(self, seq: int) -> None:
        """Its answer, or the ack of it, was lost."""
        self.excused[seq] = self.excused.get(seq, 0) + 1

    def ack(self, seq: int) -> None:
        if seq not in self.booked and str(seq) not in self.dead.values:
            raise self.violated("nothing is settled before its end", f"{seq} is acknowledged")
        self.consumer.ack(seq)

    def terminate(self, seq: int, reason: str) -> None:
        if str(seq) not in self.dead.values:
            raise self.violated("nothing is settled before its end", f"{seq} is terminated")
        self.consumer.terminate(seq, reason)
