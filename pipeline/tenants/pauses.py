"""What somebody has paused of a tenant: all of it, a route, or what goes through a connection. Pure.

The bucket `PAUSES` holds one record a tenant, `{tenant: {since, by, why} | null, routes: {name: …}, connections: {name: …}}`.
A pause knows nothing of versions: it outlives a route's or connection's change, and ends where somebody ends it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is sent. since: seconds since the epoch; by: who asked for it; why: in that person's words, or empty."""

    since: float
    by: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Paused:
    """What one pause is for: the whole tenant where it names neither a route nor a connection."""

    route: str | None = None
    connection: str | None = None

    def __str__(self) -> str:
        if self.route is not None:
            return f"route {self.route}"
        return "the tenant" if self.connection is None else f"connection {self.connection}"


@dataclass(frozen=True, slots=True)
class TenantPauses:
    """A tenant's record: its own pause, those of its routes and those of its connections, by name."""

    tenant: Pause | None = None
    routes: Mapping[str, Pause] = field(default_factory=dict)
    connections: Mapping[str, Pause] = field(default_factory=dict)

    def get(self, what: Paused) -> Pause | None:
        """The pause of exactly this."""
        if what.route is not None:
            return self.routes.get(what.route)
        return self.tenant if what.connection is None else self.connections.get(what.connection)

    def holding(self, route: str, connection: str) -> Pause | None:
        """The one that keeps the route from sending; of several the oldest."""
        found = (self.tenant, self.routes.get(route), self.connections.get(connection))
        return min((pause for pause in found if pause is not None), key=lambda one: one.since, default=None)

    def all(self) -> list[tuple[Paused, Pause]]:
        """Every pause, the tenant's own first."""
        own = [] if self.tenant is None else [(Paused(), self.tenant)]
        routes = [(Paused(route=name), pause) for name, pause in sorted(self.routes.items())]
        return (
            own + routes + [(Paused(connection=name), one) for name, one in sorted(self.connections.items())]
        )

    def changed(self, what: Paused, pause: Pause | None) -> "TenantPauses":
        """With that pause; None: without one."""
        if what.route is not None:
            return replace(self, routes=_changed(self.routes, what.route, pause))
        if what.connection is not None:
            return replace(self, connections=_changed(self.connections, what.connection, pause))
        return replace(self, tenant=pause)


NOT_PAUSED = TenantPauses()
_decoder = msgspec.json.Decoder(TenantPauses)


def encode_pauses(pauses: TenantPauses) -> bytes:
    """The record as JSON."""
    return msgspec.json.encode(pauses)


def decode_pauses(payload: bytes) -> TenantPauses:
    """A record of the bucket. Raises msgspec.DecodeError where it is none."""
    return _decoder.decode(payload)


def _changed(pauses: Mapping[str, Pause], name: str, pause: Pause | None) -> dict[str, Pause]:
    others = {other: held for other, held in pauses.items() if other != name}
    return others if pause is None else others | {name: pause}
