"""When a stream is stalled, and when it is only slow, busy or held by ourselves."""

import pytest

from cdc.heartbeat import Heartbeat, HeartbeatSettings

SETTINGS = HeartbeatSettings.of(10.0)


def under_way(lsn: int = 1_000) -> Heartbeat:
    """One that was sent at 0."""
    found = Heartbeat(SETTINGS, "me", 0.0)
    assert found.due(0.0) == b"me-1"
    found.sent(lsn)
    return found


@pytest.mark.parametrize(("every", "late_after"), [(1.0, 60.0), (10.0, 60.0), (60.0, 180.0)])
def test_late_is_three_of_them_and_a_minute_at_least(every: float, late_after: float) -> None:
    found = HeartbeatSettings.of(every)
    assert (found.late_after, found.lost_after) == (late_after, late_after + 300)


def test_one_is_sent_at_a_time_and_one_after_each_interval() -> None:
    found = under_way()
    assert found.due(10.0) is None  # the first is still under way
    assert found.came(b"me-1", 10.5)
    assert found.due(10.5) == b"me-2"
    assert found.came(b"me-2", 10.6)
    assert found.due(20.4) is None
    assert found.due(20.5) == b"me-3"


def test_its_round_trip_is_measured_and_while_it_lasts_it_counts() -> None:
    found = under_way()
    assert (found.round_trip, found.taken(4.0)) == (None, 4.0)
    assert found.came(b"me-1", 4.0)
    assert (found.round_trip, found.taken(9.0)) == (4.0, 4.0)


@pytest.mark.parametrize("content", [b"other-1", b"me-0", b""])
def test_heartbeats_of_others_and_of_before_are_not_ours(content: bytes) -> None:
    found = under_way()
    assert not found.came(content, 1.0)
    assert found.late(60.0)


def test_none_that_comes_for_long_is_a_stall_and_then_the_end() -> None:
    found = under_way()
    assert [found.late(now) for now in (59.9, 60.0)] == [False, True]
    assert [found.lost(now) for now in (359.9, 360.0)] == [False, True]
    assert found.came(b"me-1", 361.0)
    assert not found.late(1_000.0)


def test_a_stream_that_moves_below_it_is_busy_and_not_stalled() -> None:
    found = under_way(1_000)
    for now, lsn in (
        (30.0, 400),
        (80.0, 350),
        (130.0, 999),
    ):  # a transaction's changes may lie before another's
        found.reached(lsn, now)
    assert not found.late(189.9)
    found.reached(999, 150.0)  # the same again: a keepalive
    assert found.late(190.0)


def test_a_stream_that_passed_it_over_is_stalled_however_it_moves() -> None:
    found = under_way(1_000)
    for now in range(1, 60):
        found.reached(1_000 + now, float(now))
    assert found.late(60.0)


def test_while_we_read_nothing_ourselves_it_is_not_late() -> None:
    found = under_way()
    found.held(500.0)
    assert [found.late(now) for now in (559.9, 560.0)] == [False, True]
    assert found.taken(560.0) == 560.0  # so far behind we are all the same


def test_one_that_the_server_refuses_is_not_waited_for() -> None:
    found = under_way()
    found.refused()
    assert found.taken(0.0) is None
    assert not found.late(1_000.0)
    assert found.due(10.0) == b"me-2"
