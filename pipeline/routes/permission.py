"""Whether a route that is apart may send, and what those of a lane share: pauses, breakers, places to drain (R8, R13)."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.delivery.breaker import BreakerState
from pipeline.delivery.dispatch import GateKey
from pipeline.lanes.work import LaneWork
from pipeline.routes.crowding import must_wait_apart
from pipeline.tenants.pauses import Pause

DRAINING = 64
"""So many routes of a lane are pulled together: they share what the server caches."""
LOOK_S = 1.0
FOREVER = float("inf")


@dataclass(slots=True)
class Together:
    """What the routes of a lane that are apart share. probing: which of them finds out whether a connection is back.

    careful: those of which a delivery may have ended the last owners, until their first session has begun (rule R9).
    """

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DRAINING))
    probing: dict[GateKey, str] = field(default_factory=dict)
    careful: set[str] = field(default_factory=set)


class RoutePermission:
    """That of one route (`tenant/route`)."""

    def __init__(self, work: LaneWork, route: str, together: Together) -> None:
        self._work = work
        self._route = route
        self._together = together

    def pause(self) -> Pause | None:
        tenant, _, name = self._route.partition("/")
        tenants = self._work.services.tenants
        found = tenants.find(tenant, name)
        return tenants.pause_of(found) if found else None

    def rests_until(self, now: float) -> float | None:
        """None: it may send; else until when it may not, as far as is known. On the loop's clock."""
        if self.pause() is not None:
            return FOREVER
        turns, gate = self._work.turns, self._work.turns.gate(self._route)
        breaker, opens_at = turns.breaker(gate), turns.opens_at(gate, now)
        if opens_at > now and (breaker is BreakerState.OPEN or must_wait_apart(opens_at, now)):
            return opens_at
        if (
            breaker is not BreakerState.CLOSED
            and self._together.probing.get(gate, self._route) != self._route
        ):
            return now + LOOK_S
        return None

    def is_probe(self) -> bool:
        """Whether nothing shows yet that its connection is back: one delivery at a time is enough."""
        return self._work.turns.breaker(self._work.turns.gate(self._route)) is not BreakerState.CLOSED

    @contextmanager
    def probing(self) -> Iterator[None]:
        """While it finds out, others of its connection wait."""
        gate, probing = self._work.turns.gate(self._route), self._together.probing
        if self.is_probe():
            probing[gate] = self._route
        try:
            yield
        finally:
            if probing.get(gate) == self._route:
                del probing[gate]
