from collections.abc import Callable
from typing import Any

import pytest

from connectors.protocol import Answer, Delivered, Rejected, RetryLater, Throttled, Unavailable, Uncertain

SAP_LOCK = {"error": {"code": "56/393", "message": {"value": "Order 4711 is blocked by user X"}}}


@pytest.fixture
def classify(compiled: Callable[..., Any], make_input: Callable[..., Any]) -> Any:
    def run(rules: str, outcome: Callable[..., Any], **members: Any) -> Any:
        return compiled(rules).classify(outcome, make_input(**members))

    return run


def test_without_rules_the_connectors_word_stands(classify: Callable[..., Any]) -> None:
    outcome = Rejected("no", Answer(400, {}, SAP_LOCK))
    assert classify("", outcome) is outcome


def test_a_lock_under_400_is_retried(classify: Callable[..., Any]) -> None:
    rule = "response: {retry: \"status == 400 and body.error.code == '56/393'\"}"
    lock = Answer(400, {}, SAP_LOCK)
    assert classify(rule, Rejected("blocked", lock, "56/393")) == RetryLater("blocked", lock, None, "56/393")
    other = Rejected("no", Answer(400, {}, {"error": {"code": "X"}}))
    assert classify(rule, other) is other
    created = Delivered(Answer(201, {}, {"d": {}}))
    assert classify(rule, created) is created


def test_ok_says_delivered_and_its_absence_rejected(classify: Callable[..., Any]) -> None:
    rule = "response: {ok: body.success == true}"
    yes, no = Answer(200, {}, {"success": True}), Answer(200, {}, {"success": False})
    assert classify(rule, Rejected("?", yes)) == Delivered(yes)
    assert isinstance(classify(rule, Delivered(no)), Rejected)
    retry = RetryLater("later", no)
    assert classify(rule, retry) is retry


def test_a_rule_that_has_no_value_says_nothing(classify: Callable[..., Any]) -> None:
    created = Delivered(Answer(204, {}, None))
    assert (
        classify("response: {ok: body.success == true, reject: body.errors | length > 0}", created) is created
    )


def test_business_errors_under_200_are_rejected_or_retried(classify: Callable[..., Any]) -> None:
    rules = "response: {retry: \"body.errors[0].code == 'BUSY'\", reject: body.errors | length > 0}"
    busy = Answer(200, {}, {"errors": [{"code": "BUSY"}]})
    wrong = Answer(200, {}, {"errors": [{"code": "INVALID"}]})
    assert isinstance(classify(rules, Delivered(busy)), RetryLater)
    assert isinstance(classify(rules, Delivered(wrong)), Rejected)


def test_a_business_error_under_200_keeps_the_erps_own_words(classify: Callable[..., Any]) -> None:
    refused = Answer(200, {}, {"success": False, "message": "Period 10/2026 is closed"})
    rejected = classify("response: {reject: body.success == false}", Delivered(refused))
    assert rejected.message == (
        "the ERP answered 200: Period 10/2026 is closed (by the mapping's response.reject)"
    )
    assert "closed, and the mapping's" in classify("response: {ok: body.success}", Delivered(refused)).message
    silent = Delivered(Answer(200, {}, {"success": False}))
    assert classify("response: {retry: not body.success}", silent).message == "the ERP answered 200"


def test_rules_see_headers_vars_and_the_event(classify: Callable[..., Any]) -> None:
    rules = """
vars: {code: "{{ after.code }}"}
response: {reject: "headers['x-state'] == 'final' and vars.code == body and op == 'insert'"}
"""
    answer = Answer(503, {"X-State": "final"}, "A")
    unavailable = Unavailable("503", answer)
    assert isinstance(classify(rules, unavailable, after={"code": "A"}), Rejected)
    assert classify(rules, unavailable, after={"code": "B"}) is unavailable


def test_without_an_answer_there_is_nothing_to_judge(classify: Callable[..., Any]) -> None:
    outcome = Uncertain("cut")
    assert classify("response: {ok: true}", outcome) is outcome


def test_what_is_nobodys_fault_is_throttled_unavailable_or_uncertain(classify: Callable[..., Any]) -> None:
    rules = """
response:
  uncertain: status == 500
  retry: status >= 400
  throttle: body.code == 'SSS_REQUEST_LIMIT_EXCEEDED'
  unavailable: body.code == 'MAINTENANCE'
"""
    told = Rejected("no", Answer(400, {}, {"code": "SSS_REQUEST_LIMIT_EXCEEDED"}), "SSS")
    assert classify(rules, told) == Throttled("no", told.answer, None, "SSS")
    closed = RetryLater("closed", Answer(500, {}, {"code": "MAINTENANCE"}), 7.0)
    assert classify(rules, closed) == Unavailable("closed", closed.answer, 7.0)
    failed = RetryLater("failed", Answer(500, {}, None))
    assert classify(rules, failed) == Uncertain("failed", failed.answer)
    assert isinstance(classify(rules, Rejected("no", Answer(422, {}, None))), RetryLater)
