"""What the answer to a call means, in each dialect."""

from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.jsonrpc_answer import classify_reply, read_reply
from connectors.jsonrpc_dialect import Dialect
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

ID = "fracttal:0/1:1/acme/x"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
JSON = {"content-type": "application/json"}


def outcome(
    dialect: Dialect, body: Any, status: int = 200, *, truncated: bool = False, **headers: str
) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = Answer(status, {**JSON, **named}, body, truncated)
    return classify_reply(read_reply(dialect, answer, ID), NOW)


def error(code: Any, message: str = "no", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message, **more}, "id": ID}


def odoo(name: str, message: str = "no") -> dict[str, Any]:
    data = {
        "name": name,
        "message": message,
        "arguments": [message],
        "context": {},
        "debug": "Traceback: swordfish",
    }
    return {"jsonrpc": "2.0", "id": ID, "error": {"code": 0, "message": "Odoo Server Error", "data": data}}


@pytest.mark.parametrize("result", [{"id": 1}, [1], "a", 0, False, None])
def test_a_result_is_delivered_whatever_it_is(result: Any) -> None:
    for dialect in ("2.0", "odoo_legacy", "tryton"):
        assert isinstance(outcome(dialect, {"jsonrpc": "2.0", "result": result, "id": ID}), Delivered)
    assert isinstance(outcome("2.0", {"result": result, "error": None, "id": ID}), Delivered)
    bare = outcome("odoo", result)
    assert isinstance(bare, Delivered)
    assert bare.answer is not None
    assert bare.answer.body == {"result": result}


@pytest.mark.parametrize(
    "body",
    [
        {"jsonrpc": "2.0", "result": 1, "id": "another"},
        {"jsonrpc": "2.0", "result": 1, "id": None},
        {"jsonrpc": "2.0", "result": 1},
        {"jsonrpc": "2.0", "id": ID},
        {"jsonrpc": "2.0", "result": 1, "error": {"code": 1, "message": "no"}, "id": ID},
        {"jsonrpc": "2.0", "error": {"code": 1, "message": "no"}, "id": "another"},
        [{"jsonrpc": "2.0", "result": 1, "id": ID}],
        {"ok": True},
        "<html>Welcome</html>",
        None,
    ],
)
@pytest.mark.parametrize("dialect", ["2.0", "tryton"])
def test_no_answer_to_this_call_leaves_open_what_became_of_it(dialect: Dialect, body: Any) -> None:
    assert isinstance(outcome(dialect, body), Uncertain)


def test_odoo_leaves_the_result_of_a_method_that_returns_nothing_out() -> None:
    assert isinstance(outcome("odoo_legacy", {"jsonrpc": "2.0", "id": ID}), Delivered)
    assert isinstance(outcome("odoo_legacy", {"jsonrpc": "2.0", "id": "another"}), Uncertain)


def test_an_answer_that_is_too_long_may_hold_an_error_at_its_end() -> None:
    for dialect in ("2.0", "odoo", "odoo_legacy", "tryton"):
        cut = outcome(dialect, "x" * 3000, truncated=True)
        assert isinstance(cut, Uncertain)
        assert cut.answer is not None
        assert len(cut.answer.body) == 500


def test_of_a_page_the_words_are_told() -> None:
    page = "<!doctype html>\n<title>403 Forbidden</title>\n<h1>Forbidden</h1>\n<p>Not readable.</p>"
    found = outcome("tryton", page, 403, content_type="text/html; charset=utf-8")
    assert isinstance(found, Rejected)
    assert found.message == "HTTP 403: 403 Forbidden Forbidden Not readable."


def test_a_page_instead_of_odoos_json_is_no_success() -> None:
    assert isinstance(outcome("odoo", "<html>", content_type="text/html"), Uncertain)


@pytest.mark.parametrize(
    "code, kind",
    [
        (-32700, Rejected),
        (-32600, Rejected),
        (-32601, Rejected),
        (-32602, Rejected),
        (-32603, RetryLater),
        (-32000, RetryLater),
        (-32099, RetryLater),
        (-32100, Rejected),
        (1, Rejected),
        (429, Throttled),
        (401, Unavailable),
        ("E7", Rejected),
        (None, Rejected),
    ],
)
def test_the_protocols_codes(code: Any, kind: type[Outcome]) -> None:
    found = outcome("2.0", error(code))
    assert isinstance(found, kind)
    assert found.message.startswith(f"{code if code is not None else 'error'}: no")


def test_an_error_in_reading_the_call_has_no_id() -> None:
    assert isinstance(outcome("2.0", {**error(-32700), "id": None}), Rejected)


def test_the_words_of_data_are_told_and_its_stack_is_not_kept() -> None:
    data = {"detail": "plant closed", "Debug": "swordfish", "inner": [{"traceback": "swordfish", "at": 1}]}
    found = outcome("2.0", error(-32000, "Server error", data=data))
    assert found.message == "-32000: Server error; plant closed"
    assert "swordfish" not in repr(found)
    assert found.answer is not None
    assert found.answer.body["error"]["data"] == {"detail": "plant closed", "inner": [{"at": 1}]}


