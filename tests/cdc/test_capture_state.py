"""What a capture says of itself to /readyz, in each of its states."""

from cdc.capture_state import CaptureState
from eventbus.condition import Matter, Role


def test_it_is_ready_once_it_owns_the_slot_or_stands_by() -> None:
    state = CaptureState()
    assert (state.condition().ready, state.condition().reasons[0].code) == (False, "starting")
    state.stands_by()
    assert (state.condition().role, state.condition().ready) == (Role.STANDBY, True)
    state.owns(lambda: None)
    assert (state.condition().role, state.condition().ready) == (Role.OWNER, True)


def test_what_it_waits_for_is_named_until_it_works_again() -> None:
    state = CaptureState()
    state.owns(lambda: None)
    state.stalled, state.findings["wal_limit"] = "nothing comes", "much"
    state.begins("lost the connection")
    found = state.condition()
    assert found.reasons == (Matter("starting", "lost the connection"),)
    assert found.findings == ()


def test_jetstreams_refusal_is_why_it_is_not_ready() -> None:
    state, code = CaptureState(), [10077]
    state.owns(lambda: code[0] if code else None)
    (reason,) = state.condition().reasons
    assert (reason.code, "the stream is full" in reason.message) == ("blocked", True)
    code.clear()
    assert state.condition().ready


def test_what_hinders_it_is_told_in_words() -> None:
    state = CaptureState()
    state.claims(lambda: None)
    assert (state.condition().reasons[0].code, state.hindrance()) == ("claiming", None)
    state.claims(lambda: 10077)
    assert "code 10077" in (state.hindrance() or "")
    state.begins("NATS is away")
    assert state.hindrance() == "NATS is away"


def test_a_finding_does_not_make_it_unready() -> None:
    state = CaptureState()
    state.owns(lambda: None)
    state.findings["wal_limit"] = "much"
    found = state.condition()
    assert (found.ready, found.findings) == (True, (Matter("wal_limit", "much"),))
