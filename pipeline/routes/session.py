"""How pulls on a route's own consumer begin: what is pending there comes back first, in order (rule R3.5 for a D). Pure.

A D is not pulled all the time: not while it is paused or its breaker is open, and no more than some at once. Each
session begins as a takeover of a lane does, so that nobody need know how the last one ended.

Whoever performs it, after the lane's barrier and with the route stopped (`LaneState.stop`):

- pull; for each message `RoutesInTrouble.on_its_own` (UNSEEN: acknowledge it), then `LaneState.known` (SETTLED:
  acknowledge it again; HELD: `LaneState.hold(…, apart=True)`); the consumer's own numbering goes on from `consumer_seq`,
  a gap ends the session;
- `Barrier.saw` each sequence; once it is passed, `LaneState.go`; where it is `missed`, the session ends;
- a session ends so: stop the route, pull no more, wait until nothing of it is at work, give the rest back (naks in
  order) and `let_go` of it. Where nothing was lost meanwhile, what is pending on D is exactly that, and the next one
  need not sweep: a sweep takes as long as D's pending messages lie apart in the stream.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.lanes.state import Barrier
from pipeline.lanes.takeover import ConsumerFacts, CreateConsumer
from pipeline.routes.trouble import Trouble


@dataclass(frozen=True, slots=True)
class InspectOwn:
    """Ask the server about the route's own consumer. Answer: ConsumerFacts, or None: it is not there."""

    route: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class SweepOwn:
    """As `takeover.Sweep`, on the route's own consumer."""

    route: str
    incarnation: int
    first: int
    last: int
    consumer_seq: int


@dataclass(frozen=True, slots=True)
class ReadOwnDeadLetters:
    """Answer: the sequences of all dead letters that there are of the route, tombstones included."""

    route: str


@dataclass(frozen=True, slots=True)
class Session:
    """dead: to be held for settled (rule R3.7): a crash may have come between a dead letter and the end of its message.

    left: what D has not settled, delivered or not.
    """

    barrier: Barrier
    consumer_seq: int
    dead: Sequence[int]
    left: int


Step = InspectOwn | CreateConsumer | SweepOwn | ReadOwnDeadLetters


def begin_session(
    route: str, trouble: Trouble, given_back: int | None = None
) -> Generator[Step, Any, Session]:
    """given_back: how many deliveries our last session gave back, where it lost none of them; None: it is the first."""
    facts: ConsumerFacts | None = yield InspectOwn(route, trouble.incarnation)
    while facts is None:  # somebody deleted it
        yield CreateConsumer(route, trouble)
        facts = yield InspectOwn(route, trouble.incarnation)
    dead: list[int] = []
    if given_back is None or facts.pending != given_back:
        if facts.pending:
            first = facts.floor + 1
            yield SweepOwn(route, trouble.incarnation, first, facts.delivered, facts.consumer_seq)
        letters: Sequence[int] = yield ReadOwnDeadLetters(route)
        dead = [seq for seq in letters if seq > facts.floor]
    barrier = Barrier(facts.delivered, facts.pending)
    return Session(barrier, facts.consumer_seq, dead, facts.pending + facts.waiting)
