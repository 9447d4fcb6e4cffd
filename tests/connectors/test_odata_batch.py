"""Change sets in a `$batch`: the bytes that go out, and what the answers mean that real servers give."""

import json
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest

from connectors import registry
from connectors.answers import read_answer
from connectors.batch_answer import classify_batch
from connectors.odata_batch import BatchPrepared
from connectors.protocol import (
    Delivered,
    Outcome,
    Rejected,
    RequestInvalid,
    RetryLater,
    Throttled,
    Unavailable,
    Uncertain,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
KEY = "fracttal:0/16B3748:3/acme/work-orders"
REQUESTS = [
    {"method": "POST", "path": "Vendors", "body": {"code": "A", "name": "Ñandú"}},
    {"method": "POST", "path": "$1/sites", "headers": {"X-Site": "1"}, "body": {"id": 7}},
    {"method": "delete", "path": "Vendors('B%2F1')", "query": {"force": True}, "headers": {"If-Match": "*"}},
]


def prepare(requests: Any = REQUESTS, path: str = "/sap/odata/SRV/$batch", **headers: str) -> BatchPrepared:
    request = {"method": "POST", "path": path, "headers": headers, "batch": requests}
    prepared = registry.prepare("rest", request, KEY)
    assert isinstance(prepared, BatchPrepared)
    return prepared


def read_by_another(prepared: BatchPrepared) -> list[Message]:
    content_type = prepared.parts["headers"]["Content-Type"].encode()
    whole = message_from_bytes(b"Content-Type: " + content_type + b"\r\n\r\n" + prepared.content)
    assert not whole.defects
    return [part for part in whole.walk() if not part.is_multipart()]


def test_a_change_set_is_one_part_with_a_part_for_each_request() -> None:
    prepared = prepare()
    assert prepared.parts["headers"]["Accept"] == "multipart/mixed"
    assert prepared.parts["body"].encode() == prepared.content
    parts = read_by_another(prepared)
    assert [(part["content-type"], part["content-id"]) for part in parts] == [
        ("application/http", "1"),
        ("application/http", "2"),
        ("application/http", "3"),
    ]
    first, second, third = (part.get_payload(decode=True) for part in parts)
    body = '{"code":"A","name":"Ñandú"}'.encode()
    assert first == (
        b"POST Vendors HTTP/1.1\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert isinstance(second, bytes)
    assert second.startswith(b"POST $1/sites HTTP/1.1\r\n")
    assert b"\r\nX-Site: 1\r\n" in second
    assert third == (
        b"DELETE Vendors('B%2F1')?force=true HTTP/1.1\r\nAccept: application/json\r\nIf-Match: *\r\n\r\n"
    )
    assert prepare() == prepared


def test_a_json_batch_is_one_group() -> None:
    prepared = prepare(**{"Content-Type": "application/json"})
    assert prepared.parts["headers"]["Content-Type"] == "application/json"
    assert prepared.parts["headers"]["Accept"] == "application/json"
    assert json.loads(prepared.content) == prepared.parts["body"]
    long = prepare(**{"content-type": "application/json;IEEE754Compatible=true"})
    assert long.parts["headers"]["content-type"] == "application/json;IEEE754Compatible=true"
    assert long.content == prepared.content
    first, second, third = prepared.parts["body"]["requests"]
    assert first == {
        "id": "1",
        "atomicityGroup": "changes",
        "method": "POST",
        "url": "Vendors",
        "headers": {"Accept": "application/json", "Content-Type": "application/json"},
        "body": {"code": "A", "name": "Ñandú"},
    }
    assert (second["url"], second["dependsOn"]) == ("$1/sites", ["1"])
    assert (third["url"], "body" in third) == ("Vendors('B%2F1')?force=true", False)


def test_business_central_makes_a_transaction_of_the_whole_batch() -> None:
    prepared = prepare(**{"Content-Type": "application/json", "Isolation": "snapshot"})
    assert prepared.one
    assert all("atomicityGroup" not in each for each in prepared.parts["body"]["requests"])


@pytest.mark.parametrize(
    "requests",
    [
        None,
        [],
        "x",
        ["x"],
        [{"method": "POST"}],
        [{"path": "Vendors"}],
        [{"method": "GET", "path": "Vendors"}],
        [{"method": "POST", "path": "../Vendors", "body": {}}],
        [{"method": "POST", "path": "Vendors HTTP/1.1\r\nX: 1", "body": 1, "form": {}}],
        [{"method": "POST", "path": "Vendors", "headers": {"X": "a\r\nb"}}],
        [{"method": "POST", "path": "Vendors", "headers": {"Content-Length": "1"}}],
        [{"method": "POST", "path": "Vendors", "body": 2j}],
    ],
    ids=repr,
)
def test_what_is_no_change_set_is_refused(requests: Any) -> None:
    with pytest.raises(RequestInvalid, match=r"request\."):
        prepare(requests)


def test_a_line_break_in_a_path_is_encoded_and_a_batch_goes_to_its_place() -> None:
    assert (
        b"POST Vendors%0D%0AX HTTP/1.1\r\n" in prepare([{"method": "POST", "path": "Vendors\r\nX"}]).content
    )
    with pytest.raises(RequestInvalid, match=r"ends with /\$batch"):
        prepare(path="/sap/odata/SRV")


# ── Answers, as CAP's OData 4 server, its OData 2 adapter and SAP Gateway write them ─────────────────────────────

CREATED = """\
content-type: application/http\r
content-transfer-encoding: binary\r
content-id: %d\r
\r
HTTP/1.1 201 Created\r
etag: W/"7"\r
set-cookie: SESSION=1\r
content-type: application/json; charset=utf-8\r
content-length: 12\r
\r
{"d":{"code":"%s","cost":1.50}}\r
"""
NOTHING = "Content-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n\r\n"
FAILED = """\
Content-Type: application/http\r
Content-Length: 500\r
content-transfer-encoding: binary\r
\r
HTTP/1.1 %d Bad Request\r
Content-Type: %s\r
Retry-After: 7\r
dataserviceversion: 1.0\r
\r
%s\r
"""
LOCKED = '{"error":{"code":"56/393","message":{"lang":"en","value":"Blocked by user"}}}'
CLOSED = '{"error":{"code":"KI/265","message":{"lang":"en","value":"Cost center is closed"}}}'
ATOM = '<?xml version="1.0"?><error xmlns="urn:m"><code>KI/265</code><message xml:lang="en">Closed</message></error>'


def changes(*parts: str) -> str:
    inner = "".join(f"--b-1\r\n{part}" for part in parts)
    return f"--b\r\nContent-Type: multipart/mixed; boundary=b-1\r\n\r\n{inner}--b-1--\r\n\r\n--b--\r\n"


def heard(
    text: str, content_type: str = "multipart/mixed; boundary=b", status: int = 202, **headers: str
) -> Outcome:
    two = prepare(REQUESTS[:2], **headers)
    answer = read_answer(status, [("content-type", content_type)], text.encode(), truncated=False)
    return classify_batch(answer, two, NOW)


def of_json(*statuses: int, **headers: str) -> Outcome:
    parts = [
        {"id": None, "status": status, "headers": {"ETag": "7"}, "body": {"n": 1}} for status in statuses
    ]
    return heard(json.dumps({"responses": parts}), "application/json", 200, **headers)


def test_delivered_when_every_request_is_and_each_answer_is_there_to_be_saved() -> None:
    outcome = heard(changes(CREATED % (1, "A"), NOTHING))
    assert isinstance(outcome, Delivered)
    assert outcome.answer is not None
    first, second = outcome.answer.body["responses"]
    assert (first["status"], first["headers"]["etag"], first["body"]["d"]["code"]) == (201, 'W/"7"', "A")
    assert str(first["body"]["d"]["cost"]) == "1.50"
    assert "set-cookie" not in first["headers"]
    assert (second["status"], second["body"]) == (204, None)
    outcome = of_json(201, 204)
    assert isinstance(outcome, Delivered)
    assert outcome.answer is not None
    assert outcome.answer.body["responses"][0] == {"status": 201, "headers": {"etag": "7"}, "body": {"n": 1}}


def alone(status: int, content: str, kind: str = "application/json") -> str:
    return f"--b\r\n{FAILED % (status, kind, content)}--b--"


@pytest.mark.parametrize(
    ("text", "meaning", "code"),
    [
        (alone(400, CLOSED), Rejected, "KI/265"),
        (alone(400, ATOM, "application/atom+xml"), Rejected, "KI/265"),
        (alone(400, LOCKED), RetryLater, "56/393"),
        (alone(429, "{}"), Throttled, "429"),
        (alone(503, ""), Unavailable, "unavailable"),
        (alone(504, ""), Uncertain, "uncertain"),
        (changes(FAILED % (400, "application/json", CLOSED)), Rejected, "KI/265"),
        (changes(CREATED % (1, "A"), FAILED % (400, "application/json", CLOSED)), Rejected, "KI/265"),
    ],
)
def test_a_change_set_that_failed_is_what_its_error_says(text: str, meaning: type, code: str) -> None:
    outcome = heard(text)
    assert type(outcome) is meaning
    assert getattr(outcome, "code", "") == code
    assert outcome.message.startswith("in the batch: HTTP ")
    assert outcome.answer is not None
    assert outcome.answer.headers["dataserviceversion"] == "1.0"


def test_the_one_to_blame_is_not_the_one_that_failed_with_it() -> None:
    outcome = of_json(424, 409)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "409"


def test_where_a_part_is_said_to_be_done_nothing_is_sent_again_on_trust() -> None:
    outcome = of_json(201, 500)
    assert isinstance(outcome, Uncertain)
    assert outcome.code == "partial"
    assert outcome.answer is not None
    assert outcome.answer.status == 500
    assert [part["status"] for part in outcome.answer.body["responses"]] == [201, 500]
    # but a server that was asked for one transaction says 2xx of what it undoes
    own = {"Content-Type": "application/json", "Isolation": "snapshot"}
    assert isinstance(of_json(201, 500, **own), RetryLater)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "Oops",
        changes(CREATED % (1, "A"), NOTHING)[:-20],
        changes(CREATED % (1, "A")),
        changes(CREATED % (1, "A"), NOTHING, NOTHING),
        changes(CREATED % (1, "A"), "Content-Type: application/http\r\n\r\nno status\r\n"),
        "--b--",
        "--b\r\n\r\n--b--",
        changes(changes(NOTHING, NOTHING)),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_a_2xx_that_does_not_say_that_all_is_done_is_uncertain(text: str) -> None:
    outcome = heard(text)
    assert isinstance(outcome, Uncertain)
    assert outcome.answer is None


@pytest.mark.parametrize(
    "parameter",
    ["boundary*;boundary*0", "boundary*=idna''%ff", "boundary*9"],
)
def test_a_boundary_that_nobody_can_read_is_uncertain(parameter: str) -> None:
    text = changes(CREATED % (1, "A"), NOTHING)
    assert isinstance(heard(text, f"multipart/mixed; {parameter}"), Uncertain)


def test_a_batch_that_is_refused_as_a_whole_is_as_any_request() -> None:
    outcome = heard(CLOSED, "application/json", status=400)
    assert isinstance(outcome, Rejected)
    assert outcome.message == "HTTP 400: Cost center is closed"
