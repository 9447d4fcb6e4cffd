"""A lane's worker in the simulation: wants the lane, has it, loses it, dies and begins again."""

from dataclasses import dataclass, field

from pipeline.lease import Lease, LeaseWatch, Tenure
from pipeline.settled_memory import SettledMemory
from tests.simulation.lane_ownership import LaneLost, Owned, Owner
from tests.simulation.lane_surroundings import Surroundings


@dataclass
class SimulatedWorker:
    world: Surroundings
    name: str
    stopped_until: float = 0.0
    memory: SettledMemory = field(default_factory=SettledMemory)
    owned: Owned | None = None
    watch: LeaseWatch = field(default_factory=LeaseWatch)
    lives: int = 0

    @property
    def me(self) -> str:
        return f"{self.name}{self.lives}"

    def step(self) -> None:
        world = self.world
        if world.now < self.stopped_until and world.chaos:
            return
        if self.owned is None:
            self._try()
            return
        try:
            self.owned.step()
        except LaneLost:
            self.lose("the lease")

    def _try(self) -> None:
        world = self.world
        revision, lease = world.lanes.get("lease")
        mine = lease is not None and lease.owner.startswith(f"{self.me}.")
        if not mine and not self.watch.may_claim(lease, revision, world.now):
            return
        claimed = world.lanes.update(
            "lease", Lease(f"{self.me}.{world.random.random()}", world.now), revision
        )
        if claimed is not None:
            self.owned = Owned(world, Owner(self.me, self.memory), lease, claimed, Tenure(world.now + 4.0))

    def crash(self) -> None:
        """SIGKILL: memory and all."""
        if self.owned is not None:
            self.owned.end()
        self.owned, self.memory, self.watch = None, SettledMemory(), LeaseWatch()
        self.lives += 1

    def lose(self, _what: str) -> None:
        """What is held is forgotten; what was settled is not. A request under way may still be answered."""
        if self.owned is not None:
            self.owned.end_answered()
        self.owned, self.watch = None, LeaseWatch()
