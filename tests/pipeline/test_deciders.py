"""What is decided without I/O: outcomes, retries, breakers, order, leases, what is remembered."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.protocol import (
    Answer,
    Delivered,
    Outcome,
    Rejected,
    RetryLater,
    Throttled,
    Unavailable,
    Uncertain,
)
from eventbus.big_events import MARGIN
from eventbus.event import encode_json
from eventbus.wire import header_lines
from pipeline.delivery.attempt import Attempt, DeliveryId, attempt_record
from pipeline.delivery.breaker import Breaker
from pipeline.delivery.dispatch import Dispatch, GateSettings
from pipeline.delivery.disposition import (
    Ack,
    DeadLetter,
    Disposition,
    Hold,
    Problem,
    Reason,
    RetryAt,
    Situation,
    decide,
)
from pipeline.delivery.retry_record import Intent, Known, RetryRecord
from pipeline.delivery.retry_schedule import retry_delay
from pipeline.delivery.turn import (
    Bury,
    ReadRecord,
    Render,
    Rendered,
    Report,
    Rules,
    Send,
    Sent,
    Settle,
    Waiting,
    WriteRecord,
    give_up,
    take_turn,
)
from pipeline.dlq.dead_letter import dead_letter, letter_headers
from pipeline.lanes.lease import Lease, LeaseWatch, Tenure
from pipeline.lanes.ordering import lines_of
from pipeline.lanes.settled_memory import SettledMemory
from pipeline.tenants.model import BreakerPolicy, RetryPolicy

POLICY = RetryPolicy(max_attempts=3, initial_s=2, factor=3, max_s=60, jitter=0.2)
ANSWER = Answer(409, {}, {"error": "locked"})
BREAKER = BreakerPolicy(failures=3, window_s=60, open_s=30)


def situation(attempts: int = 1, *, safe: bool = True, deadline: float = 10_000, held: int = 1) -> Situation:
    return Situation(1_000, deadline, attempts, held, 30.0, safe, POLICY, 0.0)


@pytest.mark.parametrize(
    ("outcome", "at", "expected"),
    [
        (Delivered(ANSWER), situation(), Ack()),
        (Rejected("no", ANSWER, "X1"), situation(), DeadLetter("rejected", Problem("X1", "no", ANSWER))),
        (RetryLater("busy"), situation(1), RetryAt(1_002)),
        (RetryLater("busy"), situation(2), RetryAt(1_006)),
        (RetryLater("busy", after=40), situation(1), RetryAt(1_040)),
        (RetryLater("busy"), situation(3), DeadLetter("exhausted", Problem("retry_later", "busy"))),
        (
            RetryLater("busy"),
            situation(1, deadline=1_001),
            DeadLetter("expired", Problem("retry_later", "busy")),
        ),
        (RetryLater("busy"), situation(1, safe=False), RetryAt(1_002)),
        (Unavailable("down"), situation(99, safe=False), Hold(1_002)),
        (Unavailable("down"), situation(1, held=9), Hold(1_030)),
        (Throttled("busy"), situation(99, held=9), Hold(1_030)),
        (Throttled("busy", after=50), situation(99), Hold(1_050)),
        (Throttled("busy", after=86_400), situation(99), Hold(1_060)),
        (Uncertain("cut"), situation(1), RetryAt(1_002)),
        (
            Uncertain("cut"),
            situation(1, safe=False),
            DeadLetter("uncertain", Problem("uncertain", "cut")),
        ),
    ],
)
def test_disposition(outcome: Outcome, at: Situation, expected: Disposition) -> None:
    assert decide(outcome, at) == expected


@given(st.integers(1, 10_000), st.floats(-1, 1), st.none() | st.floats(0, 1e12))
def test_a_delay_stays_within_the_policy(attempt: int, jitter: float, asked: float | None) -> None:
    wait = retry_delay(POLICY, attempt, jitter, asked)
    assert POLICY.initial_s * 0.8 <= wait <= POLICY.max_s * 1.2


def test_a_breaker_begins_with_a_probe_opens_and_probes_again() -> None:
    breaker = Breaker(BREAKER)
    assert breaker.admits(0)
    breaker.started()
    assert not breaker.admits(0)
    breaker.answered(0)
    for now in (1.0, 2.0, 3.0):
        assert breaker.admits(now)
        breaker.started()
        breaker.failed(now)
    assert not breaker.admits(32.9)
    assert breaker.next_probe == 33.0
    assert breaker.admits(33.0)
    breaker.started()
    assert not breaker.admits(33.0)
    breaker.abandoned()
    assert breaker.admits(33.0)
    breaker.started()
    breaker.failed(34.0, after=100)
    assert breaker.next_probe == 134.0


def test_a_breaker_counts_failures_in_a_row_within_its_window() -> None:
    breaker = Breaker(BREAKER)
    for now in (0.0, 1.0, 100.0, 101.0):
        breaker.answered(now) if now == 0.0 else breaker.failed(now)
    assert breaker.admits(101.0)
    breaker.answered(101.5)
    breaker.failed(102.0)
    breaker.failed(103.0)
    assert breaker.admits(103.0)


@pytest.mark.parametrize(("failures", "more"), [(5, 2), (2, 1)])
def test_a_breaker_follows_its_policy_when_that_changes(failures: int, more: int) -> None:
    breaker = Breaker(BREAKER)
    breaker.answered(0.0)
    breaker.failed(1.0)
    breaker.failed(2.0)
    breaker.policy = BreakerPolicy(failures=failures, window_s=60, open_s=30)
    for _ in range(more):
        breaker.failed(3.0)
    assert (breaker.next_probe is None) == (failures == 5)
    breaker.failed(4.0)
    assert breaker.next_probe is not None


def flapping(breaker: Breaker, requests: int, every: float) -> bool:
    """Whether it has opened after so many requests, of which each second one fails."""
    breaker.answered(0.0)
    for number in range(1, requests):
        now = number * every
        breaker.failed(now) if number % 2 else breaker.answered(now)
    return breaker.next_probe is not None


def test_an_endpoint_that_fails_every_other_time_opens_the_breaker() -> None:
    policy = BreakerPolicy(failures=3, window_s=60, open_s=30, ratio=0.5, requests=10)
    assert not flapping(Breaker(policy), 9, 1.0)
    assert flapping(Breaker(policy), 10, 1.0)
    assert not flapping(Breaker(policy), 99, 10.0)  # never ten of them within the window
    assert not flapping(Breaker(replace(policy, ratio=0.6)), 99, 1.0)


def test_a_breaker_that_closes_again_forgets_what_was_before() -> None:
    breaker = Breaker(BreakerPolicy(failures=3, window_s=60, open_s=30, ratio=0.5, requests=4))
    assert flapping(breaker, 4, 1.0)
    assert breaker.admits(40.0)
    breaker.started()
    breaker.answered(40.0)
    breaker.failed(41.0)
    assert breaker.admits(41.0)


def drain(dispatch: Dispatch, now: float) -> list[int]:
    return list(dispatch.admitted(now))


def opened(settings: GateSettings, seqs: range) -> Dispatch:
    """A connection that has answered its first request, number 0."""
    dispatch = Dispatch()
    dispatch.offer(0, ("acme", "erp"), settings)
    assert drain(dispatch, 0.0) == [0]
    breaker = dispatch.breaker_of(0)
    assert breaker is not None
    breaker.answered(0.0)
    dispatch.sent(0)
    for seq in reversed(seqs):
        dispatch.offer(seq, ("acme", "erp"), settings)
    return dispatch


def test_a_connection_takes_the_least_first_and_no_more_than_it_may_at_once() -> None:
    dispatch = opened(GateSettings(2, BREAKER), range(1, 6))
    assert drain(dispatch, 0.0) == [1, 2]
    dispatch.sent(1)
    assert drain(dispatch, 0.0) == [3]
    assert dispatch.wake is None


def test_a_rate_spreads_requests_evenly() -> None:
    dispatch = opened(GateSettings(9, BREAKER, rate=4.0), range(1, 9))
    assert drain(dispatch, 0.0) == []
    assert dispatch.wake == 0.25
    assert [drain(dispatch, now / 8) for now in range(2, 7)] == [[1], [], [2], [], [3]]


def test_a_throttled_connection_rests_as_long_as_it_is_asked_to() -> None:
    dispatch = opened(GateSettings(2, BREAKER), range(1, 9))
    assert drain(dispatch, 0.0) == [1, 2]
    for seq, after in ((1, 30.0), (2, 20.0)):
        dispatch.throttled(seq, 1.0, after, 3600.0)
        dispatch.sent(seq)
    assert drain(dispatch, 30.9) == []
    assert dispatch.wake == 31.0
    assert drain(dispatch, 31.0) == [3, 4]


def test_a_throttled_connection_that_is_not_told_rests_longer_and_longer() -> None:
    dispatch, now, rests = opened(GateSettings(2, BREAKER), range(1, 40)), 0.0, []
    for _ in range(8):
        seqs = drain(dispatch, now)
        for seq in seqs:
            dispatch.throttled(seq, now, None, 3600.0)
            dispatch.sent(seq)
        assert dispatch.wake is not None
        rests.append(dispatch.wake - now)
        now = dispatch.wake
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60]
    now += 61.0
    for seq in drain(dispatch, now):
        dispatch.throttled(seq, now, None, 3600.0)
        dispatch.sent(seq)
    assert dispatch.wake == now + 1


def test_a_throttled_connection_rests_although_its_rate_holds_it_back_anyway() -> None:
    dispatch, now, rests = opened(GateSettings(2, BREAKER, rate=10.0), range(1, 40)), 1.0, []
    for _ in range(4):
        for seq in drain(dispatch, now):
            dispatch.throttled(seq, now + 0.05, None, 3600.0)
            dispatch.sent(seq)
        opens = dispatch.opens_at(("acme", "erp"), now)
        rests.append(round(opens - now - 0.05, 3))
        now = opens
    assert rests == [1, 2, 4, 8]


def test_an_open_breaker_lets_one_through_when_its_time_has_come() -> None:
    dispatch = opened(GateSettings(3, BREAKER), range(1, 8))
    assert drain(dispatch, 0.0) == [1, 2, 3]
    for seq in (1, 2, 3):
        breaker = dispatch.breaker_of(seq)
        assert breaker is not None
        breaker.failed(1.0)
        dispatch.sent(seq)
    assert drain(dispatch, 1.0) == []
    assert dispatch.wake == 31.0
    assert drain(dispatch, 31.0) == [4]


def test_what_is_withdrawn_leaves_the_others_their_turn() -> None:
    dispatch = opened(GateSettings(1, BREAKER), range(1, 8))
    assert drain(dispatch, 0.0) == [1]
    assert sorted(dispatch.withdraw(1, lambda seq: seq % 2 == 1)) == [3, 5, 7]
    dispatch.sent(1)
    dispatch.offer(3, ("acme", "erp"), GateSettings(9, BREAKER))
    assert drain(dispatch, 0.0) == [2, 3, 4, 6]


def test_what_is_delayed_comes_back_when_due() -> None:
    dispatch = Dispatch()
    dispatch.delay(7, 2.0)
    assert dispatch.wake == 2.0
    assert list(dispatch.due(1.9)) == []
    assert list(dispatch.due(2.0)) == [7]


def test_what_is_taken_back_is_delayed_no_more() -> None:
    dispatch = Dispatch()
    for again in range(5):
        for seq in (1, 2):
            dispatch.delay(seq, 100.0 + again)
        dispatch.take_back([1])
    assert dispatch.wake == 104.0  # and nothing is kept of the times before
    assert list(dispatch.due(200.0)) == [2]
    assert dispatch.wake is None


def test_an_event_whose_key_changed_stands_in_both_lines() -> None:
    event = {
        "source": {"schema": "public", "table": "t"},
        "key": {"id": 2},
        "before": {"id": 1, "status": "open"},
    }
    assert lines_of(event, "acme/r") == (
        ("acme/r", "public.t", b'{"id":1}'),
        ("acme/r", "public.t", b'{"id":2}'),
    )


@pytest.mark.parametrize("before", [None, {"status": "open"}, {"id": 2}])
def test_a_key_that_did_not_change_stands_in_one_line(before: object) -> None:
    event = {"source": {"schema": "public", "table": "t"}, "key": {"id": 2}, "before": before}
    assert lines_of(event, "acme/r") == (("acme/r", "public.t", b'{"id":2}'),)


def test_a_key_is_the_same_key_as_it_is_written() -> None:
    event = {
        "source": {"schema": "public", "table": "orders"},
        "key": {"id": Decimal("1.00")},
        "before": {"id": Decimal("1.0")},
    }
    earlier = lines_of(event | {"key": {"id": Decimal("1.0")}, "before": None}, "acme/orders")
    assert earlier[0] in lines_of(event, "acme/orders")


def test_an_event_without_a_source_has_a_line_of_its_own() -> None:
    assert lines_of({"source": 5, "key": {"id": 1}}, "acme/orders") == (("acme/orders", "", b'{"id":1}'),)


@pytest.mark.parametrize(
    ("key", "line"), [("a", b'"a"'), (1, b"1"), ([1, None], b"[1,null]"), (False, b"false")]
)
def test_a_messages_key_may_be_any_value(key: object, line: bytes) -> None:
    event = {"source": {"schema": "outbox", "table": "work-order.closed"}, "key": key, "before": None}
    assert lines_of(event, "acme/r") == (("acme/r", "outbox.work-order.closed", line),)


def test_without_a_key_the_table_is_one_line() -> None:
    event = {"source": {"schema": "public", "table": "t"}, "key": None}
    assert lines_of(event, "acme/r") == (("acme/r", "public.t", None),)


def test_a_lease_is_free_when_it_was_released_or_seen_unchanged_for_five_seconds() -> None:
    watch, lease = LeaseWatch(), Lease("a", 1.0)
    assert watch.may_claim(None, 0, 0)
    assert watch.may_claim(Lease("a", 1.0, released=True), 9, 0)
    assert not watch.may_claim(lease, 1, 10)
    assert not watch.may_claim(lease, 2, 14.9)
    assert not watch.may_claim(lease, 2, 19.8)
    assert watch.may_claim(lease, 2, 20.0)


def test_a_tenure_counts_from_before_the_renewal() -> None:
    tenure = Tenure(4.0)
    tenure.renewed(3.0)
    assert tenure.holds(6.9)
    assert not tenure.holds(7.0)


def test_the_memory_keeps_ten_minutes_and_what_is_above_the_floor() -> None:
    memory = SettledMemory()
    for seq in range(0, 1_000, 2):
        memory.add(seq, seq / 10)
    assert 500 in memory
    assert 501 not in memory
    memory.add(5_000, 800.0)
    memory.forget(floor=400, now=800.0)
    assert 10 not in memory
    assert 400 in memory
    assert 998 in memory
    assert 5_000 in memory


DELIVERY = DeliveryId("acme", "orders", "s:0/1:1", 7, 9)


def test_a_dead_letter_holds_the_event_byte_for_byte_and_a_bounded_answer() -> None:
    letter = DeadLetter("rejected", Problem("X1", "no" * 1_000, Answer(422, {}, "é" * 5_000)))
    payload = dead_letter(DELIVERY, b'{"cost": 1273.00}', letter, RetryRecord(2, 0.0, 1.5), "abc")
    assert b'{"cost": 1273.00}' in payload
    found = json.loads(payload)
    assert found["error"]["message"] == "no" * 500
    assert set(found["error"]["response"]) == {"é"}
    assert (found["delivery_id"], found["attempts"]) == ("s:0/1:1/acme/orders", 2)
    assert found["last_attempt"] == "1970-01-01T00:00:01.500Z"


@pytest.mark.parametrize("letter", ["x", '"', "\x01", "😀", "é"])
def test_a_dead_letter_fits_where_the_largest_event_did(letter: str) -> None:
    name = "n" * 60
    # of a replay under a new key, of a backfill for one route
    delivery = DeliveryId(name, name, f"{name}@2:FFFFFFFF/FFFFFFFF:99999999", 2**53, 2**53, str(2**53))
    event = encode_json({"after": "x" * 100_000})
    for body in (letter * 9_000, {"error": [letter] * 9_000}):
        problem = Problem(letter * 999, letter * 9_000, Answer(422, {}, body))
        record = RetryRecord(99, 1e9, 1e9)
        buried = DeadLetter("exhausted", problem)
        payload = dead_letter(delivery, event, buried, record, "m" * 64, "a" * 64)
        own = {
            "Bridge-Event-Id": delivery.event_id,
            "Bridge-Event-Seq": str(2**53),
            "Bridge-Backfill-Route": f"{name}/{name}",
            "Bridge-Replay": str(2**53),
            "Bridge-Replay-Key": str(2**53),
            "Bridge-Replay-Id": f"replay-{2**53}-{'f' * 20}",
            "Nats-Expected-Last-Subject-Sequence": "0",
        }
        headers = b"NATS/1.0\r\n" + header_lines(own) + letter_headers(buried) + b"\r\n"
        assert len(payload) + len(headers) - len(event) < MARGIN


def retried(answers: list[Known | None]) -> Known | None:
    """What a turn knows after one attempt that may pass later. answers: to writes (None: refused) and to reads."""
    rules = Rules(POLICY, 10_000, 30.0)
    turn = take_turn(rules, Known(RetryRecord(1, 5.0, 5.0), 11), 0, lambda: 100.0, 0.0)
    answer: Any = None
    ending: Any = None
    try:
        while True:
            match turn.send(answer):
                case Render():
                    answer = Rendered(safe=True)
                case Send():
                    answer = Sent(RetryLater("busy"), 100.0, 100.5)
                case WriteRecord():
                    found = answers.pop(0)
                    answer = None if found is None else found.revision
                case ReadRecord():
                    answer = answers.pop(0)
                case Report():
                    answer = None
                case step:
                    raise AssertionError(step)
    except StopIteration as end:
        ending = end.value
    assert isinstance(ending, Waiting)
    return ending.known


@pytest.mark.parametrize(
    ("intent", "reason", "buried"),
    [
        (None, "removed", "removed"),
        ("unsure", "removed", "removed"),  # its replay looks it up
        ("started", "removed", "uncertain"),
        ("started", "expired", "uncertain"),
        ("started", "crashed", "crashed"),
        ("done", "removed", None),
        ("done", "crashed", None),
    ],
)
def test_what_is_given_up_may_have_been_sent(
    intent: Intent | None, reason: Reason, buried: str | None
) -> None:
    steps = list(give_up(DeadLetter(reason, Problem(reason, "")), Known(RetryRecord(1, intent=intent), 7)))
    letters = [step.letter.reason for step in steps if isinstance(step, Bury)]
    assert letters == ([] if buried is None else [buried])
    assert [step.reason for step in steps if isinstance(step, Settle)] == [buried]


OURS = RetryRecord(2, 5.0, 100.5, 106.5)


@pytest.mark.parametrize(
    ("answers", "attempts", "revision"),
    [
        pytest.param([Known(revision=12)], 2, 12, id="stored"),
        pytest.param([None, Known(OURS, 12)], 2, 12, id="stored, its answer lost"),
        pytest.param([None, Known(RetryRecord(1, 5.0, 5.0), 11), Known(revision=12)], 2, 12, id="lost"),
        pytest.param([None, Known(RetryRecord(2, 5.0, 9.0), 12), Known(revision=13)], 3, 13, id="another's"),
    ],
)
def test_an_attempt_is_counted_once(answers: list[Known | None], attempts: int, revision: int) -> None:
    known = retried(answers)
    assert known is not None
    assert (known.record.attempts, known.revision) == (attempts, revision)


def test_an_attempts_record_names_no_value() -> None:
    record = attempt_record(
        Attempt(DELIVERY, 1, RetryLater("busy", ANSWER), RetryAt(12.0), 10.0, 10.25, "abc", "w1")
    )
    assert (record["outcome"], record["status"], record["then"], record["ms"]) == (
        "retry_later",
        409,
        "retry",
        250,
    )
    assert "locked" not in json.dumps(record)
