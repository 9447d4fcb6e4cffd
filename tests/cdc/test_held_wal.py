"""wal_limit: when it is passed, how often that is told, and where to look."""

from cdc.held_wal import HeldWal, why_held
from cdc.source_facts import SlotState

MB = 2**20


def slot(held: int, unconfirmed: int) -> SlotState:
    end = 1_000 * MB
    return SlotState(
        exists=True,
        plugin="pgoutput",
        database="d",
        two_phase=False,
        active_pid=1,
        confirmed_flush=end - unconfirmed,
        wal_status="reserved",
        invalidation=None,
        publication_oid=1,
        recorded={},
        wal_end=end,
        connected_to="d",
        restart=end - held,
    )


def test_it_is_told_when_it_is_passed_and_each_minute_that_lasts() -> None:
    found = HeldWal(10 * MB)
    found.seen(slot(10 * MB, 0))
    assert (found.passed, found.tell(0.0)) == (False, False)
    found.seen(slot(11 * MB, 0))
    assert [found.tell(now) for now in (1.0, 60.9, 61.0)] == [True, False, True]
    found.seen(slot(9 * MB, 0))
    assert found.tell(62.0) is False
    found.seen(slot(11 * MB, 0))
    assert found.tell(63.0) is True  # passed anew


def test_without_a_limit_nothing_is_passed() -> None:
    found = HeldWal(None)
    found.seen(slot(900 * MB, 0))
    assert not found.passed


def test_what_holds_it_is_named() -> None:
    assert why_held(slot(100, 100), "JetStream is away") == "JetStream is away"
    assert "xact_start" in why_held(slot(100 * MB, 1 * MB), None)
    assert "lag_bytes" in why_held(slot(100 * MB, 90 * MB), None)
