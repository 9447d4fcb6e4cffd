"""One turn of one delivery: from "it is first in its lines" to settled, or to waiting (rules R5, R10, R13, R14). Pure.

A generator yields what it wants done and is sent the answer, so that the same code runs against servers and in the
simulation, with a crash between any two steps. What is decided about an outcome stands in `pipeline.delivery.disposition`, what
is written down in `pipeline.delivery.retry_record`.

Each request of a mapping with several takes a turn of its own, so that its connection's limits hold for each. What the
ones before have brought is in the record; `goes_on` says that it is also at hand still.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from connectors.protocol import Outcome, RetryLater, Uncertain
from pipeline.delivery.disposition import (
    Ack,
    DeadLetter,
    Disposition,
    Hold,
    Next,
    Problem,
    Reason,
    RetryAt,
    Situation,
    decide,
)
from pipeline.delivery.retry_record import Known, RetryRecord, finished, spent, started, unspent
from pipeline.delivery.retry_schedule import retry_delay
from pipeline.tenants.model import RetryPolicy


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
    """Compare-and-set. Answer: the new revision, or None: it is not at `expected`. stays: as long as a dead letter may."""

    record: RetryRecord
    expected: int
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Render:
    """Answer: Rendered, SkipIt, Done, Later or Problem. then: a request is done; what is not ready now is Later."""

    then: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request is ready. safe: sending it twice does no harm.

    step: its name, "" for a mapping's only one. reads: it changes nothing. lookup: it asks whether the step's request
    has arrived already. looked_up: of a request: so it is asked before it is sent a second time. last: once it is
    delivered, nothing is left to do.
    """

    safe: bool
    step: str = ""
    reads: bool = False
    lookup: bool = False
    looked_up: bool = False
    last: bool = True


@dataclass(frozen=True, slots=True)
class SkipIt:
    """The mapping wants nothing sent. by: `when`, `skip_if` or `source`."""

    by: str


@dataclass(frozen=True, slots=True)
class Done:
    """The ERP has everything. saves: something is to be stored of it."""

    saves: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """What the mapping reads is not there yet: again later, and nothing is spent. class_: as of a Problem."""

    why: str
    class_: str = "source"


@dataclass(frozen=True, slots=True)
class Save:
    """Store what Done said; return when it is stored, or cannot be, which undoes nothing."""


@dataclass(frozen=True, slots=True)
class Send:
    """Answer: Sent."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome, with the mapping's word on it, and when the request began and ended.

    reads_again: what was read for it has changed, so the next attempt need not wait.
    """

    outcome: Outcome
    began: float
    ended: float
    reads_again: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """Write down the attempt: its number, how it ended, what follows, and which request it was."""

    number: int
    sent: Sent | None
    disposition: Disposition
    step: str = ""
    lookup: bool = False


@dataclass(frozen=True, slots=True)
class Bury:
    """Write the dead letter; return when it is stored, or was there already."""

    letter: DeadLetter
    record: RetryRecord


@dataclass(frozen=True, slots=True)
class Settle:
    """Acknowledge, or with a reason terminate, and return when the server has confirmed it.

    forgets: the record, too; else a replay goes on with it.
    """

    reason: Reason | None = None
    forgets: bool = True


Step = ReadRecord | WriteRecord | Render | Send | Report | Save | Bury | Settle


