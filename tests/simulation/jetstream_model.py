"""JetStream in memory, as far as the protocols of this project use it: one stream and its batches.

Its consumers are in `consumer_model.py`. It does what a server does at the moment it is called: what is late, lost or interleaved is the simulation's doing.
`test_jetstream_model.py` compares it with a real server.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

GAP = 10176
WRONG_LAST_SEQUENCE = 10071
FULL = 10077
NO_RESOURCES = 10023


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """A stored message; `headers` without those that only command the server."""

    seq: int
    subject: str
    headers: Mapping[str, str]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be stored. expected: the last sequence its subject must have; rollup: it replaces the others.

    lasts: it has no TTL; of: another subject whose last sequence is meant.
    """

    subject: str
    payload: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    expected: int | None = None
    rollup: bool = False
    lasts: bool = True
    of: str = ""


class StreamModel:
    """One stream. Writing methods return the sequence, or minus the error code."""

    def __init__(self, capacity: int = 10**9) -> None:
        self.messages: dict[int, ModelMessage] = {}
        self.last_seq = 0
        self.capacity = capacity
        self.on_stored: Callable[[ModelMessage], None] = lambda _: None
        self.checks_expected = True
        self._open: dict[str, list[Draft]] = {}
        self._mortal: set[int] = set()

    def publish(self, draft: Draft) -> int:
        """A plain message."""
        if not self._expectation_holds(draft):
            return -WRONG_LAST_SEQUENCE
        if len(self.messages) >= self.capacity:
            return -FULL
        return self._store(draft)

    def add(self, batch: str, number: int, draft: Draft) -> int:
        """A message of an atomic batch, but its last: 0 where it is taken."""
        drafts = self._open.setdefault(batch, []) if number == 1 else self._open.get(batch)
        if drafts is None or number != len(drafts) + 1:
            self._open.pop(batch, None)
            return -GAP
        drafts.append(draft)
        return 0

    def commit(self, batch: str, number: int, draft: Draft, torn_after: int | None = None) -> int:
        """The last message of a batch. `torn_after`: only so many are stored, and the server has no resources."""
        drafts = self._open.pop(batch, []) if number > 1 else []
        if number != len(drafts) + 1:
            return -GAP
        drafts.append(draft)
        for messages, one in enumerate(drafts, len(self.messages) + 1):
            if not self._expectation_holds(one):
                return -WRONG_LAST_SEQUENCE
            if messages > self.capacity:
                return -FULL
        if torn_after is not None and torn_after < len(drafts):
            for one in drafts[:torn_after]:
                self._store(one)
            return -NO_RESOURCES
        return [self._store(one) for one in drafts][-1]

    def restart(self) -> None:
        """The server starts anew: open batches are gone."""
        self._open.clear()

    def last(self, subject: str) -> ModelMessage | None:
        """The last message of a subject or wildcard."""
        return next((m for m in reversed(self.messages.values()) if matches(subject, m.subject)), None)

    @property
    def first_seq(self) -> int:
        """Of the first message that is left; one above the last where there is none."""
        return next(iter(self.messages), self.last_seq + 1)

    def first(self, subject: str, start: int) -> ModelMessage | None:
        """The first that matches from a sequence on."""
        for seq in range(start, self.last_seq + 1):
            message = self.messages.get(seq)
            if message is not None and matches(subject, message.subject):
                return message
        return None

    def between(self, subject: str, after: int, before: int) -> list[ModelMessage]:
        """What matches, in order, above `after` and below `before`."""
        return [m for m in self.messages.values() if after < m.seq < before and matches(subject, m.subject)]

    def purge(self, subject: str, below: int) -> None:
        """Deletes what matches below a sequence."""
        self.messages = {
            seq: m for seq, m in self.messages.items() if seq >= below or not matches(subject, m.subject)
        }

    def expire(self) -> None:
        """Whatever has a TTL is gone."""
        self.messages = {seq: m for seq, m in self.messages.items() if seq not in self._mortal}

    def _expectation_holds(self, draft: Draft) -> bool:
        if draft.expected is None or not self.checks_expected:
            return True
        last = self.last(draft.of or draft.subject)
        return draft.expected == (last.seq if last else 0)

    def _store(self, draft: Draft) -> int:
        if draft.rollup:
            self.purge(draft.subject, self.last_seq + 1)
        self.last_seq += 1
        message = ModelMessage(self.last_seq, draft.subject, draft.headers, draft.payload)
        self.messages[self.last_seq] = message
        if not draft.lasts:
            self._mortal.add(self.last_seq)
        self.on_stored(message)
        return self.last_seq


@lru_cache(maxsize=10_000)
def matches(pattern: str, subject: str) -> bool:
    """Whether a subject matches a pattern with `*` and `>`."""
    if pattern == subject:
        return True
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens, strict=True))
