"""A worker in the simulation: wants the lanes, has them, loses them, dies and begins again."""

import math
from dataclasses import dataclass, field

from pipeline.lanes.lease import Lease, LeaseWatch, Tenure
from pipeline.lanes.settled_memory import SettledMemory
from tests.simulation.lane_hold import Claim, LaneLost, Owner
from tests.simulation.lane_ownership import Owned
from tests.simulation.lane_surroundings import Surroundings


@dataclass
class WorkersLane:
    """One lane, as one worker has it or would like to. The memory outlives the ownership."""

    number: int
    memory: SettledMemory = field(default_factory=SettledMemory)
    owned: Owned | None = None
    watch: LeaseWatch = field(default_factory=LeaseWatch)


class SimulatedWorker:
    def __init__(self, world: Surroundings, name: str) -> None:
        self.world = world
        self.name = name
        self.stopped_until = 0.0
        self.lives = 0
        self.lanes = [WorkersLane(number) for number in range(world.lane_count)]

    @property
    def me(self) -> str:
        return f"{self.name}{self.lives}"

    def step(self) -> None:
        world = self.world
        if world.now < self.stopped_until and world.chaos:
            return
        lane = world.random.choice(self.lanes)
        if lane.owned is None:
            self._try(lane)
            return
        try:
            lane.owned.step()
        except LaneLost:
            self._lose(lane)
            return
        if lane.owned.released:
            lane.owned, lane.watch = None, LeaseWatch()

    def _try(self, lane: WorkersLane) -> None:
        world, key = self.world, f"lease.{lane.number}"
        revision, lease = world.lanes.get(key)
        mine = lease is not None and lease.owner.startswith(f"{self.me}.")
        if not mine and not lane.watch.may_claim(lease, revision, world.now):
            return
        claimed = world.lanes.update(key, Lease(f"{self.me}.{world.random.random()}", world.now), revision)
        if claimed is not None:
            world.note(("lane", lane.number, "is", self.me))
            owner, claim = Owner(self.me, lane.memory), Claim(lane.number, lease, claimed)
            lane.owned = Owned(world, owner, claim, Tenure(world.now + 4.0))

    def crash(self) -> None:
        """SIGKILL: memory and all."""
        self.world.note(("killed", self.me))
        for lane in self.lanes:
            if lane.owned is not None:
                lane.owned.end()
        self.lanes = [WorkersLane(number) for number in range(self.world.lane_count)]
        self.lives += 1

    def leave(self) -> None:
        """One of its lanes goes to somebody else."""
        owned = self.world.random.choice(self.lanes).owned
        if owned is not None:
            owned.leave()

    def lose_the_connection(self) -> None:
        for lane in self.lanes:
            self._lose(lane)

    def _lose(self, lane: WorkersLane) -> None:
        """What is held is forgotten; what was settled is not. A request under way may still be answered."""
        if lane.owned is not None:
            self.world.note(("lane", lane.number, "is lost by", self.me))
            lane.owned.end_answered()
            # what this worker sends afterwards goes the same way, behind it
            self.world.wait_for_the_prompt(math.inf)
        lane.owned, lane.watch = None, LeaseWatch()