# ── How a turn ends ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing more is to be done."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """It stays first in its lines until `due`. known: None where the record is still to be read; held: how often in
    a row the endpoint, or what the mapping reads, was not there. goes_on: a request is done, the next one may follow.
    """

    due: float
    known: Known | None
    held: int = 0
    goes_on: bool = False


Ending = Settled | Waiting
Turn = Generator[Step, Any, Ending]
Clock = Callable[[], float]


_INTERRUPTED = DeadLetter(
    "uncertain", Problem("interrupted", "sent by a worker that ended before it knew the answer")
)


def take_turn(rules: Rules, known: Known | None, held: int, clock: Clock, jitter: float) -> Turn:
    """known: None where the record must be read first; clock: seconds since the epoch; jitter: from -1 to 1."""
    if known is None:
        known = yield ReadRecord()
    record = known.record
    if record.intent == "done":
        return (yield from settle())
    if record.intent == "started":
        return (yield from bury(_INTERRUPTED, known))
    if clock() >= rules.deadline:
        problem = Problem("expired", "not delivered within the route's deadline")
        return (yield from bury(DeadLetter("expired", problem), known))
    if record.due is not None and clock() < record.due:
        return Waiting(record.due, known, held)
    at = _At(rules, known, held, clock, jitter)
    rendered = yield Render()
    match rendered:
        case Rendered():
            return (yield from _request(at, rendered))
        case Done():
            return (yield from _done(rendered))
        case SkipIt():
            return (yield from settle())
        case Later():
            return (yield from _later(at, rendered))
        case _:
            return (yield from _problem(at, rendered))


def give_up(letter: DeadLetter, known: Known) -> Turn:
    """As `bury`, of what is not to be sent any more, whatever became of it before.

    What the ERP has is no dead letter; and a replay must not be advised of what it may have, and must not have twice.
    """
    if known.record.intent == "done":
        return settle()
    interrupted = known.record.intent == "started" and letter.reason != "crashed"  # that one says so itself
    return bury(_INTERRUPTED if interrupted else letter, known)


def bury(letter: DeadLetter, known: Known) -> Turn:
    """No further attempt: the dead letter first, then the end of the message.

    What is finished of it stays known: a replay does not send it again.
    """
    record = known.record
    kept = record.for_replay
    if kept is not None:
        yield WriteRecord(kept, known.revision, stays=True)
    yield Bury(letter, record)
    yield Settle(letter.reason, forgets=kept is None)
    return Settled()


def settle() -> Turn:
    yield Settle()
    return Settled()


def _done(done: Done) -> Turn:
    if done.saves:
        yield Save()
    return (yield from settle())


@dataclass(frozen=True, slots=True)
class _At:
    """Where a turn stands."""

    rules: Rules
    known: Known
    held: int
    clock: Clock
    jitter: float

    @property
    def number(self) -> int:
        """Of the attempt that is made."""
        return self.known.record.attempts + 1


def _report(at: _At, rendered: Rendered, sent: Sent, disposition: Disposition) -> Report:
    return Report(at.number, sent, disposition, rendered.step, rendered.lookup)


def _problem(at: _At, problem: Problem) -> Turn:
    # a `require` that does not hold is the mapping's own word, no mistake in it
    letter = DeadLetter("rejected" if problem.class_ == "rejected" else "mapping", problem)
    yield Report(at.number, None, letter)
    return (yield from bury(letter, Known(spent(at.known.record, at.clock(), None), at.known.revision)))


def _later(at: _At, later: Later) -> Turn:
    """Nothing was sent, so nothing is spent; the deadline ends it."""
    now, held = at.clock(), at.held + 1
    due = now + min(retry_delay(at.rules.policy, held, at.jitter, None), at.rules.hold_max_s)
    if due >= at.rules.deadline:
        letter = DeadLetter("expired", Problem(later.class_, later.why))
        yield Report(at.number, None, letter)
        return (yield from bury(letter, at.known))
    if held & (held - 1) == 0:  # the first, second, fourth, eighth… time: it may take days
        yield Report(at.number, None, Hold(due, later.why))
    return Waiting(due, at.known, held)


def _request(at: _At, rendered: Rendered) -> Turn:
    unsure = at.known.record.intent == "unsure" and at.known.record.step == rendered.step
    if unsure and not (rendered.lookup or rendered.safe):
        problem = Problem(
            "interrupted", "it may have been sent, and the mapping no longer says how to look it up"
        )
        return (yield from bury(DeadLetter("uncertain", problem), at.known))
    if not rendered.lookup and not unsure and (rendered.looked_up or not rendered.safe):
        record = started(at.known.record, rendered.step, looked_up=rendered.looked_up)
        revision = yield WriteRecord(record, at.known.revision)
        if revision is None:
            return (yield from take_turn(at.rules, None, at.held, at.clock, at.jitter))
        at = replace(at, known=Known(record, revision))
    sent: Sent = yield Send()
    disposition = _decided(at, rendered, sent)
    keeps = unsure or _may_have_arrived(sent.outcome, rendered)
    match disposition:
        case Ack():
            return (yield from _answered(at, rendered, sent))
        case DeadLetter():
            yield _report(at, rendered, sent, disposition)
            record = spent(at.known.record, sent.ended, None, keeps=keeps)
            return (yield from bury(disposition, Known(record, at.known.revision)))
        case RetryAt(due):
            yield _report(at, rendered, sent, disposition)
            record = spent(at.known.record, sent.ended, due, keeps=keeps)
            return Waiting(due, (yield from _remember(record, at.known.revision)))
        case Hold(due):
            yield _report(at, rendered, sent, disposition)
            known = at.known
            if known.record.intent is not None and not unsure:
                known = yield from _remember(unspent(known.record), known.revision)
            return Waiting(due, known, at.held + 1)


def _may_have_arrived(outcome: Outcome, rendered: Rendered) -> bool:
    """Whether to look it up before it is sent again: an ERP that failed over it may have got as far as booking it."""
    failed = isinstance(outcome, RetryLater) and outcome.answer is not None and outcome.answer.status >= 500
    return isinstance(outcome, Uncertain) or (failed and rendered.looked_up)


def _decided(at: _At, rendered: Rendered, sent: Sent) -> Ack | RetryAt | Hold | DeadLetter:
    situation = Situation(
        now=sent.ended,
        deadline=at.rules.deadline,
        attempts=at.number,
        held=at.held + 1,
        hold_max_s=at.rules.hold_max_s,
        safe=rendered.safe,
        policy=at.rules.policy,
        jitter=at.jitter,
        at_once=sent.reads_again,
    )
    disposition = decide(sent.outcome, situation)
    if rendered.lookup and isinstance(disposition, DeadLetter) and disposition.reason == "rejected":
        # what is looked up may have arrived, and the ERP does not say
        return replace(disposition, reason="uncertain")
    return disposition


def _answered(at: _At, rendered: Rendered, sent: Sent) -> Turn:
    """The ERP has it: the last one ends the delivery, another one is written down before the next is sent."""
    record = at.known.record
    if rendered.last:
        yield _report(at, rendered, sent, Ack())
        if record.intent is not None:
            done = msgspec.structs.replace(record, intent="done", answers={}, finds={})
            yield WriteRecord(done, at.known.revision)
        return (yield from settle())
    if not rendered.lookup and not rendered.reads and (rendered.step or record.intent is not None):
        known = yield from _remember(finished(record, rendered.step, sent.outcome.answer), at.known.revision)
        at = replace(at, known=known)
    following = yield Render(then=True)
    if rendered.lookup and isinstance(following, Rendered) and following.step != rendered.step:
        record = finished(record, rendered.step, sent.outcome.answer, found=True)
        at = replace(at, known=(yield from _remember(record, at.known.revision)))
    if isinstance(following, Problem) and not rendered.step and not rendered.lookup:
        following = Done()  # what is wrong with saving undoes nothing
    yield _report(at, rendered, sent, Ack() if isinstance(following, Done) else Next())
    match following:
        case Done():
            return (yield from _done(following))
        case Problem():
            return (yield from _problem(at, following))
        case _:
            return Waiting(at.clock(), at.known, 0, goes_on=True)


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
