"""Who decides what becomes of a delivery after an attempt: this one function. Pure.

Only what may pass later spends attempts. An endpoint that is down, or takes no more for now, is not a bad event: it
holds its route and spends none. Sent without an answer is an outcome of its own, repeated only where the mapping says how that is safe.
"""

from dataclasses import dataclass
from typing import Literal, assert_never, get_args

from connectors.protocol import (
    Answer,
    Delivered,
    Outcome,
    Rejected,
    RetryLater,
    Throttled,
    Unavailable,
    Uncertain,
)
from pipeline.delivery.retry_schedule import retry_delay
from pipeline.tenants.model import RetryPolicy

Reason = Literal["rejected", "exhausted", "mapping", "uncertain", "crashed", "expired", "removed"]
"""Why a delivery became a dead letter, as the payload of `DLQ` says it."""
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, for people: `class_` is stable and short, the answer is the ERP's, where there is one."""

    class_: str
    message: str
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """The ERP has it."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at `due` (seconds since the epoch); the attempt is spent."""

    due: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing was processed, nothing is spent: again at `due` at the earliest, when the breaker lets it.

    why: where nothing was sent, since what the mapping reads is not there.
    """

    due: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Next:
    """The ERP has this one of several requests: the next one follows."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """No further attempt."""

    reason: Reason
    problem: Problem


Disposition = Ack | Next | RetryAt | Hold | DeadLetter


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision depends on besides the outcome. Times in seconds since the epoch.

    attempts: with the one just made; held: how often in a row the endpoint was not there for this delivery, with
    this one, and hold_max_s: how long such a wait may be at most; safe: a repeat does no harm (`repeat` of the
    mapping); jitter: chance, from -1 to 1; at_once: an attempt that is made again need not wait.
    """

    now: float
    deadline: float
    attempts: int
    held: int
    hold_max_s: float
    safe: bool
    policy: RetryPolicy
    jitter: float
    at_once: bool = False


def decide(outcome: Outcome, at: Situation) -> Ack | RetryAt | Hold | DeadLetter:
    match outcome:
        case Delivered():
            return Ack()
        case Rejected(message=message, answer=answer, code=code):
            return DeadLetter("rejected", Problem(code or "rejected", message, answer))
        case RetryLater(message=message, answer=answer, after=after, code=code):
            return _later(Problem(code or "retry_later", message, answer), at, after)
        case Throttled(after=after) if after is not None:
            return Hold(at.now + retry_delay(at.policy, at.held, at.jitter, after))
        case Unavailable(after=after) | Throttled(after=after):
            wait = retry_delay(at.policy, at.held, at.jitter, after)
            return Hold(at.now + min(wait, at.hold_max_s))
        case Uncertain(message=message, answer=answer, code=code):
            problem = Problem(code, message, answer)
            return _later(problem, at, None) if at.safe else DeadLetter("uncertain", problem)
        case _:
            assert_never(outcome)


def _later(problem: Problem, at: Situation, asked: float | None) -> RetryAt | DeadLetter:
    if at.attempts >= at.policy.max_attempts:
        return DeadLetter("exhausted", problem)
    due = at.now + (0.0 if at.at_once else retry_delay(at.policy, at.attempts, at.jitter, asked))
    return DeadLetter("expired", problem) if due >= at.deadline else RetryAt(due)
