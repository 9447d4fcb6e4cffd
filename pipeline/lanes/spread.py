"""Which worker should try to own which lane. Pure.

Every worker computes the same from the same workers, with nobody to ask: rendezvous hashing, and no worker has more than
one lane more than another. When one comes or goes, few lanes move that need not.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import blake2b

from pipeline.lanes.membership import Membership

SETTLE_S = 1.0
"""A lane is given up only when the workers have been the same for so long."""
NOBODY_S = 5.0
"""A lane that nobody has owned for so long is anybody's."""
KEEP_S = 30.0
"""So long it is kept then: whoever should have had it did not come for it."""


def spread(lanes: int, workers: Collection[str]) -> tuple[str, ...]:
    """Of each lane the worker that should own it; there is at least one worker."""
    fewest, more = divmod(lanes, len(workers))
    wishes = sorted((_wish(worker, lane), worker, lane) for worker in workers for lane in range(lanes))
    owners: dict[int, str] = {}
    load = dict.fromkeys(workers, 0)
    for _, worker, lane in wishes:
        if lane in owners or load[worker] > fewest or (load[worker] == fewest and not more):
            continue
        more -= load[worker] == fewest
        load[worker] += 1
        owners[lane] = worker
    return tuple(owners[lane] for lane in range(lanes))


def _wish(worker: str, lane: int) -> bytes:
    return blake2b(f"{worker}/{lane}".encode(), digest_size=8).digest()


@dataclass(slots=True)
class LaneSpread:
    """What one worker makes of it: which lanes it tries, and which it leaves to others."""

    lanes: int
    membership: Membership
    _workers: frozenset[str] = frozenset()
    _owners: tuple[str, ...] = ()
    _kept_until: dict[int, float] = field(default_factory=dict)

    def is_ours(self, lane: int) -> bool:
        """Whether we are the one that should own it."""
        return self.owner(lane) == self.membership.me

    def may_try(self, lane: int, free_since: float, now: float) -> bool:
        """Whether to take a lane that has been nobody's since."""
        if self.membership.stopping:
            return False
        return self.is_ours(lane) or now - free_since >= NOBODY_S

    def taken(self, lane: int, now: float) -> None:
        """It is ours now, whoever should have it."""
        if not self.is_ours(lane):
            self._kept_until[lane] = now + KEEP_S

    def should_leave(self, lane: int, now: float) -> bool:
        """Whether a lane of ours should go to another worker, one that is there and ready."""
        if self.is_ours(lane):
            self._kept_until.pop(lane, None)
            return False
        settled = now - self.membership.changed_at >= SETTLE_S
        return settled and now >= self._kept_until.get(lane, now)

    def owner(self, lane: int) -> str:
        """Who should own it."""
        workers = self.membership.workers | {self.membership.me}
        if self.membership.stopping and len(workers) > 1:
            workers -= {self.membership.me}
        if workers != self._workers:
            self._workers, self._owners = workers, spread(self.lanes, workers)
        return self._owners[lane]
