"""How a lane's new owner begins: state, sweep, dead letters (rules R3.3 to R3.7). Pure.

A generator yields what it wants done and is sent the answer, so that the same code runs against a server and in the
simulation. The lease is held before it starts; pulls begin after it ends, and the barrier that it returns tells when
all that the last owner left has come back.

Differs from R3 in the order: lease first, pin after. Only the lease's owner pulls, so the pin comes to it as soon as
the last owner's has timed out; nobody waits for a lease with a pin in hand that its owner needs. Should somebody else
be given messages after the sweep all the same, the gap in the consumer's own numbering shows it, and the takeover
begins again.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.lane_state import Barrier
from pipeline.lease import Lease
from pipeline.settled_memory import KEEP_S

CRASHES = 3
"""A delivery that was the suspect of so many crashes is a dead letter (rule R9)."""


class Suspect(msgspec.Struct, frozen=True):
    """The delivery that is being handled alone, and how many owners have begun to."""

    seq: int
    n: int


class State(msgspec.Struct, frozen=True):
    """`state.<n>`. epoch: one more with each takeover, so that every write of a predecessor fails."""

    epoch: int = 0
    suspect: Suspect | None = None


@dataclass(frozen=True, slots=True)
class ReadState:
    """Answer: (State, revision); (State(), 0) where there is none."""


@dataclass(frozen=True, slots=True)
class WriteState:
    """Answer: the new revision, or None: somebody else wrote."""

    state: State
    expected: int


@dataclass(frozen=True, slots=True)
class Inspect:
    """Ask the server about the consumer. Answer: ConsumerFacts."""


@dataclass(frozen=True, slots=True)
class ConsumerFacts:
    """floor, delivered: stream sequences; consumer_seq: of its last delivery; pending: delivered, not settled."""

    floor: int
    delivered: int
    consumer_seq: int
    pending: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """Nak what is pending from `first` to `last`, and wait until the server has it."""

    first: int
    last: int
    consumer_seq: int


@dataclass(frozen=True, slots=True)
class ReadDeadLetters:
    """Answer: the delivery sequences of this lane's dead letters written since (seconds since the epoch)."""

    since: float


Request = ReadState | WriteState | Inspect | Sweep | ReadDeadLetters


@dataclass(frozen=True, slots=True)
class TakenOver:
    """crashed: the last owner did not leave in order, and was not ourselves."""

    state: State
    revision: int
    barrier: Barrier
    consumer_seq: int
    dead: Sequence[int]
    crashed: bool


def take_over(before: Lease | None, me: str, now: float) -> Generator[Request, Any, TakenOver]:
    """before: the lease that was there; me: what our own owner names begin with, before a point; now: seconds since the epoch."""
    state, revision = State(), None
    while revision is None:
        held, at = yield ReadState()
        state = State(held.epoch + 1, held.suspect)
        revision = yield WriteState(state, at)
    facts: ConsumerFacts = yield Inspect()
    if facts.pending:
        yield Sweep(facts.floor + 1, facts.delivered, facts.consumer_seq)
    # a dead letter whose TERM is missing was written shortly before its owner's end, however long ago that was
    dead: Sequence[int] = yield ReadDeadLetters(min(now, before.beat if before else now) - KEEP_S)
    crashed = before is not None and not before.released and not before.owner.startswith(f"{me}.")
    barrier = Barrier(facts.delivered, facts.pending)
    return TakenOver(state, revision, barrier, facts.consumer_seq, dead, crashed)


def suspected(state: State, seq: int) -> State:
    """The state to write before `seq` is handled alone."""
    before = state.suspect
    n = before.n + 1 if before is not None and before.seq == seq else 1
    return State(state.epoch, Suspect(seq, n))


def is_poison(state: State) -> bool:
    """Whether the suspect just written has had its chances."""
    return state.suspect is not None and state.suspect.n >= CRASHES