def test_a_retry_after_is_kept() -> None:
    for code, kind in ((-32000, RetryLater), (429, Throttled)):
        found = outcome("2.0", error(code), retry_after="7")
        assert isinstance(found, kind)
        assert found.after == 7.0


@pytest.mark.parametrize(
    "status, code, kind",
    [
        (500, -32602, Rejected),
        (400, -32603, RetryLater),
        (500, -32000, RetryLater),
        (401, -32602, Unavailable),
        (429, -32602, Throttled),
        (503, -32602, Unavailable),
        (502, -32602, Uncertain),
    ],
)
def test_a_status_that_says_more_than_the_body_goes_before_it(
    status: int, code: int, kind: type[Outcome]
) -> None:
    assert isinstance(outcome("2.0", error(code), status), kind)


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (500, {"error": "down"}, RetryLater),
        (500, "Traceback", RetryLater),
        (400, {"error": {"message": "no"}}, Rejected),
        (404, "<html>", Rejected),
        (307, None, Rejected),
        (500, {**error(1), "id": "another"}, RetryLater),
    ],
)
def test_without_an_error_of_the_protocol_the_status_counts(
    status: int, body: Any, kind: type[Outcome]
) -> None:
    assert isinstance(outcome("2.0", body, status), kind)


@pytest.mark.parametrize(
    "name, status, kind",
    [
        ("odoo.exceptions.ValidationError", 422, Rejected),
        ("odoo.exceptions.UserError", 422, Rejected),
        ("odoo.exceptions.AccessError", 403, Rejected),
        ("odoo.exceptions.MissingError", 404, Rejected),
        ("odoo.exceptions.LockError", 409, RetryLater),
        ("odoo.exceptions.ConcurrencyError", 500, RetryLater),
        ("odoo.exceptions.AccessDenied", 403, Unavailable),
        ("odoo.http.SessionExpiredException", 403, Unavailable),
        ("psycopg2.errors.SerializationFailure", 500, RetryLater),
        ("psycopg2.errors.LockNotAvailable", 500, RetryLater),
        ("psycopg2.OperationalError", 500, RetryLater),
        ("builtins.ValueError", 500, Rejected),
        ("builtins.KeyError", 500, Rejected),
        ("builtins.MemoryError", 500, RetryLater),
        ("requests.exceptions.ConnectionError", 500, RetryLater),
        ("werkzeug.exceptions.NotFound", 404, Rejected),
        ("werkzeug.exceptions.InternalServerError", 500, RetryLater),
        ("werkzeug.exceptions.TooManyRequests", 429, Throttled),
    ],
)
def test_odoos_exceptions_mean_the_same_in_both_interfaces(
    name: str, status: int, kind: type[Outcome]
) -> None:
    body = odoo(name, "Serial number\nmust be unique")
    old = outcome("odoo_legacy", body)
    new = outcome("odoo", body["error"]["data"], status)
    for found in (old, new):
        assert isinstance(found, kind)
        assert "Serial number must be unique" in found.message
        assert "swordfish" not in repr(found)
    assert name in old.message


def test_odoos_load_tells_in_its_result_that_nothing_was_written() -> None:
    messages = [
        {"type": "error", "message": "No matching record found"},
        {"type": "error", "message": "Missing name"},
    ]
    result = {"ids": False, "messages": messages, "nextrow": 0}
    for found in (
        outcome("odoo", result),
        outcome("odoo_legacy", {"jsonrpc": "2.0", "id": ID, "result": result}),
    ):
        assert isinstance(found, Rejected)
        assert found.message == "load: No matching record found; Missing name"
    busy = {
        **result,
        "messages": [{"type": "error", "message": "could not serialize access due to concurrent update"}],
    }
    assert isinstance(outcome("odoo", busy), RetryLater)
    written = {"ids": [5], "messages": [{"type": "warning", "message": "2 matches"}], "nextrow": 0}
    assert isinstance(outcome("odoo", written), Delivered)
    assert isinstance(outcome("2.0", {"result": result, "id": ID}), Delivered)


@pytest.mark.parametrize(
    "found, kind, message",
    [
        (
            ["UserError", ["The code must be unique.", "", None]],
            Rejected,
            "UserError: The code must be unique.",
        ),
        (
            ["UserWarning", ["stock_7", "Sure?", "It is late"]],
            Rejected,
            "UserWarning: stock_7; Sure?; It is late",
        ),
        (["LoginException", ["otp", "Code", "char"]], Unavailable, "LoginException: otp; Code; char"),
        (
            ["ConcurrencyException", "Records were modified"],
            RetryLater,
            "ConcurrencyException: Records were modified",
        ),
        (["'nombre'", "Traceback: swordfish"], RetryLater, "error: 'nombre'"),
        ([], RetryLater, "error"),
        ("odd", RetryLater, "error"),
    ],
)
def test_trytons_errors_are_pairs(found: Any, kind: type[Outcome], message: str) -> None:
    judged = outcome("tryton", {"id": ID, "error": found})
    assert isinstance(judged, kind)
    assert judged.message.startswith(message)
    assert "swordfish" not in repr(judged)
