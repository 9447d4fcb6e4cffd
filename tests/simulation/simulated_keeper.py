"""The keeper in the simulation: purges what is settled, from facts that it reads one after another (rule R12)."""

from collections.abc import Generator
from functools import partial
from typing import Any

from pipeline.keeping.purge import (
    PRESSURE,
    ConsumerFloor,
    Detached,
    Filling,
    LaneFloor,
    lane_floor,
    purge_deliveries,
    purge_tenants,
)
from tests.simulation.lane_surroundings import Surroundings
from tests.simulation.simulated_operators import SimulatedOperators


class SimulatedKeeper:
    """steps: one purge after another; any number of keepers may act."""

    def __init__(self, world: Surroundings, replays: SimulatedOperators) -> None:
        self._world = world
        self._replays = replays
        self.steps = self._life()

    def _life(self) -> Generator[None]:
        while True:
            yield
            yield from self._once()

    def _once(self) -> Generator[None]:
        world, rules = self._world, self._world.rules
        filling = self._filling()
        needed = (yield from self._replays.finish()) if rules.finishes_replays else 2**62
        yield
        before = self._records()
        floors: list[LaneFloor] = []
        for lane in range(world.lane_count):
            yield
            floors.append((yield from self._floor(lane, filling, before[lane][1])))
        if not rules.reads_last_first:
            filling = self._filling()
        yield
        if rules.reads_state_twice and before != self._records():
            return
        spared = min(filling.last_seq, needed - 1)
        for purge in purge_deliveries(filling, spared, floors):
            subject = "deliveries.>" if purge.lane is None else f"deliveries.{purge.lane}.>"
            yield from world.request(partial(world.purge, subject, purge.upto + 1))
        for floor in floors:
            if filling.full > PRESSURE and floor.detached and floor.floor < min(floor.settled, spared):
                for purge in purge_tenants(spared, floor, ("acme", "beta", "gamma")):
                    subject = f"deliveries.{purge.lane}.{purge.tenant}.*"
                    yield from world.request(partial(world.purge, subject, purge.upto + 1))

    def _filling(self) -> Filling:
        stream = self._world.stream
        full = 90 if self._world.random.random() < 0.5 else 10
        return Filling(stream.first_seq, stream.last_seq, full, 100)

    def _records(self) -> list[tuple[Any, Any]]:
        found = []
        for lane in range(self._world.lane_count):
            _, lease = self._world.lanes.get(f"lease.{lane}")
            owner = (lease.owner, lease.released) if lease else None
            found.append((owner, self._world.lanes.get(f"state.{lane}")))
        return found

    def _floor(self, lane: int, filling: Filling, stored: Any) -> Generator[None, None, LaneFloor]:
        _, state = stored
        consumer = self._consumer(f"lane-{lane}")
        detached = []
        for name, trouble in (
            state.routes.items() if state and self._world.rules.purges_by_own_consumers else ()
        ):
            if trouble.phase == "on":
                yield
                tenant, _, route = name.partition("/")
                own = f"route--{tenant}--{route}--{trouble.incarnation}"
                detached.append(Detached((tenant, route), trouble.start, self._consumer(own)))
        return lane_floor(
            lane, filling.last_seq if self._world.rules.reads_last_first else 2**62, consumer, detached
        )

    def _consumer(self, name: str) -> ConsumerFloor | None:
        if name not in self._world.consumers:
            return None
        facts = self._world.consumers[name].facts()
        return ConsumerFloor(facts.floor, facts.num_ack_pending + facts.num_pending)
