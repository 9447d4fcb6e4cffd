"""What of DELIVERIES and EVENTS nobody needs any more (rules R12, T8). Pure: facts in, what may be deleted out.

The order in which the facts are read is part of the rule: the stream's last sequence first, then every consumer, and who
owns the lanes and what their states say both before and after. A lane's owner first writes that a route is in trouble and
from where on its own consumer begins, and only then lets the lane's floor pass that point; so a reader that saw the floor
beyond it finds the state changed, and does nothing this time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

PRESSURE = 0.7
"""Fuller than this a stream is given room, whatever it was to keep."""
RELIEVED = 0.5
TENANTS_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class ConsumerFloor:
    """What the server says of a consumer. floor: all its messages up to there are settled; open: not settled, delivered or not."""

    floor: int
    open: int

    def settled_up_to(self, last_seq: int) -> int:
        """last_seq: the stream's, read before this. An idle consumer's own floor stands still."""
        return last_seq if not self.open else min(self.floor, last_seq)


@dataclass(frozen=True, slots=True)
class Filling:
    """A stream's state, as it was before anything else was asked.

    first_seq: of its events or deliveries; max_bytes: 0 or less where it has no limit; urgency: of the room that is
    wanted so much more is made, for there may be gaps where most is gone already.
    """

    first_seq: int
    last_seq: int
    bytes: int
    max_bytes: int
    urgency: float = 1.0

    @property
    def full(self) -> float:
        """0.0 empty, 1.0 full."""
        return self.bytes / self.max_bytes if self.max_bytes > 0 else 0.0

    def spared_up_to(self, old: int) -> int:
        """Up to where nothing is to be kept any more: `old`, or as far as it takes to make room."""
        if self.full <= PRESSURE:
            return old
        share = min(1.0, self.urgency * (1 - RELIEVED / self.full))
        return max(old, self.first_seq - 1 + round((self.last_seq - self.first_seq + 1) * share))


@dataclass(frozen=True, slots=True)
class LaneFloor:
    """A lane: up to where its own consumer has settled all; and the same of each of its routes in trouble, by (tenant, route)."""

    lane: int
    settled: int
    detached: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def floor(self) -> int:
        """Nobody needs anything of the lane up to here."""
        return min((self.settled, *self.detached.values()))

    def floor_of(self, tenant: str) -> int:
        return min((self.settled, *(floor for (name, _), floor in self.detached.items() if name == tenant)))


@dataclass(frozen=True, slots=True)
class Detached:
    """A route in trouble as the lane's state has it. consumer: None where its consumer is not there yet."""

    route: tuple[str, str]
    start: int
    consumer: ConsumerFloor | None


def lane_floor(
    lane: int, last_seq: int, consumer: ConsumerFloor | None, detached: Iterable[Detached]
) -> LaneFloor:
    """consumer: None where the lane never had an owner: nobody has settled anything of it."""
    return LaneFloor(
        lane,
        consumer.settled_up_to(last_seq) if consumer else 0,
        {
            each.route: each.consumer.settled_up_to(last_seq) if each.consumer else each.start - 1
            for each in detached
        },
    )


@dataclass(frozen=True, slots=True)
class Purge:
    """Deletes the deliveries up to a sequence: all, those of a lane, or of a tenant in it."""

    upto: int
    lane: int | None = None
    tenant: str | None = None


def purge_deliveries(filling: Filling, spared: int, lanes: Sequence[LaneFloor]) -> list[Purge]:
    """spared: up to where it need not be kept: age, or the lack of room, and the router's position let it go."""
    floor = min((spared, *(lane.floor for lane in lanes)))
    plan = [Purge(floor)] if floor >= filling.first_seq else []
    if filling.full > PRESSURE and floor < spared:
        uptos = [(lane.lane, min(lane.floor, spared)) for lane in lanes]
        plan += [Purge(upto, lane) for lane, upto in uptos if upto > max(floor, filling.first_seq - 1)]
    return plan


def purge_tenants(spared: int, lane: LaneFloor, tenants: Iterable[str]) -> list[Purge]:
    """For a lane that its routes in trouble hold back, while the stream is nearly full. tenants: those with most first."""
    plan: list[Purge] = []
    for tenant in tenants:
        upto = min(lane.floor_of(tenant), spared)
        if upto > lane.floor and len(plan) < TENANTS_AT_ONCE:
            plan.append(Purge(upto, lane.lane, tenant))
    return plan


def events_kept_from(filling: Filling, old: int, needed: Iterable[int]) -> int:
    """The first sequence of EVENTS to keep.

    old: up to there it is older than what is kept; needed: for each reader the first sequence that it may still ask for.
    """
    return min((filling.spared_up_to(old) + 1, *needed))


def least(needed: Mapping[str, int]) -> str:
    """Who holds a stream back most; "": nobody."""
    return min(needed, key=lambda who: needed[who], default="")


def holding_back(lanes: Iterable[LaneFloor]) -> dict[str, int]:
    """Up to where lanes and routes in trouble are done, by their names."""
    found: dict[str, int] = {}
    for lane in lanes:
        found[f"lane {lane.lane}"] = lane.settled
        found |= {f"route {tenant}/{route}": floor for (tenant, route), floor in lane.detached.items()}
    return found


@dataclass(frozen=True, slots=True)
class Purged:
    """What came of it. held_by: who needs what follows; unsure: nothing was learned, for the facts changed meanwhile."""

    deleted: int = 0
    held_by: str = ""
    unsure: bool = False


UNSURE = Purged(unsure=True)


class Pace:
    """When a stream is purged again, in seconds, and how urgently (`Filling`)."""

    def __init__(self, look: float, purge: float) -> None:
        """look: the soonest; purge: the latest, and while there is room."""
        self.urgency = 1.0
        self._look = look
        self._purge = purge
        self._pause = look

    def after(self, done: Purged, *, pressed: bool) -> float:
        """How long to wait now. pressed: it is fuller than `PRESSURE`.

        What holds it back is asked less and less often: each time every consumer is.
        """
        if pressed and done.unsure:
            return self._look
        if done.deleted or not pressed:
            self._pause, self.urgency = self._look, 1.0
        else:
            self._pause, self.urgency = 2 * self._pause, 2 * self.urgency
        return min(self._pause, self._purge) if pressed else self._purge
