"""What answers mean, and what is read from their bodies; no network."""

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from connectors.answers import decompressed, read_answer
from connectors.classification import classify, is_stale
from connectors.error_text import LONGEST, error_text
from connectors.protocol import Answer, Delivered, Rejected, RetryLater, Throttled, Unavailable, Uncertain

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
LOCK = {
    "error": {
        "code": "56/393",
        "message": {"lang": "en", "value": "Order 42 is blocked by user PLANNER1"},
        "innererror": {
            "errordetails": [{"code": "56/393", "message": "Order 42 is blocked by user PLANNER1"}]
        },
    }
}
INNER_LOCK = {
    "error": {
        "code": "/IWBEP/CX_MGW_BUSI_EXCEPTION",
        "message": {"value": "See details"},
        "innererror": {"errordetails": [{"code": "56/393", "message": "blocked"}]},
    }
}
ATOM = {
    "error": {
        "code": "MEPO/393",
        "message": {"@lang": "en", "#text": "Blocked by user"},
        "innererror": {"errordetails": {"errordetail": [{"code": "56/393", "message": "blocked"}]}},
    }
}


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (200, None, Delivered),
        (204, None, Delivered),
        (301, None, Rejected),
        (302, None, Rejected),
        (400, None, Rejected),
        (400, LOCK, RetryLater),
        (400, INNER_LOCK, RetryLater),
        (400, {"error": {"code": "/IWBEP/CM_COS/005", "message": "RequestID is outdated"}}, Delivered),
        (400, {"o:errorDetails": [{"o:errorCode": "SSS_REQUEST_LIMIT_EXCEEDED"}]}, Throttled),
        (401, None, Unavailable),
        (403, None, Rejected),
        (404, None, Rejected),
        (408, None, RetryLater),
        (409, None, Rejected),
        (412, None, Rejected),
        (417, {"exc_type": "ValidationError"}, Rejected),
        (417, {"exc_type": "TimestampMismatchError"}, RetryLater),
        (423, None, RetryLater),
        (425, None, RetryLater),
        (429, None, Throttled),
        (500, None, RetryLater),
        (501, None, Rejected),
        (502, None, Uncertain),
        (503, None, Unavailable),
        (504, None, Uncertain),
        (522, None, Unavailable),
        (529, None, RetryLater),
    ],
)
def test_what_an_answer_means(status: int, body: Any, meaning: type) -> None:
    answer = Answer(status, {}, body)
    outcome = classify(answer, NOW)
    assert type(outcome) is meaning
    assert outcome.answer is answer


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        ("\n<!DOCTYPE HTML PUBLIC><title>Log in</title>", Uncertain),
        ("<html lang=es>", Uncertain),
        ("<htmlish>", Delivered),
        ("OK", Delivered),
        ({"html": "<html>"}, Delivered),
    ],
)
def test_a_web_page_is_no_erp_s_answer(body: Any, meaning: type) -> None:
    assert type(classify(Answer(200, {}, body), NOW)) is meaning


def test_what_has_changed_since_it_was_read() -> None:
    assert is_stale(Answer(412, {}, None))
    assert is_stale(Answer(409, {}, {"error": {"code": "Request_EntityChanged"}}))
    assert is_stale(Answer(400, {}, {"error": {"code": "Internal_EntityWithSameKeyExists"}}))
    assert not is_stale(Answer(409, {}, {"error": {"code": "Application_DialogException"}}))


