"""Who may act for a lane, and until when (rule R2). Pure: time is passed in, in seconds since this machine started.

The owner renews its lease every second. A renewal that is stored gives it four seconds, counted from the moment
before it was sent. Whoever saw the same lease unchanged for five seconds of its own clock knows that those are over,
whatever the clocks say; its compare-and-set then finds out whether a renewal came in between.
"""

from dataclasses import dataclass

import msgspec

RENEW_S = 1.0
VALID_S = 4.0
UNCHANGED_S = 5.0


class Lease(msgspec.Struct, frozen=True):
    """`lease.<n>`. owner: unlike any other, a new one for each acquisition; beat: the owner's clock, since the epoch."""

    owner: str
    beat: float
    released: bool = False


_decoder = msgspec.json.Decoder(Lease)


def read_lease(value: bytes | None) -> Lease | None:
    """None where there is none, or it cannot be read: then nobody can own the lane by it."""
    if value is None:
        return None
    try:
        return _decoder.decode(value)
    except (ValueError, msgspec.DecodeError):
        return None


@dataclass(slots=True)
class LeaseWatch:
    """Somebody who would like to have the lane, looking at its lease."""

    _revision: int | None = None
    _since: float = 0.0

    def may_claim(self, lease: Lease | None, revision: int, now: float) -> bool:
        """Whether the lease as just read is nobody's. `revision`: of its key, 0 where there never was one."""
        if lease is None or lease.released:
            return True
        if revision != self._revision:
            self._revision, self._since = revision, now
            return False
        return now - self._since >= UNCHANGED_S


@dataclass(slots=True)
class Tenure:
    """The owner's own view: valid until four seconds after its last successful renewal began."""

    valid_until: float

    def renewed(self, began: float) -> None:
        self.valid_until = max(self.valid_until, began + VALID_S)

    def holds(self, now: float) -> bool:
        return now < self.valid_until
