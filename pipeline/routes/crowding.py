"""Which routes must leave their lane, so that their neighbours go on (rule R6). Pure.

A lane holds what it may not send yet; the server gives it no more than 10,000 at once, and it takes no more than some
bytes. So a route that has to wait, or holds much, leaves. What it holds then comes back by a consumer of its own.
"""

from collections.abc import Callable, Iterator, Mapping

from pipeline.lanes.state import Load

WAIT_S = 10.0
"""A head that must wait longer takes its route out of the lane."""
ROUTE_HOLDS = 500
LANE_HOLDS = 7_000
LANE_BYTES = 24 * 2**20
"""Three quarters of what a lane takes in (`lanes/owner.MAX_BYTES`)."""


def must_wait_apart(due: float, now: float) -> bool:
    """Whether a delivery that is tried again at `due` takes its route out."""
    return due - now > WAIT_S


def crowds(load: Load | None) -> bool:
    """Whether the route holds too much, whatever the lane holds."""
    return load is not None and load.count > ROUTE_HOLDS


def is_crowded(held: int, size: int) -> bool:
    """Whether a lane that holds so many deliveries and bytes holds too much."""
    return held > LANE_HOLDS or size > LANE_BYTES


def the_largest(loads: Mapping[str, Load], leaves: Callable[[str], bool]) -> Iterator[str]:
    """Which routes leave a crowded lane: the largest first, until what stays is little enough.

    leaves: whether a route is leaving already, or is apart.
    """
    staying = {route: load for route, load in loads.items() if not leaves(route)}
    held = sum(load.count for load in staying.values())
    size = sum(load.bytes for load in staying.values())
    while is_crowded(held, size):
        by_count = held > LANE_HOLDS
        route = max(staying, key=lambda each: staying[each].count if by_count else staying[each].bytes)
        load = staying.pop(route)
        held, size = held - load.count, size - load.bytes
        yield route
