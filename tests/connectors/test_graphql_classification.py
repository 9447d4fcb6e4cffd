"""What GraphQL answers mean; the reasons: docs/decisions/0027-what-a-graphql-answer-means.md."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from connectors.graphql_classification import classify_response, session_ended
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

NOW = datetime(2026, 11, 24, 3, 28, tzinfo=UTC)
DONE = {"create": {"id": "1"}}


def error(code: Any = None, *path: Any, message: str = "no", **extensions: Any) -> dict[str, Any]:
    found = {"message": message, "extensions": ({} if code is None else {"code": code}) | extensions}
    return found | ({"path": list(path)} if path else {})


def judged(
    body: Any, status: int = 200, *, changes: bool = True, headers: Mapping[str, str] | None = None
) -> Outcome:
    return classify_response(Answer(status, headers or {}, body), changes=changes, now=NOW)


@pytest.mark.parametrize(
    "body",
    [{"data": DONE}, {"data": DONE, "errors": []}, {"data": {"delete": False}, "errors": None}, {"data": {}}],
)
def test_data_without_errors_is_delivered(body: Any) -> None:
    assert isinstance(judged(body), Delivered)


def test_a_mutation_that_gives_null_and_no_error_is_for_a_person_and_a_query_that_does_is_an_answer() -> None:
    nothing = {"data": {"update": None, "__typename": "Mutation"}}
    outcome = judged(nothing)
    assert isinstance(outcome, Rejected)
    assert "ok: status == 200" in outcome.message
    assert isinstance(judged(nothing, changes=False), Delivered)
    assert isinstance(judged({"data": {"a": None, "b": {"id": 1}}}), Delivered)


def test_a_replay_is_delivered_and_said() -> None:
    outcome = judged({"data": DONE, "extensions": {"idempotency": {"create": {"wasReplayed": True}}}})
    assert isinstance(outcome, Delivered)
    assert "done it before" in outcome.message
    first = judged({"data": DONE, "extensions": {"idempotency": {"create": {"wasReplayed": False}}}})
    assert isinstance(first, Delivered)
    assert first.message == ""


@pytest.mark.parametrize(
    "body",
    [
        None,
        "<html>login</html>",
        {},
        {"ok": True},
        [],
        {"data": None},
        {"data": []},
        {"errors": []},
        {"errors": "no"},
        7,
    ],
)
def test_a_200_that_is_no_graphql_response_is_never_delivered(body: Any) -> None:
    outcome = judged(body)
    assert isinstance(outcome, Uncertain)
    assert outcome.code == "no_graphql"
    assert "base_url and path" in outcome.message


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("BAD_USER_INPUT", Rejected), ("GRAPHQL_VALIDATION_FAILED", Rejected), ("validation-failed", Rejected),
        ("FORBIDDEN", Rejected), ("PURCHASE_ORDER_LINE_ITEMS_REQUIRED", Rejected), ("23505", Rejected), (None, Rejected),
        ("UNAUTHENTICATED", Unavailable), ("AUTH_NOT_AUTHENTICATED", Unavailable), (401, Unavailable),
        ("THROTTLED", Throttled), ("RateLimited", Throttled), ("TOO_MANY_REQUESTS", Throttled),
        ("INTERNAL_SERVER_ERROR", RetryLater), ("InternalError", RetryLater), ("SERVICE_UNAVAILABLE", RetryLater),
        ("40P01", RetryLater), ("IDEMPOTENCY_CONCURRENT_REQUEST", RetryLater),
        ("TIMEOUT", Uncertain), ("DEADLINE_EXCEEDED", Uncertain),
    ],
)  # fmt: skip
@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"create": None}}])
def test_where_nothing_ran_the_code_decides(code: Any, kind: type, body: dict[str, Any]) -> None:
    path = ("create",) if body.get("data") else ()
    outcome = judged(body | {"errors": [error(code, *path)]})
    assert isinstance(outcome, kind)
    if isinstance(outcome, Rejected | RetryLater | Uncertain):
        assert outcome.code == str(code or "")


@pytest.mark.parametrize(
    "found",
    [
        {"message": "no", "extensions": {"classification": "ValidationError"}},
        {"message": "no", "extensions": {"classification": {"type": "ExtendedValidationError"}}},
        {"message": "no", "extensions": {"errorType": "PERMISSION_DENIED"}},
        {"message": "no", "errcode": "23505"},
        {"message": "no", "extensions": {"exception": {"errcode": "23502"}}},
        {"message": "no", "type": "NOT_FOUND"},
        {"message": "no", "errorType": "ConditionalCheckFailed"},
    ],
)
def test_codes_of_other_servers(found: dict[str, Any]) -> None:
    outcome = judged({"errors": [found]})
    assert isinstance(outcome, Rejected)
    assert outcome.code


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        (DONE, [error("INTERNAL_SERVER_ERROR", "create", "vendor")]),
        (DONE, [error("DEPRECATED")]),
        (None, [error(None, "create", "number")]),
        ({"create": None}, [error("THROTTLED", "create", "lines", 0, "price")]),
        ({"a": {"id": 1}, "b": None}, [error("BAD_USER_INPUT", "b")]),
        ({"company": {"create": None}}, [error("BAD_USER_INPUT", "company", "create")]),
    ],
)
def test_a_mutation_that_ran_in_part_is_uncertain(data: Any, errors: list[Any]) -> None:
    outcome = judged({"data": data, "errors": errors})
    assert isinstance(outcome, Uncertain)
    assert "ran at least in part" in outcome.message


def test_a_query_with_errors_is_no_answer_to_build_on() -> None:
    partial = {"data": {"vendors": {"nodes": None}}, "errors": [error("INTERNAL", "vendors", "nodes")]}
    assert isinstance(judged(partial, changes=False), RetryLater)
    assert isinstance(judged(partial | {"errors": [error(None, "vendors")]}, changes=False), Rejected)
    assert isinstance(judged({"errors": [error("TIMEOUT")]}, changes=False), RetryLater)


def test_of_several_errors_the_one_that_holds_for_all_decides() -> None:
    both = [error("BAD_USER_INPUT", "a"), error("INTERNAL", "b")]
    assert isinstance(judged({"data": None, "errors": both}), Rejected)
    assert isinstance(judged({"data": None, "errors": [*both, error("THROTTLED", "c")]}), Throttled)
    everything = [*both, error("THROTTLED", "c"), error("UNAUTHENTICATED", "d")]
    outcome = judged({"data": None, "errors": everything})
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"errors": [error("GRAPHQL_PARSE_FAILED")]}, Rejected),
        (400, {"errors": [error()]}, Rejected),
        (400, {"errors": [error("THROTTLED")]}, Throttled),
        (403, {"errors": [error("UNAUTHENTICATED")]}, Unavailable),
        (401, {"errors": [error("BAD_USER_INPUT")]}, Unavailable),
        (401, {"errors": [error("UNAUTHENTICATED", "b")], "data": {"a": {"id": 1}, "b": None}}, Uncertain),
        (409, {"errors": [error("CONFLICT")]}, Rejected),
        (409, "under way", Rejected),
        (429, {"errors": [error("X")]}, Throttled),
        (429, "slow down", Throttled),
        (500, {"errors": [error("BAD_USER_INPUT", "create")], "data": None}, Rejected),
        (500, {"errors": [error("SOMETHING", "create")], "data": None}, RetryLater),
        (500, {"errors": [error(None, "create", "id")], "data": None}, Uncertain),
        (500, {"data": DONE}, RetryLater),
        (502, {"errors": [error("BAD_USER_INPUT")]}, Uncertain),
        (503, {"errors": [error()]}, Unavailable),
        (404, "no such page", Rejected),
        (302, "", Rejected),
        (204, None, Uncertain),
    ],
)
def test_status_and_body_together(status: int, body: Any, kind: type) -> None:
    assert isinstance(judged(body, status), kind)


@pytest.mark.parametrize("body", [{"errors": [error("CONFLICT")]}, {"message": "under way"}, ""])
def test_a_conflict_that_says_when_to_come_again_passes(body: Any) -> None:
    outcome = judged(body, 409, headers={"retry-after": "2"})
    assert isinstance(outcome, RetryLater)
    assert outcome.after == 2.0


COST = {
    "requestedQueryCost": 101,
    "throttleStatus": {"currentlyAvailable": Decimal("1.0"), "restoreRate": Decimal("50.0")},
}


@pytest.mark.parametrize(
    ("body", "headers", "after"),
    [
        ({"errors": [error("THROTTLED")]}, {"retry-after": "7"}, 7.0),
        ({"errors": [error("THROTTLED", retryAfter=3)]}, {}, 3.0),
        ({"errors": [error("THROTTLED")], "extensions": {"cost": COST}}, {}, 2.0),
        ({"errors": [error("THROTTLED")]}, {"x-ratelimit-reset": "11"}, 11.0),
        ({"errors": [error("THROTTLED")]}, {"x-ratelimit-reset": str(int(NOW.timestamp()) + 13)}, 13.0),
        ({"errors": [error("THROTTLED")]}, {"x-ratelimit-reset": "soon"}, None),
        ({"errors": [error("THROTTLED", retryAfter=10**9)]}, {}, 86_400.0),
        ({"errors": [error("THROTTLED")], "extensions": {"cost": {"throttleStatus": {}}}}, {}, None),
    ],
)
def test_how_long_to_wait(body: Any, headers: dict[str, str], after: float | None) -> None:
    outcome = judged(body, headers=headers)
    assert isinstance(outcome, Throttled)
    assert outcome.after == after


def test_a_429_without_a_body_tells_by_its_headers() -> None:
    outcome = judged("", 429, headers={"x-ratelimit-reset": "30"})
    assert isinstance(outcome, Throttled)
    assert outcome.after == 30.0


def test_the_message_is_one_line_with_code_place_and_words() -> None:
    outcome = judged({"data": None, "errors": [error("E7", "create", message="no such\nplant")]})
    assert isinstance(outcome, Rejected)
    assert outcome.message == "HTTP 200: E7 at create: no such plant"


def test_errors_of_any_shape_are_read() -> None:
    odd = {
        "errors": [
            "no",
            None,
            {"message": 7, "path": "x", "extensions": "y"},
            {"extensions": {"code": ["a"]}},
        ]
    }
    outcome = judged(odd)
    assert isinstance(outcome, Rejected)
    assert "no" in outcome.message
    many = judged({"errors": [error(f"E{n}", message="x" * 300) for n in range(500)]})
    assert isinstance(many, Rejected)
    assert len(many.message) < 600


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        ({"errors": [error("UNAUTHENTICATED")]}, True),
        ({"data": None, "errors": [error("UNAUTHENTICATED", "create")]}, True),
        ({"data": DONE, "errors": [error("UNAUTHENTICATED", "vendor")]}, False),
        ({"errors": [error("FORBIDDEN")]}, False),
        ({"data": DONE}, False),
        ("401", False),
    ],
)
def test_a_session_has_ended_only_where_nothing_ran(body: Any, ended: bool) -> None:  # noqa: FBT001 — a parameter of the test
    assert session_ended(Answer(200, {}, body)) is ended
