"""How a lane's new owner begins: state, sweep, dead letters (rules R3.3 to R3.7). Pure.

A generator yields what it wants done and is sent the answer, so that the same code runs against a server and in the
simulation. The lease is held before it starts; pulls begin after it ends, and the barrier that it returns tells when
all that the last owner left has come back.

Differs from R3 in the order: lease first, pin after. Only the lease's owner pulls, so the pin comes to it as soon as
the last owner's has timed out; nobody waits for a lease with a pin in hand that its owner needs. Should somebody else
be given messages after the sweep all the same, the gap in the consumer's own numbering shows it, and the takeover
begins again.

Routes in trouble have consumers of their own ("D", `pipeline.routes.trouble`). Here those that should be there are made and
those that should not are deleted; each is swept when it is first pulled (`pipeline.routes.session`), however much later.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.lanes.lease import Lease
from pipeline.lanes.settled_memory import KEEP_S
from pipeline.lanes.state import Barrier
from pipeline.routes.trouble import Trouble

CAREFUL = 2
"""After so many crashes in a row the routes that are apart are looked at, too: their messages come again anyway."""
CRASHES = 3
"""A delivery that was the suspect of so many crashes is a dead letter (rule R9)."""


class Suspect(msgspec.Struct, frozen=True):
    """The delivery that is being handled alone, and how many owners have begun to."""

    seq: int
    n: int


class State(msgspec.Struct, frozen=True):
    """`state.<n>`. epoch: one more with each takeover, so that every write of a predecessor fails.

    routes: those in trouble, and those that were lately, by `tenant/route`; crashes: how many owners in a row did not
    leave in order.
    """

    epoch: int = 0
    suspect: Suspect | None = None
    routes: dict[str, Trouble] = {}
    crashes: int = 0


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
    """floor, delivered: stream sequences; consumer_seq: of its last delivery; pending: delivered, not settled;
    waiting: not delivered yet.
    """

    floor: int
    delivered: int
    consumer_seq: int
    pending: int
    waiting: int = 0


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


@dataclass(frozen=True, slots=True)
class CreateConsumer:
    """The route's own consumer, named by its incarnation, from `trouble.start` on; nothing happens where it is there."""

    route: str
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class ListConsumers:
    """Answer: (route, incarnation) of each consumer of a route of this lane's, whoever made it."""


@dataclass(frozen=True, slots=True)
class DeleteConsumer:
    """Nothing happens where it is not there."""

    route: str
    incarnation: int


Request = (
    ReadState
    | WriteState
    | Inspect
    | Sweep
    | ReadDeadLetters
    | CreateConsumer
    | ListConsumers
    | DeleteConsumer
)


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
    crashed = before is not None and not before.released and not before.owner.startswith(f"{me}.")
    state, revision = State(), None
    while revision is None:
        held, at = yield ReadState()
        crashes = held.crashes + 1 if crashed else 0
        state = msgspec.structs.replace(held, epoch=held.epoch + 1, crashes=crashes)
        revision = yield WriteState(state, at)
    yield from _right_consumers(state)
    facts: ConsumerFacts = yield Inspect()
    if facts.pending:
        yield Sweep(facts.floor + 1, facts.delivered, facts.consumer_seq)
    # a dead letter whose TERM is missing was written shortly before its owner's end, however long ago that was
    dead: Sequence[int] = yield ReadDeadLetters(min(now, before.beat if before else now) - KEEP_S)
    barrier = Barrier(facts.delivered, facts.pending)
    return TakenOver(state, revision, barrier, facts.consumer_seq, dead, crashed)


def _right_consumers(state: State) -> Generator[Request, Any, None]:
    """A crash may have come before one was made, or deleted (rule R3.4)."""
    wanted = {(route, it.incarnation): it for route, it in state.routes.items() if it.phase == "on"}
    there: Sequence[tuple[str, int]] = yield ListConsumers()
    for route, incarnation in sorted(set(there) - set(wanted)):
        yield DeleteConsumer(route, incarnation)
    for (route, incarnation), trouble in wanted.items():
        if (route, incarnation) not in there:
            yield CreateConsumer(route, trouble)


def suspected(before: Suspect | None, seq: int) -> Suspect:
    """What to write before `seq` is handled alone."""
    n = before.n + 1 if before is not None and before.seq == seq else 1
    return Suspect(seq, n)


def is_poison(suspect: Suspect) -> bool:
    """Whether the suspect just written has had its chances."""
    return suspect.n >= CRASHES
