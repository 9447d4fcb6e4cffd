"""How a route comes back to its lane when its trouble is over: D ends where the lane goes on (rule R7). Pure.

A generator as `pipeline.routes.detach`. The order of its steps is the rule: a new event acknowledged unseen on the lane
while D is being deleted would be lost.

Whoever performs it, while a session (`pipeline.routes.session`) pulls D and its barrier is passed:

- `Park`: `RoutesInTrouble.park(route, LaneState.highest)`; what it then calls PARK is kept beside, unacknowledged (and
  kept alive), not held in `LaneState`: D may bring the same sequence;
- `Drain`: go on pulling until D has brought what `RoutesInTrouble.first_new` is, or a message behind which nothing is
  left; then pull no more, wait until open pulls have expired and what they brought is taken, and until `LaneState.of` is
  empty: all is settled, confirmed. Answer: Drained with `first_new` as it is now; or None: it is in trouble again, or too
  much is parked;
- `StayApart`: `RoutesInTrouble.unpark`, acknowledge unseen what was parked; the session goes on;
- `TakeBack`: `RoutesInTrouble.take(route, trouble)`; what was parked is acknowledged unseen or held, as `on_lane` says
  now, in order; `LaneState.go`.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from pipeline.lanes.takeover import ConsumerFacts, DeleteConsumer
from pipeline.routes.detach import Record
from pipeline.routes.session import InspectOwn
from pipeline.routes.trouble import Trouble

FORGET_S = 60.0
"""So long after the lane's ack floor has passed `settled_through` it is remembered still."""


@dataclass(frozen=True, slots=True)
class Park:
    """The lane's messages of the route are no longer acknowledged unseen, but kept."""

    route: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Settle all that D has brought. Answer: Drained, or None: give up."""

    route: str


@dataclass(frozen=True, slots=True)
class Drained:
    """first_new: the lane's first new message that was parked; None: none was yet."""

    first_new: int | None


@dataclass(frozen=True, slots=True)
class StayApart:
    """As before `Park`."""

    route: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    """What was parked is the lane's again, except what D has settled."""

    route: str
    trouble: Trouble


Step = Park | Drain | StayApart | InspectOwn | Record | DeleteConsumer | TakeBack


def attach(route: str, trouble: Trouble) -> Generator[Step, Any, Trouble | None]:
    """Returns what the state says now; None: it stays apart."""
    yield Park(route)
    while True:
        drained: Drained | None = yield Drain(route)
        # None of the second: somebody deleted it, and the next session makes it anew
        facts: ConsumerFacts | None = (yield InspectOwn(route, trouble.incarnation)) if drained else None
        if drained is None or facts is None:
            yield StayApart(route)
            return None
        if is_at_its_end(facts, drained.first_new):
            break
    # where nothing was to be done, D may stand before what the lane had seen
    through = max(facts.delivered, trouble.upto, trouble.settled_through)
    back = Trouble("off", trouble.incarnation, settled_through=through)
    yield Record(route, back)
    yield DeleteConsumer(route, trouble.incarnation)
    yield TakeBack(route, back)
    return back


def is_at_its_end(facts: ConsumerFacts, first_new: int | None) -> bool:
    """Whether all that the lane acknowledged unseen is settled here, up to where it keeps what is new."""
    if facts.pending:
        return False
    return not facts.waiting or (first_new is not None and facts.delivered >= first_new)


def forgettable(trouble: Trouble, floor: int) -> bool:
    """Whether the lane has nothing left that was settled apart: `FORGET_S` later the state need not say so.

    floor: up to there the lane has settled everything.
    """
    return trouble.phase == "off" and floor >= trouble.settled_through
