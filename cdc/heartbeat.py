"""A heartbeat that goes the whole way, from the server's WAL to our decoder: a connection may live while nothing moves.

Pure: times are passed in, in seconds, LSNs are numbers. One is under way at a time. It is late when it has not come for
`late_after` seconds in which nothing else came either, nor did we ourselves hold the stream.
"""

from dataclasses import dataclass

HEARTBEAT = "bridge.heartbeat"
"""The prefix of its messages in the WAL."""


@dataclass(frozen=True, slots=True)
class HeartbeatSettings:
    """In seconds. every: between two; late_after: then the stream is called stalled; lost_after: then it is given up."""

    every: float
    late_after: float
    lost_after: float

    @classmethod
    def of(cls, every: float) -> "HeartbeatSettings":
        late_after = max(60.0, 3 * every)
        return cls(every, late_after, late_after + 300.0)


@dataclass(slots=True)
class _Beat:
    content: bytes
    sent_at: float
    lsn: int | None = None


class Heartbeat:
    """The heartbeats of one tenure."""

    def __init__(self, settings: HeartbeatSettings, token: str, now: float) -> None:
        """token: unlike any other tenure's, on whatever slot of the database."""
        self._settings = settings
        self._token = token
        self._number = 0
        self._due_at = now
        self._under_way: _Beat | None = None
        self._reached = 0
        self._moved_at = now
        self.round_trip: float | None = None
        """Of the last one that came."""

    def due(self, now: float) -> bytes | None:
        """The content of a heartbeat to send now."""
        if self._under_way is not None or now < self._due_at:
            return None
        self._number += 1
        self._due_at = now + self._settings.every
        self._under_way = _Beat(f"{self._token}-{self._number}".encode(), now)
        return self._under_way.content

    def sent(self, lsn: int) -> None:
        """Where the one under way stands in the WAL; it may have come already."""
        if self._under_way is not None:
            self._under_way.lsn = lsn

    def refused(self) -> None:
        """The server did not take the one under way."""
        self._under_way = self.round_trip = None

    def came(self, content: bytes, now: float) -> bool:
        """A heartbeat came through the slot; whether it is the one under way: others are other captures'."""
        beat = self._under_way
        if beat is None or beat.content != content:
            return False
        self.round_trip, self._under_way = now - beat.sent_at, None
        self._moved_at = now
        return True

    def reached(self, lsn: int, now: float) -> None:
        """The stream is at `lsn`. What lies beyond the heartbeat has passed it over, and is no reason to wait on."""
        beat = self._under_way
        if lsn != self._reached and (beat is None or beat.lsn is None or lsn < beat.lsn):
            self._moved_at = now
        self._reached = lsn

    def held(self, now: float) -> None:
        """We ourselves read nothing at present."""
        self._moved_at = now

    def taken(self, now: float) -> float | None:
        """How long the last one took, or the one under way has taken, if that is longer; None: there is neither."""
        if self._under_way is None:
            return self.round_trip
        return max(self.round_trip or 0.0, now - self._under_way.sent_at)

    def waited(self, now: float) -> float:
        """Seconds in which the one under way should have come, and nothing did; 0.0: none is."""
        return now - max(self._under_way.sent_at, self._moved_at) if self._under_way else 0.0

    def late(self, now: float) -> bool:
        return self.waited(now) >= self._settings.late_after

    def lost(self, now: float) -> bool:
        """A fresh connection is worth more than waiting on."""
        return self.waited(now) >= self._settings.lost_after
