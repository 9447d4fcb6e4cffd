"""Rules C3, C4, C6 and C11: may capture go on from what is stored?"""

from functools import partial
from typing import Any

import msgspec
import pytest

from cdc.position import FINISHED, Identity, Mark, Position
from cdc.start_decision import Begin, Consent, Resume, SlotFacts, Stop, decide_gap, decide_start

IDENTITY = Identity("7001", 1, "shop", 16400, "bridge")
HELD = Position.at(Mark(500, FINISHED, 520), IDENTITY, "aaaa", epoch=1)


def slot(**changes: Any) -> SlotFacts:
    facts: dict[str, Any] = {
        "identity": IDENTITY,
        "confirmed_flush": 510,
        "created_at": 100,
        "wal_end": 9_000,
        "switches": {},
    }
    return SlotFacts(**{**facts, **changes})


def other(**changes: Any) -> SlotFacts:
    return slot(identity=msgspec.structs.replace(IDENTITY, **changes))


def decide(held: Position | None, facts: SlotFacts, last: str | None = None, **consent: bool) -> Any:
    return decide_start(held, last, facts, "aaaa", Consent(**consent))


def code(decision: object) -> str:
    assert isinstance(decision, Stop)
    assert decision.message
    assert decision.ways
    return decision.code


def test_a_fresh_slot_and_an_empty_stream_begin_the_first_epoch() -> None:
    decision = decide(None, slot(confirmed_flush=100))
    assert isinstance(decision, Begin)
    # ordinal 0: a commit record that begins at the slot's first LSN is still to come
    assert decision.position.mark == Mark(100, 0, 100)
    assert decision.position.epoch == 1


@pytest.mark.parametrize(
    ("facts", "last"),
    [
        (slot(), None),  # the slot has moved
        (slot(confirmed_flush=100), "shop:0/64:1"),  # there are events
        (slot(confirmed_flush=100, created_at=None), None),  # nobody knows where it began
    ],
)
def test_a_missing_position_stops(facts: SlotFacts, last: str | None) -> None:
    assert code(decide(None, facts, last)) == "position_missing"


def test_a_missing_position_goes_on_behind_the_last_event_where_a_gap_is_accepted() -> None:
    decision = decide(None, slot(), "shop@2:0/300:7", accept_gap=True)
    assert isinstance(decision, Begin)
    assert decision.position.mark == Mark(0x300, 7, 510)
    assert decision.position.epoch == 2


def test_a_missing_position_behind_events_of_others_needs_a_new_epoch() -> None:
    assert code(decide(None, slot(), "shop@2:b9:1", accept_gap=True)) == "position_missing"
    decision = decide(None, slot(), "shop@2:b9:1", new_epoch=True)
    assert decision.position.epoch == 3


def test_a_position_resumes() -> None:
    assert decide(HELD, slot()) == Resume(HELD)


def test_a_dropped_slot_begins_the_next_epoch_once_it_is_made_anew() -> None:
    dropped = msgspec.structs.replace(HELD, dropped=True, epoch=4)
    anew = slot(
        identity=msgspec.structs.replace(IDENTITY, publication_oid=2), confirmed_flush=800, created_at=800
    )
    decision = decide(dropped, anew)
    assert isinstance(decision, Begin)
    assert (decision.position.epoch, decision.position.dropped) == (5, False)
    assert code(decide(dropped, slot())) == "slot_reused"
    assert isinstance(decide(dropped, slot(), new_epoch=True), Begin)


@pytest.mark.parametrize(
    "changes", [{"system_id": "7002"}, {"database": "other"}, {"publication_oid": 2}, {"slot": "other"}]
)
def test_another_database_stops(changes: dict[str, Any]) -> None:
    assert code(decide(HELD, other(**changes))) == "other_database"
    assert code(decide(HELD, other(**changes), accept_gap=True)) == "other_database"
    decision = decide(HELD, other(**changes), new_epoch=True)
    assert (decision.position.epoch, decision.position.mark) == (2, Mark(510, 0, 510))


@pytest.mark.parametrize(
    ("switches", "outcome"),
    [({1: 520}, "resumes"), ({1: 600}, "resumes"), ({1: 519}, "stops"), ({}, "stops")],
)
def test_a_timeline_is_adopted_where_it_left_behind_what_was_published(
    switches: dict[int, int], outcome: str
) -> None:
    facts = slot(identity=msgspec.structs.replace(IDENTITY, timeline=3), switches=switches)
    decision = decide(HELD, facts)
    if outcome == "resumes":
        assert decision == Resume(HELD)
    else:
        assert code(decision) == "other_timeline"
        assert isinstance(decide(HELD, facts, new_epoch=True), Begin)


def test_a_transaction_published_in_part_counts_up_to_its_commit_record() -> None:
    half = msgspec.structs.replace(HELD, lsn="0/258", ordinal=7)  # 600, while flush stays at 520
    promoted = msgspec.structs.replace(IDENTITY, timeline=2)
    decide_there = partial(decide_start, half, None, tables_hash="aaaa", consent=Consent())
    assert code(decide_there(slot=slot(identity=promoted, switches={1: 600}))) == "other_timeline"
    assert isinstance(decide_there(slot=slot(identity=promoted, switches={1: 601})), Resume)
    assert code(decide_there(slot=slot(wal_end=600))) == "wal_lost"


def test_a_torn_batch_of_what_the_new_primary_never_had_stops() -> None:
    promoted = slot(identity=msgspec.structs.replace(IDENTITY, timeline=2), switches={1: 520})
    assert decide_gap(HELD.mark, HELD, promoted, Consent()) == HELD.mark
    torn = Mark(600, 3, 520)
    assert code(decide_gap(torn, HELD, promoted, Consent(accept_gap=True))) == "other_timeline"
    anew = decide_gap(torn, HELD, promoted, Consent(new_epoch=True))
    assert isinstance(anew, Begin)
    assert (anew.position.epoch, anew.position.timeline) == (2, 2)


def test_a_server_with_less_wal_than_was_published_stops() -> None:
    assert code(decide(HELD, slot(wal_end=519))) == "wal_lost"
    assert isinstance(decide(HELD, slot(wal_end=520)), Resume)


def test_a_slot_moved_by_others_is_a_gap() -> None:
    moved = slot(confirmed_flush=521)
    assert code(decide_gap(HELD.mark, HELD, moved, Consent())) == "gap"
    assert code(decide_gap(HELD.mark, HELD, moved, Consent(new_epoch=True))) == "gap"
    assert decide_gap(HELD.mark, HELD, moved, Consent(accept_gap=True)) == Mark(521, 0, 521)
    assert decide_gap(HELD.mark, HELD, slot(confirmed_flush=520), Consent()) == HELD.mark


def test_an_accepted_gap_skips_nothing_that_a_torn_batch_stored() -> None:
    torn = Mark(600, 3, 520)
    assert decide_gap(torn, HELD, slot(confirmed_flush=530), Consent(accept_gap=True)) == Mark(600, 3, 530)


def test_other_tables_are_refused_only_within_a_transaction() -> None:
    half = msgspec.structs.replace(HELD, ordinal=7)
    assert code(decide_start(half, None, slot(), "bbbb", Consent())) == "tables_changed"
    assert isinstance(decide_start(HELD, None, slot(), "bbbb", Consent()), Resume)
    assert isinstance(decide_start(half, None, slot(), "aaaa", Consent()), Resume)