def test_an_idempotency_error_is_a_repeat_where_the_erp_says_what_it_took_before() -> None:
    body = {"o:errorDetails": [{"o:errorCode": "IDEMPOTENCY_ERROR"}]}
    taken = Answer(400, {"location": "/services/rest/async/v1/job/123456"}, body)
    assert isinstance(classify(taken, NOW), Delivered)
    assert isinstance(classify(Answer(400, {}, body), NOW), Rejected)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("9" * 400, 86_400.0),
        ("Tue, 24 Nov 2026 10:02:00 GMT", 120.0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 10:02:00 -0000", 120.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    outcome = classify(Answer(429, {"retry-after": text}, None), NOW)
    assert isinstance(outcome, Throttled)
    assert outcome.after == seconds


@pytest.mark.parametrize(
    ("body", "text", "codes"),
    [
        (LOCK, "Order 42 is blocked by user PLANNER1", ("56/393",)),
        ({"error": {"code": -2028, "message": {"lang": "en", "value": "No match"}}}, "No match", ("-2028",)),
        ({"error": {"code": "Request_X", "message": "changed"}}, "changed", ("Request_X",)),
        (
            {"title": "Bad Request", "status": 400, "o:errorDetails": [{"detail": "d", "o:errorCode": "C"}]},
            "Bad Request; d",
            ("C",),
        ),
        ({"exc_type": "ValidationError", "exception": "frappe: no"}, "frappe: no", ("ValidationError",)),
        ({"name": "odoo.UserError", "message": "no", "debug": "Traceback"}, "no", ("odoo.UserError",)),
        ({"type": "about:blank", "title": "T", "detail": "why"}, "why", ()),
        ({"error": "invalid_grant", "error_description": "expired"}, "expired; invalid_grant", ()),
        ({"errors": [{"message": "a"}, {"message": "b"}]}, "a; b", ()),
        (  # NetSuite's SOAP, under HTTP 200
            {
                "writeResponse": {
                    "status": {"@isSuccess": False, "statusDetail": [{"code": "C", "message": "no"}]}
                }
            },
            "no",
            ("C",),
        ),
        ({"errors": ["a", "a"]}, "a", ()),
        (
            {"Errors": [{"Code": "invalid_reference", "Message": "no such"}]},
            "no such",
            ("invalid_reference",),
        ),
        ({"errorCode": 400, "errorMessage": "TM: no asset"}, "TM: no asset", ("400",)),
        (ATOM, "Blocked by user; blocked", ("MEPO/393", "56/393")),
        (
            {
                "Envelope": {
                    "Header": "",
                    "Body": {"Fault": {"faultcode": "soap:Server", "faultstring": "no"}},
                }
            },
            "no",
            ("soap:Server",),
        ),
        ("two\r\nlines\t\x00here", "two lines here", ()),
        (None, "", ()),
        (7, "", ()),
        ({"error": [[[[[[[[["deep"]]]]]]]]]}, "", ()),
    ],
)
def test_the_erp_s_own_words(body: Any, text: str, codes: tuple[str, ...]) -> None:
    found = error_text(body)
    assert (found.text, found.codes) == (text, codes)


def test_the_erp_s_words_are_bounded() -> None:
    assert len(error_text({"message": "x" * 100_000}).text) == LONGEST


@pytest.mark.parametrize(
    ("content", "body"),
    [
        (b"", None),
        (b" \n", None),
        (b'{"cost": 1273.10, "id": 9007199254740993}', {"cost": Decimal("1273.10"), "id": 9007199254740993}),
        (b'{"n": ' + b"9" * 5_000 + b"}", {"n": Decimal("9" * 5_000)}),
        (b'{"n": NaN}', '{"n": NaN}'),
        (b"<html>", "<html>"),
        (b"[" * 100_000, "[" * 100_000),
        (b"caf\xe9", "caf\ufffd"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_is_json_without_floats_or_text(content: bytes, body: Any) -> None:
    assert read_answer(200, [], content, truncated=False).body == body


def test_a_session_s_secrets_are_no_headers_of_an_answer() -> None:
    headers = [("set-cookie", "SESSION=1"), ("x-csrf-token", "t"), ("via", "a"), ("via", "b")]
    assert read_answer(200, headers, b"", truncated=False).headers == {"via": "a, b"}


def test_a_declared_charset_is_used_and_an_invented_one_is_not_trusted() -> None:
    latin = [("content-type", "text/plain; charset=ISO-8859-1")]
    assert read_answer(400, latin, b"caf\xe9", truncated=False).body == "café"
    invented = [("content-type", "text/plain; charset=base64")]
    assert read_answer(400, invented, b"plain", truncated=False).body == "plain"


def test_a_compression_bomb_is_unpacked_no_further_than_allowed() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    content, whole = decompressed(bomb, "gzip", 1_000)
    assert (len(content), whole) == (1_000, False)
    assert decompressed(gzip.compress(b"{}"), "gzip", 1_000) == (b"{}", True)
    assert decompressed(b"no gzip", "gzip", 1_000) == (b"no gzip", True)
