"""What surrounds the lanes' workers in the simulation: a server, ERPs, a clock, and the invariants, by name."""

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import msgspec

from connectors.protocol import Delivered, Outcome, Rejected, RetryLater, Unavailable, Uncertain
from pipeline.dlq.tombstone import read_tombstone
from tests.simulation.chance import Chance
from tests.simulation.chronicle import Chronicle
from tests.simulation.consumer_model import ConsumersModel, Delivery
from tests.simulation.jetstream_model import Draft, StreamModel, matches
from tests.simulation.lane_facts import Booked, Bucket, Fate, Late, Pauses
from tests.simulation.lane_rules import LaneRules

PIN_S = 5.0
PROMPT_S = 1.0
"""A request is sent while the lease holds, and another may have the lane a second after it has ended at the soonest."""
LONGEST_WAIT_S = 30.0 * 1.2
"""What would only be tried again after its deadline is given up at once."""


class Surroundings(Chronicle):
    """The clock, the server and the ERPs of one run; what must hold is checked where it would show.

    kills: workers crash; else the server does, and its workers live through it all. Both within the tenth of a second
    may bring back what nobody remembers, and nobody promises otherwise.
    """

    def __init__(self, seed: int, rules: LaneRules, total: int) -> None:
        super().__init__(seed)
        self.random = Chance(seed)
        self.rules = rules
        self.kills = self.random.random() < 0.7
        self.chaos = True
        self.now = 1000.0
        self.stream = StreamModel()
        self.consumers = ConsumersModel(self.stream)
        self.lanes, self.retry = Bucket(), Bucket()
        self.dlq = StreamModel()
        self.dead: dict[int, str] = {}
        """Why, of all that ever had a dead letter."""
        self.copies: dict[int, int] = {}
        """What was replayed, and as what."""
        self.fates: dict[int, Fate] = {}
        self.booked = Booked()
        self.excused: dict[int, int] = {}
        self.total = total
        self.down: set[str] = set()
        self.paused: dict[str, Pauses] = {}
        self.late: list[Late] = []
        self.deadline_s = 400.0 if self.random.random() < 0.7 else 80.0
        self.blocking: set[str] = {"acme/safe", "beta/safe"} if self.random.random() < 0.4 else set()
        self.lane_count = 2 if self.random.random() < 0.3 else 1
        self._looked = 0.0
        self._pulled: dict[str, float] = {}

    def chance(self, probability: float) -> bool:
        return self.chaos and self.random.random() < probability

    # ── The server ───────────────────────────────────────────────────────────────────────────────────────────────

    def request(
        self, act: Callable[[], Any], longest: float = 7.0, often: float = 0.15
    ) -> Generator[None, None, Any]:
        """It acts at once, or while others go on, even after its sender has lost the lane; its answer is awaited.

        longest: 0.0: it acts before the next owner can have begun.
        """
        if not self.chance(often):
            return act()
        not_before = self.now + self.random.choice((0.0, 0.0, 0.0, longest))
        late = Late(act, not_before, math.inf if longest else self.now + PROMPT_S)
        self.late.append(late)
        while not late.done:
            yield
        return late.answer

    def arrives(self, late: Late) -> None:
        self.late.remove(late)
        late.answer, late.done = late.act(), True

    def wait_for_the_prompt(self, until: float) -> None:
        """What must have arrived by then does now."""
        for late in [late for late in self.late if late.before < until]:
            self.arrives(late)

    def nothing_arrives(self) -> None:
        """Of what is on its way: nobody gets an answer."""
        for late in self.late:
            late.done = True
        self.late.clear()

    def pull(self, name: str, pin: int) -> Delivery | int | None:
        found = self.consumers.pull(name, pin)
        if isinstance(found, Delivery) or (pin and found is None):
            self._pulled[name] = self.now
        return found

    def unpin_the_silent(self) -> None:
        if self.now - self._looked < 1.0:
            return
        self._looked = self.now
        for name in self.consumers.names:
            if self.consumers.pin(name) and self.now - self._pulled.get(name, 0.0) >= PIN_S:
                self.consumers.unpin(name)

    def ack(self, name: str, seq: int) -> int | None:
        answer = self.consumers.ack(name, seq)
        self.still_wanted(seq, "acknowledged on", name)
        return answer

    def terminate(self, name: str, seq: int, reason: str) -> int:
        if seq not in self.dead:
            raise self.violated("nothing is lost", f"{seq} is terminated without a dead letter")
        if name not in self.consumers:
            return -503
        self.consumers[name].terminate(seq, reason)
        return 0

    def delete(self, name: str) -> None:
        if name not in self.consumers:
            return
        consumer = self.consumers[name]
        self.note(("consumer deleted", name, *consumer.pending))
        self.consumers.delete(name)
        for seq in self.fates:
            if seq >= consumer.next_seq or seq in consumer.pending:
                self.still_wanted(seq, "deleted with", name)

    def purge(self, subject: str, below: int) -> None:
        gone = [
            seq
            for seq in self.stream.messages
            if seq < below and matches(subject, self.stream.messages[seq].subject)
        ]
        if gone:
            self.note(("purged", subject, "below", below))
        self.consumers.purge(subject, below)
        for seq in gone:
            self.still_wanted(seq, "purged below", below)

    def still_wanted(self, seq: int, *how: object) -> None:
        """Whatever is not at its end must be going to be delivered by somebody, and be there."""
        if seq in self.booked.counts or seq in self.dead:
            return
        fate = self.fates[seq]
        there = seq in self.stream.messages
        if not there:
            raise self.violated(
                "a purge deletes nothing that is wanted", f"{seq} of {fate.name} is {' '.join(map(str, how))}"
            )
        if not any(self._brings(name, seq, fate) for name in self.consumers.names):
            raise self.violated("nothing is lost", f"{seq} of {fate.name} is {' '.join(map(str, how))}")

    def _brings(self, name: str, seq: int, fate: Fate) -> bool:
        consumer = self.consumers[name]
        if (
            name != f"lane-{fate.lane}"
            and consumer.subject != f"deliveries.{fate.lane}.{fate.tenant}.{fate.route}"
        ):
            return False
        return seq >= consumer.next_seq or consumer.is_pending(seq)

    # ── The ERPs, and what must hold there ───────────────────────────────────────────────────────────────────────

    def erp(self, seq: int, paused: float | None) -> Outcome:
        """paused: since when the route was paused when the turn began."""
        fate = self.fates[seq]
        if seq in self.dead:
            raise self.violated("nothing is sent after its dead letter", f"{seq}")
        if fate.name in self.blocking and (letter := self._blocks(fate)) is not None:
            raise self.violated("a blocked key waits", f"{seq} is sent although {letter} is a dead letter")
        if paused is not None:
            raise self.violated("a paused route sends nothing", f"{seq} of {fate.name}")
        if fate.tenant in self.down:
            return Unavailable("down")
        answer = fate.answers.pop(0) if fate.answers and self.chaos else ""
        self.note(("sent", seq, "of", fate.name, "key", fate.key, answer or "taken"))
        if answer == "later":
            return RetryLater("busy")
        if answer == "much later":
            return RetryLater("busy", after=25.0)
        if answer == "no":
            return Rejected("no")
        if answer == "uncertain" and self.random.random() < 0.5:
            return Uncertain("cut before")
        self._book(seq, fate)
        return Uncertain("cut after") if answer == "uncertain" else Delivered(None)

    def _book(self, seq: int, fate: Fate) -> None:
        booked, line = self.booked, (fate.name, fate.key)
        times = booked.counts.get(seq, 0)
        if booked.highest.get(line, 0) > fate.place:
            raise self.violated("each key in order", f"{seq} is booked after {booked.highest[line]}")
        if times and fate.unsafe:
            raise self.violated("what is unsafe is sent once", f"{seq}")
        if times > self.excused.get(seq, 0) + self.unread(seq):
            raise self.violated("twice only where an answer was lost", f"{seq}")
        booked.seqs.append(seq)
        booked.counts[seq] = times + 1
        booked.highest[line] = fate.place

    def routes_of(self, lane: int) -> list[str]:
        raise NotImplementedError

    def _blocks(self, fate: Fate) -> int | None:
        """The open dead letter, or the replay not settled yet, that an earlier event of its key has."""
        for seq in self.open_letters():
            other = self.fates[seq]
            if (other.name, other.key) == (fate.name, fate.key) and other.place < fate.place:
                return seq
        return None

    def unread(self, seq: int) -> int:
        """How many owners whose time is over have sent it and, stopped as they are, not read the answer."""
        raise NotImplementedError

    def excuse(self, seq: int) -> None:
        """Its answer, or the ack of it, was lost."""
        self.excused[seq] = self.excused.get(seq, 0) + 1

    def bury(self, seq: int, reason: str) -> None:
        fate = self.fates[seq]
        if reason == "expired":
            lived = self.now - fate.born - (self.pauses(fate.name).so_far(self.now) - fate.paused_before)
            if lived < self.deadline_s - LONGEST_WAIT_S:
                raise self.violated(
                    "the deadline of what is paused stands still", f"{seq} expired after {lived}"
                )
        self.note(("dead letter", seq, reason))
        letter = {
            "tenant": fate.tenant,
            "route": fate.route,
            "reason": reason,
            "delivery_id": str(fate.place),
            "delivery_seq": seq,
            "event": {},
        }
        headers = self.stream.messages[seq].headers if seq in self.stream.messages else {}
        draft = Draft(self.letter_subject(seq), msgspec.json.encode(letter), headers)
        draft = replace(draft, expected=0 if self.rules.writes_one_letter else None, rollup=True)
        if self.dlq.publish(draft) > 0:
            if seq in self.dead:
                raise self.violated("one dead letter each", f"{seq} has another")
            self.dead[seq] = reason

    # ── What is decided about dead letters ───────────────────────────────────────────────────────────────────────

    def letter_subject(self, seq: int) -> str:
        fate = self.fates[seq]
        return f"dlq.{fate.tenant}.{fate.route}.{seq}"

    def open_letters(self) -> list[int]:
        return [
            int(m.subject.rpartition(".")[2])
            for m in self.dlq.messages.values()
            if read_tombstone(m.headers) is None
        ]

    def copied(self, seq: int, copy: int) -> None:
        """A replay is in DELIVERIES."""
        self.note(("replayed", seq, "as", copy))
        if seq in self.copies:
            raise self.violated("a replay exactly once", f"{seq} is {self.copies[seq]} and {copy}")
        self.copies[seq] = copy
        fate = self.fates[seq]
        paused = self.pauses(fate.name).so_far(self.now)
        place = fate.place if fate.name in self.blocking else copy
        self.fates[copy] = replace(fate, answers=[], born=self.now, paused_before=paused, place=place)
        self.total += 1

    def decided(self, seq: int, copy: int | None) -> None:
        """An operator is told that it is replayed, or, where there is no copy, discarded."""
        if self.copies.get(seq) != copy:
            raise self.violated(
                "a replay exactly once", f"{seq} is said to be {copy}, and is {self.copies.get(seq)}"
            )

    # ── Pauses ───────────────────────────────────────────────────────────────────────────────────────────────────

    def pauses(self, route: str) -> Pauses:
        return self.paused.setdefault(route, Pauses())

    def pause(self, route: str) -> None:
        pauses = self.pauses(route)
        if pauses.since is None:
            pauses.since = self.now
            self.note(("paused", route))

    def resume(self, route: str) -> None:
        """A pause that ends before any owner of the lane has written it down moves no deadline."""
        pauses = self.pauses(route)
        if pauses.since is not None:
            noted = self._is_noted(route)
            pauses.total, pauses.since = pauses.so_far(self.now) if noted else pauses.total, None
            self.note(("resumed", route))

    def _is_noted(self, route: str) -> bool:
        states = [state for key, (_, state) in self.lanes.values.items() if key.startswith("state")]
        return any(route in state.routes and state.routes[route].paused_since for state in states)
