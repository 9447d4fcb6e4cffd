"""What nobody needs any more, decided without I/O (rules R12, T8, C9)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.keeping.orphans import CapturePosition, Listed, is_over, orphans
from pipeline.keeping.purge import (
    TENANTS_AT_ONCE,
    ConsumerFloor,
    Detached,
    Filling,
    LaneFloor,
    Purge,
    events_kept_from,
    holding_back,
    lane_floor,
    least,
    purge_deliveries,
    purge_tenants,
)

ROOMY, TIGHT = Filling(1, 100, 10, 100), Filling(1, 100, 90, 100)
T, U = ("acme", "orders"), ("globex", "orders")


def test_an_idle_consumer_has_settled_all_that_there_was_before_it_was_asked() -> None:
    assert ConsumerFloor(floor=7, open=0).settled_up_to(100) == 100
    assert ConsumerFloor(floor=7, open=1).settled_up_to(100) == 7
    assert ConsumerFloor(floor=120, open=3).settled_up_to(100) == 100


def test_a_lane_without_an_owner_yet_keeps_everything_and_a_route_in_trouble_keeps_its_own() -> None:
    idle = ConsumerFloor(90, 0)
    assert lane_floor(0, 100, None, []).floor == 0
    waiting, beginning = Detached(T, 40, ConsumerFloor(50, 9)), Detached(U, 31, None)
    found = lane_floor(0, 100, idle, [waiting, beginning])
    assert (found.settled, found.detached, found.floor) == (100, {T: 50, U: 30}, 30)
    assert (found.floor_of("acme"), found.floor_of("globex"), found.floor_of("other")) == (50, 30, 100)
    assert least(holding_back([found])) == "route globex/orders"


def test_the_least_floor_decides_and_age_bounds_it() -> None:
    lanes = [LaneFloor(0, 80), LaneFloor(1, 60, {T: 70})]
    assert purge_deliveries(ROOMY, 100, lanes) == [Purge(60)]
    assert purge_deliveries(ROOMY, 50, lanes) == [Purge(50)]
    assert purge_deliveries(Filling(61, 100, 10, 100), 100, lanes) == []


def test_without_room_lanes_without_trouble_go_first_and_then_tenants_one_by_one() -> None:
    lanes = [LaneFloor(0, 80), LaneFloor(1, 60, {T: 20}), LaneFloor(2, 20)]
    assert purge_deliveries(TIGHT, 90, lanes) == [Purge(20), Purge(80, 0)]
    assert purge_deliveries(ROOMY, 90, lanes) == [Purge(20)]
    many = [f"t{number}" for number in range(50)]
    found = purge_tenants(90, lanes[1], ["acme", *many])
    assert found == [Purge(60, 1, tenant) for tenant in many[:TENANTS_AT_ONCE]]
    assert purge_tenants(40, lanes[1], ["acme", "t"]) == [Purge(40, 1, "t")]


def test_what_is_kept_gives_way_to_what_needs_the_room() -> None:
    assert ROOMY.spared_up_to(0) == 0
    assert TIGHT.spared_up_to(0) == 44  # from 90 to 50 of 100
    assert TIGHT.spared_up_to(60) == 60
    assert Filling(1, 100, 10**9, -1).spared_up_to(0) == 0


@given(
    st.integers(0, 200), st.integers(0, 200), st.lists(st.integers(1, 200), min_size=1), st.integers(0, 150)
)
def test_no_event_goes_that_somebody_needs(first: int, old: int, needed: list[int], size: int) -> None:
    kept = events_kept_from(Filling(first, first + 100, size, 100), old, needed)
    assert kept <= min(needed)


@given(
    st.integers(0, 100),
    st.lists(
        st.tuples(st.integers(0, 100), st.dictionaries(st.sampled_from([T, U]), st.integers(0, 100))),
        min_size=1,
        max_size=4,
    ),
)
def test_no_delivery_goes_that_is_not_settled(
    spared: int, floors: list[tuple[int, dict[tuple[str, str], int]]]
) -> None:
    lanes = [LaneFloor(number, settled, routes) for number, (settled, routes) in enumerate(floors)]
    plan = purge_deliveries(TIGHT, spared, lanes)
    for lane in lanes:
        plan += purge_tenants(spared, lane, ["acme", "globex", "other"])
    for purge in plan:
        assert purge.upto <= spared
        for lane in lanes:
            if purge.lane in (None, lane.lane):
                assert purge.upto <= lane.settled
                assert all(
                    purge.upto <= floor
                    for (tenant, _), floor in lane.detached.items()
                    if purge.tenant in (None, tenant)
                )


POSITIONS = {"shop": CapturePosition("0/500", 3, epoch=2, backfills=())}


@pytest.mark.parametrize(
    ("name", "age", "over"),
    [
        ("shop@2:0/500:3", 0, True),
        ("shop@2:0/500:4", 10**6, False),
        ("shop@2:1/0:1", 10**6, False),
        ("shop:FF/0:1", 0, True),  # of an epoch that has ended
        ("shop@3:0/1:1", 10**6, False),
        ("other:0/1:1", 10**6, False),
        ("shop@2:bran:7", 0, True),
        ("partner:w42/abc", 3_600, False),
        ("partner:w42/abc", 86_400, True),
        ("somebody's own", 10**9, False),
    ],
)
def test_an_object_is_over_once_its_event_cannot_be_published_any_more(
    name: str,
    age: float,
    over: bool,  # noqa: FBT001 — a column of the table above
) -> None:
    assert is_over(Listed(name, age), POSITIONS) is over


def test_an_object_of_a_running_backfill_is_not_over_and_what_is_referred_to_is_no_orphan() -> None:
    payload = b'{"lsn": "0/500", "ordinal": 3, "flush": "0/500", "backfills": [{"run": "run", "table": "t"}]}'
    running = {"shop": msgspec.json.decode(payload, type=CapturePosition)}
    assert not is_over(Listed("shop:brun:7", 10**9), running)
    assert is_over(Listed("shop:brun2:7", 0), running)
    assert orphans([Listed("a", 0), Listed("b", 0)], ["b", "c"]) == ["a"]
