"""One turn of one delivery: from "it is first in its lines" to settled, or to waiting (rules R5, R10, R13, R14). Pure.

A generator yields what it wants done and is sent the answer, so that the same code runs against servers and in the
simulation, with a crash between any two steps. What is decided about an outcome stands in `pipeline.disposition`.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from connectors.protocol import Outcome
from pipeline.disposition import (
    Ack,
    DeadLetter,
    Disposition,
    Hold,
    Problem,
    Reason,
    RetryAt,
    Situation,
    decide,
)
from pipeline.tenants.model import RetryPolicy


class RetryRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the bucket RETRY keeps of a delivery, so that the next owner goes on counting.

    attempts: spent; first, last, due: seconds since the epoch. intent, for what must not be repeated: `started`
    before it is sent, `done` once the ERP has it.
    """

    attempts: int = 0
    first: float | None = None
    last: float | None = None
    due: float | None = None
    intent: Literal["started", "done"] | None = None


_FRESH = RetryRecord()


@dataclass(frozen=True, slots=True)
class Known:
    """A record and its revision in the bucket; 0: it is not there, as far as we know."""

    record: RetryRecord = _FRESH
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What the route and its connection say about trying again. deadline: seconds since the epoch."""

    policy: RetryPolicy
    deadline: float
    hold_max_s: float


# ── What a turn asks for ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """Answer: Known."""


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """Compare-and-set. Answer: the new revision, or None: it is not at `expected`."""

    record: RetryRecord
    expected: int


@dataclass(frozen=True, slots=True)
class Render:
    """Answer: Rendered, SkipIt or Problem."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The request is ready. safe: sending it twice does no harm."""

    safe: bool


@dataclass(frozen=True, slots=True)
class SkipIt:
    """The mapping wants nothing sent. by: `when`, `skip_if` or `source`."""

    by: str


@dataclass(frozen=True, slots=True)
class Send:
    """Answer: Sent."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome, with the mapping's word on it, and when the request began and ended."""

    outcome: Outcome
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Report:
    """Write down the attempt: its number, how it ended, what follows."""

    number: int
    sent: Sent | None
    disposition: Disposition


@dataclass(frozen=True, slots=True)
class Bury:
    """Write the dead letter; return when it is stored, or was there already."""

    letter: DeadLetter
    record: RetryRecord


@dataclass(frozen=True, slots=True)
class Settle:
    """Acknowledge, or with a reason terminate, and return when the server has confirmed it."""

    reason: Reason | None = None


Step = ReadRecord | WriteRecord | Render | Send | Report | Bury | Settle


# ── How a turn ends ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing more is to be done."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """It stays first in its lines until `due`. known: None where the record is still to be read; held: how often in
    a row the endpoint was not there.
    """

    due: float
    known: Known | None
    held: int = 0


Ending = Settled | Waiting
Turn = Generator[Step, Any, Ending]
Clock = Callable[[], float]


def take_turn(rules: Rules, known: Known | None, held: int, clock: Clock, jitter: float) -> Turn:
    """known: None where the record must be read first; clock: seconds since the epoch; jitter: from -1 to 1."""
    if known is None:
        known = yield ReadRecord()
    record = known.record
    if record.intent == "done":
        return (yield from _settle())
    if record.intent == "started":
        problem = Problem("interrupted", "sent by a worker that ended before it knew the answer")
        return (yield from bury(DeadLetter("uncertain", problem), record))
    if clock() >= rules.deadline:
        problem = Problem("expired", "not delivered within the route's deadline")
        return (yield from bury(DeadLetter("expired", problem), record))
    if record.due is not None and clock() < record.due:
        return Waiting(record.due, known, held)
    rendered = yield Render()
    if isinstance(rendered, SkipIt):
        return (yield from _settle())
    if isinstance(rendered, Problem):
        # a `require` that does not hold is the mapping's own word, no mistake in it
        letter = DeadLetter("rejected" if rendered.class_ == "rejected" else "mapping", rendered)
        yield Report(record.attempts + 1, None, letter)
        return (yield from bury(letter, _spent(record, clock(), None)))
    if not rendered.safe:
        record = msgspec.structs.replace(record, intent="started", due=None)
        revision = yield WriteRecord(record, known.revision)
        if revision is None:
            return (yield from take_turn(rules, None, held, clock, jitter))
        known = Known(record, revision)
    return (yield from _attempt(_Attempt(rules, known, held, rendered.safe, jitter)))


def bury(letter: DeadLetter, record: RetryRecord) -> Turn:
    """No further attempt: the dead letter first, then the end of the message."""
    yield Bury(letter, record)
    yield Settle(letter.reason)
    return Settled()


def _settle() -> Turn:
    yield Settle()
    return Settled()


@dataclass(frozen=True, slots=True)
class _Attempt:
    rules: Rules
    known: Known
    held: int
    safe: bool
    jitter: float


def _attempt(this: _Attempt) -> Turn:
    sent: Sent = yield Send()
    number = this.known.record.attempts + 1
    disposition = decide(sent.outcome, _situation(this, sent, number))
    yield Report(number, sent, disposition)
    match disposition:
        case Ack():
            if not this.safe:
                done = msgspec.structs.replace(this.known.record, intent="done")
                yield WriteRecord(done, this.known.revision)
            return (yield from _settle())
        case DeadLetter():
            return (yield from bury(disposition, _spent(this.known.record, sent.ended, None)))
        case RetryAt(due):
            known = yield from _remember(_spent(this.known.record, sent.ended, due), this.known.revision)
            return Waiting(due, known)
        case Hold(due):
            known = this.known
            if not this.safe:
                known = yield from _remember(_unspent(known.record), known.revision)
            return Waiting(due, known, this.held + 1)


def _situation(this: _Attempt, sent: Sent, number: int) -> Situation:
    rules = this.rules
    return Situation(
        now=sent.ended,
        deadline=rules.deadline,
        attempts=number,
        held=this.held + 1,
        hold_max_s=rules.hold_max_s,
        safe=this.safe,
        policy=rules.policy,
        jitter=this.jitter,
    )


def _spent(record: RetryRecord, now: float, due: float | None) -> RetryRecord:
    first = now if record.first is None else record.first
    return RetryRecord(record.attempts + 1, first, now, due)


def _unspent(record: RetryRecord) -> RetryRecord:
    return msgspec.structs.replace(record, intent=None)


def _remember(record: RetryRecord, expected: int) -> Generator[Step, Any, Known]:
    """Writes the record; where another owner's stands there, counts on from it."""
    while True:
        revision = yield WriteRecord(record, expected)
        if revision is not None:
            return Known(record, revision)
        found: Known = yield ReadRecord()
        if found.record == record:  # stored, and the answer was lost
            return found
        if found.revision != expected and found.record.attempts >= record.attempts:
            record = msgspec.structs.replace(
                record, attempts=found.record.attempts + 1, first=found.record.first or record.first
            )
        expected = found.revision
