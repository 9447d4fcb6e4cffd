"""Which routes leave their lane in the simulation, and of which it need not be remembered that they did (R6, R7, R13)."""

from typing import TYPE_CHECKING, Any

from pipeline.lanes.state import LaneState
from pipeline.routes.attach import FORGET_S, forgettable
from tests.simulation.route_apart import RouteApart

if TYPE_CHECKING:
    from tests.simulation.lane_ownership import Owned

ROUTE_HOLDS = 4
"""More takes a route out of its lane, here, where worlds are small."""


def look_at_routes(owned: "Owned", state: LaneState[Any]) -> None:
    world = owned.world
    for route in world.routes_of(owned.lane):
        if world.pauses(route).since is not None:
            owned.detach(route, "paused")
        elif (load := state.loads.get(route)) is not None and load.count > ROUTE_HOLDS:
            owned.detach(route, "backlog")
        elif world.chance(0.02):
            owned.detach(route, "breaker")
    floor = world.consumers[owned.name].facts()
    through = world.stream.last_seq if not floor.num_ack_pending + floor.num_pending else floor.floor
    for route in owned.troubles.off():
        trouble = owned.troubles[route]
        if trouble is None or route in owned.apart or not forgettable(trouble, through):
            owned.settled_since.pop(route, None)
        elif world.now - owned.settled_since.setdefault(route, world.now) > FORGET_S:
            del owned.settled_since[route]
            owned.apart[route] = RouteApart.forgetting(owned, state, route)
