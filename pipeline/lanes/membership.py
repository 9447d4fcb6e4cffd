"""Which workers are there, as one of them sees it. Pure: time is passed in, in seconds since this machine started.

Each worker writes its key into the bucket MEMBERS every second, from when it can take lanes until it stops. Who is not
heard of for as long as a lease takes to run out is gone. This says only who should *try* to own a lane; who may is the
lease's and the pin's matter (rules R2, R3), so that two workers that see it differently for a moment do no harm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

BEAT_S = 1.0
GONE_S = 5.0


class Member(msgspec.Struct, frozen=True):
    """`worker.<id>`. started: seconds since the epoch; lanes: what it owns; stopping: it gives them up."""

    worker: str
    host: str
    started: float
    lanes: tuple[int, ...] = ()
    stopping: bool = False


@dataclass(slots=True)
class Membership:
    """me: our own worker, which is there as long as it does not say otherwise."""

    me: str
    stopping: bool = False
    changed_at: float = float("-inf")
    """When the workers that may own lanes were last others than before."""
    _heard: dict[str, float] = field(default_factory=dict)
    _members: dict[str, Member] = field(default_factory=dict)

    @property
    def members(self) -> Mapping[str, Member]:
        """What each of the others last said, by worker."""
        return self._members

    @property
    def workers(self) -> frozenset[str]:
        """Those that may own lanes."""
        mine = () if self.stopping else (self.me,)
        return frozenset((*mine, *(name for name, member in self._members.items() if not member.stopping)))

    def saw(self, member: Member, now: float) -> bool:
        """Somebody said that it is there; whether other workers than before may own lanes."""
        if member.worker == self.me:
            return False
        before = self.workers
        self._heard[member.worker] = now
        self._members[member.worker] = member
        return self._noted(before, now)

    def left(self, worker: str, now: float) -> bool:
        """It took its key away, in good order. Answers as `saw`."""
        before = self.workers
        self._forget(worker)
        return self._noted(before, now)

    def look(self, now: float) -> bool:
        """Forgets who has gone silent. Answers as `saw`."""
        before = self.workers
        for worker in [worker for worker, heard in self._heard.items() if now - heard > GONE_S]:
            self._forget(worker)
        return self._noted(before, now)

    def _forget(self, worker: str) -> None:
        self._heard.pop(worker, None)
        self._members.pop(worker, None)

    def _noted(self, before: frozenset[str], now: float) -> bool:
        if self.workers == before:
            return False
        self.changed_at = now
        return True
