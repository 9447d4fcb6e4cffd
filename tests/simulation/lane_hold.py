"""Holding a lane in the simulation: the lease, what may be done under it, and what is remembered (rules R2, R5)."""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from pipeline.lanes.lease import Lease, Tenure
from pipeline.lanes.settled_memory import SettledMemory
from tests.simulation.lane_surroundings import Surroundings


class LaneLost(Exception):
    """The lane is no longer ours."""


class Owner(NamedTuple):
    """Whose ownership it is; the memory outlives it."""

    me: str
    memory: SettledMemory


class Claim(NamedTuple):
    """A lease that was taken. before: the last owner's."""

    lane: int
    before: Lease | None
    revision: int


class LaneHold:
    def __init__(self, world: Surroundings, owner: Owner, claim: Claim, tenure: Tenure) -> None:
        self.world = world
        self.owner = owner
        self.lane = claim.lane
        self.name = f"lane-{claim.lane}"
        self.tenure = tenure
        self.lease_revision = claim.revision
        self._again: list[tuple[str, int]] = []

    @property
    def lost(self) -> LaneLost:
        return LaneLost()

    def check(self) -> None:
        if self.world.rules.checks_lease and not self.tenure.holds(self.world.now):
            raise LaneLost

    def act(
        self, act: Callable[[], Any], longest: float = 7.0, often: float = 0.15
    ) -> Generator[None, None, Any]:
        """A request to the server, under the lease as it is now.

        longest: seconds that it may be on its way; often: the share of those that take any time.
        """
        self.check()
        return (yield from self.world.request(act, longest, often))

    def again(self, name: str, seq: int) -> None:
        """It is acknowledged in a moment, and nobody waits for that."""
        self._again.append((name, seq))

    def renew(self) -> None:
        world, key = self.world, f"lease.{self.lane}"
        self.check()
        if not world.chance(0.7):
            again, self._again = self._again, []
            for name, seq in again:
                world.ack(name, seq)
        _, lease = world.lanes.get(key)
        revision = world.lanes.update(key, Lease(lease.owner, world.now), self.lease_revision)
        if revision is None:
            if world.rules.checks_lease:
                raise LaneLost
            return
        self.lease_revision = revision
        self.tenure.renewed(world.now)

    def remember(self, seq: int) -> None:
        if self.world.rules.remembers:
            self.owner.memory.add(seq, self.world.now)

    def is_paused(self, seq: int) -> bool:
        pauses = self.world.pauses(self.world.fates[seq].name)
        return pauses.since is not None and self.world.rules.heeds_pauses
