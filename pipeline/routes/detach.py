"""How a route in trouble leaves its lane: sends end, the state says so, D is made, the lane lets go (rule R6). Pure.

A generator yields what it wants done and is sent the answer, as `pipeline.lanes.takeover`. It may be abandoned between any two
steps, when the lane is lost; the next owner's takeover then completes or undoes it by what the state says. It begins
only after the lane's barrier is passed (rule R4). Any number of routes may be leaving at once.

Whoever performs it:

- before it starts, no other detach or attach of the route is under way, and `RoutesInTrouble` says nothing or `off`;
- `Halt`: `LaneState.stop(route)`; once `LaneState.at_work(route)` is 0, in the same moment,
  `Standing(LaneState.of(route), LaneState.highest)`, when nothing is seen and not yet held. What the lane brings of the
  route until `LetGo` is held as ever;
- `Record`: the lane's state with `routes[route] = trouble`, by compare-and-set; the lane is lost where another epoch
  stands there. A write without an answer is read back;
- `LetGo`: `RoutesInTrouble.take(route, trouble)`, and acknowledge on the lane, unseen, all that `LaneState.of(route)` is
  now (`LaneState.let_go` each), again when nothing is seen and not yet held: it would stay in the lane, beside D's copy.
  These acks need no confirmation. The route stays stopped: `pipeline.routes.session` begins
  to pull D, and `LaneState.go` follows its barrier.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.lanes.takeover import CreateConsumer
from pipeline.routes.trouble import Trouble, Why


@dataclass(frozen=True, slots=True)
class Halt:
    """No new sends of the route. Answer: Standing, when what was under way has ended, confirmed."""

    route: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What is held of the route, in order, and the highest sequence that the lane has seen."""

    held: Sequence[int]
    upto: int


@dataclass(frozen=True, slots=True)
class Record:
    """Store what the lane's state says of the route; None: nothing."""

    route: str
    trouble: Trouble | None


@dataclass(frozen=True, slots=True)
class LetGo:
    """Only now: what the lane holds of the route, and all that it brings from now on, is acknowledged unseen."""

    route: str
    trouble: Trouble


Step = Halt | Record | CreateConsumer | LetGo


@dataclass(frozen=True, slots=True)
class Leaving:
    """Why it leaves, and as what: no other incarnation of the lane's has had this number.

    paused_since: seconds since the epoch, where it is paused.
    """

    why: Why
    incarnation: int
    paused_since: float | None = None


def detach(route: str, leaving: Leaving, before: Trouble | None) -> Generator[Step, Any, Trouble]:
    """before: what the state still says of the last time it was back. Returns what it says now."""
    standing: Standing = yield Halt(route)
    through = before.settled_through if before else 0
    todo = tuple(seq for seq in standing.held if seq > through)
    trouble = Trouble(
        "on",
        leaving.incarnation,
        start=todo[0] if todo else standing.upto + 1,
        upto=standing.upto,
        todo=todo,
        settled_through=through,
        why=leaving.why,
        paused_since=leaving.paused_since,
    )
    yield Record(route, trouble)
    yield CreateConsumer(route, trouble)
    yield LetGo(route, trouble)
    return trouble
