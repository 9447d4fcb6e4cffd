"""Which transactions a chunk's rows hold: told by the snapshot they were read in, never by the order of WAL records.

On the primary a commit record stands in the WAL, and its events may have been published, a while before the
transaction counts as ended: as long as a synchronous standby takes, for instance. So only its xid tells. A standby
ends a transaction when it replays the commit record; there the LSN tells. Pure.
"""

from typing import NamedTuple, Protocol

_WRAP = 2**32


class Visibility(Protocol):
    """What was visible to a query."""

    def sees(self, xid: int | None, lsn: int) -> bool:
        """Whether the transaction of this xid (32 bits; None: not told), its commit record at `lsn`, is in it."""


class Snapshot(NamedTuple):
    """pg_current_snapshot() of the primary: xids of 64 bits; running: those below xmax that had not ended."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """From `10:20:10,14,15`."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())

    def sees(self, xid: int | None, _lsn: int) -> bool:
        if xid is None:
            return False
        full = self._full(xid)
        return full < self.xmax and full not in self.running

    def _full(self, xid: int) -> int:
        """The xid of 64 bits that is nearest to the snapshot: PostgreSQL allows no two 2^31 apart."""
        ahead = (xid - self.xmax) % _WRAP
        return self.xmax + (ahead if ahead < _WRAP // 2 else ahead - _WRAP)

    def ended(self, running: frozenset[int]) -> bool:
        """Whether all of those that once were running are seen."""
        return not any(xid >= self.xmax or xid in self.running for xid in running)


class Replayed(NamedTuple):
    """A standby had replayed everything before `lsn` when the query began, and perhaps more."""

    lsn: int

    def sees(self, _xid: int | None, lsn: int) -> bool:
        return lsn < self.lsn
