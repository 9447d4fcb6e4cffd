"""A route in trouble: what the lane's state says of it, and what its messages are meanwhile (rules R1, R6, R7). Pure.

A route that cannot deliver leaves its lane, so that its neighbours go on: it gets a consumer of its own, below "D",
named by an incarnation that never comes again. While it is `on`, D has its deliveries and the lane's copies of them are
acknowledged unseen. `off` it is back, and what the lane may still bring of it up to `settled_through` was settled on D.
Routes are named `tenant/route`.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Literal

import msgspec

Why = Literal["retry", "breaker", "paused", "block", "backlog"]


class Trouble(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `state.<n>` says of a route.

    start: where D begins; upto: the highest sequence the lane had seen; todo: what up to there is not settled, in order.
    paused_since: seconds since the epoch, while it is paused; paused_total: seconds it was paused before, by which
    its deadlines are later.
    """

    phase: Literal["on", "off"]
    incarnation: int
    start: int = 0
    upto: int = 0
    todo: tuple[int, ...] = ()
    settled_through: int = 0
    why: Why | None = None
    paused_since: float | None = None
    paused_total: float = 0.0

    def paused_s(self, now: float) -> float:
        """How long it was paused, all in all."""
        return self.paused_total + (0.0 if self.paused_since is None else max(0.0, now - self.paused_since))

    def paused(self, since: float | None, now: float) -> "Trouble":
        """Paused since then (None: not, or no longer)."""
        if since is not None and self.paused_since is not None:
            return self
        ended = since is None and self.paused_since is not None
        why = "paused" if since is not None else "backlog" if ended else self.why
        return msgspec.structs.replace(self, why=why, paused_since=since, paused_total=self.paused_s(now))


class Word(Enum):
    """What is done with a message of a route."""

    TAKE = auto()  # as any other
    UNSEEN = auto()  # acknowledge it, whatever is in it: it is settled, or D has it
    PARK = auto()  # keep it beside, unacknowledged: how far D is will tell


class RoutesInTrouble:
    """What a lane's owner knows of them; begins with what the state says after a takeover, when all Ds are there."""

    def __init__(self, stored: Mapping[str, Trouble]) -> None:
        self._stored = dict(stored)
        self._todo: dict[str, frozenset[int]] = {}
        self._parking: dict[str, int] = {}
        self._first_new: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._stored)

    def __getitem__(self, route: str) -> Trouble | None:
        return self._stored.get(route)

    def on(self) -> list[str]:
        return [route for route, trouble in self._stored.items() if trouble.phase == "on"]

    def off(self) -> list[str]:
        return [route for route, trouble in self._stored.items() if trouble.phase == "off"]

    def take(self, route: str, trouble: Trouble | None) -> None:
        """From now on this holds: as stored, and where it is `on` its D exists. None: nothing is remembered of it."""
        for known in (self._todo, self._parking, self._first_new):
            known.pop(route, None)
        if trouble is None:
            self._stored.pop(route, None)
        else:
            self._stored[route] = trouble

    def park(self, route: str, highest: int) -> None:
        """The lane's messages of the route are held from now on (R7.1); highest: the lane has seen so far."""
        self._parking[route] = highest

    def unpark(self, route: str) -> None:
        """It stays on its own after all: they are acknowledged unseen again."""
        self._parking.pop(route, None)
        self._first_new.pop(route, None)

    def first_new(self, route: str) -> int | None:
        """The first new message of the lane that was parked."""
        return self._first_new.get(route)

    def on_lane(self, route: str, seq: int) -> Word:
        """What becomes of a message that the lane brings."""
        trouble = self._stored.get(route)
        if trouble is None:
            return Word.TAKE
        if trouble.phase == "off":
            return Word.UNSEEN if seq <= trouble.settled_through else Word.TAKE
        if (highest := self._parking.get(route)) is None:
            return Word.UNSEEN
        if seq > highest:
            self._first_new.setdefault(route, seq)
        return Word.PARK

    def on_its_own(self, route: str, seq: int) -> Word:
        """What becomes of a message that D brings (R6.4)."""
        trouble = self._stored[route]
        if seq > trouble.upto:
            return Word.TAKE
        todo = self._todo.get(route)
        if todo is None:
            todo = self._todo[route] = frozenset(trouble.todo)
        return Word.TAKE if seq in todo else Word.UNSEEN
