"""What a SOAP answer is to a mapping, and what a fault means for the delivery."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from connectors import registry
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
from connectors.soap_service import MOST_TAGS, Heard
from tests.connectors.wsdl_texts import parts, service, wsdl

NOW = datetime(2026, 11, 24, tzinfo=UTC)
ENVELOPES = {
    "1.1": "http://schemas.xmlsoap.org/soap/envelope/",
    "1.2": "http://www.w3.org/2003/05/soap-envelope",
}
ANSWER = """<xs:sequence>
<xs:element name="number" type="xs:string"/><xs:element name="total" type="xs:double" minOccurs="0"/>
<xs:element name="count" type="xs:int" minOccurs="0"/><xs:element name="ok" type="xs:boolean" minOccurs="0"/>
<xs:element name="at" type="xs:dateTime" minOccurs="0"/><xs:element name="line" type="t:L" minOccurs="0" maxOccurs="unbounded"/>
<xs:element name="gone" type="xs:int" nillable="true" minOccurs="0"/></xs:sequence>"""
MORE = """<xs:complexType name="L"><xs:simpleContent><xs:extension base="xs:decimal">
<xs:attribute name="id" type="xs:int"/></xs:extension></xs:simpleContent></xs:complexType>
<xs:complexType name="Sub"><xs:sequence><xs:element name="n" type="xs:int"/></xs:sequence></xs:complexType>"""
SERVICE = service(wsdl("<xs:sequence/>", MORE, ANSWER))


def envelope(content: str, version: str = "1.1") -> str:
    return f'<s:Envelope xmlns:s="{ENVELOPES[version]}"><s:Body>{content}</s:Body></s:Envelope>'


def outcome(
    content: str | bytes, status: int = 200, kind: str = "text/xml", *, whole: bool = True, **headers: str
) -> Outcome:
    data = content if isinstance(content, bytes) else content.encode()
    names = [("content-type", kind), *((name.replace("_", "-"), text) for name, text in headers.items())]
    operation = SERVICE.message(parts({})).operation
    return SERVICE.outcome(operation, Heard(status, names, data, whole), NOW)


def answered(inner: str) -> Any:
    found = outcome(
        envelope(
            f'<Done xmlns="urn:test" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:t="urn:test">{inner}</Done>'
        )
    )
    assert isinstance(found, Delivered)
    assert found.answer is not None
    return found.answer.body


def test_values_are_typed_by_the_wsdl_and_numbers_keep_their_digits() -> None:
    body = answered(
        "<number>007</number><total>0.10</total><count> 5 </count><ok>1</ok><at>2026-11-24T03:28:19-03:00</at>"
        '<line id="4">1.50</line><gone xsi:nil="true"/>'
    )
    assert body == {
        "number": "007", "total": Decimal("0.10"), "count": 5, "ok": True, "at": "2026-11-24T03:28:19-03:00",
        "line": [{"@id": 4, "#text": Decimal("1.50")}], "gone": None,
    }  # fmt: skip
    assert str(body["total"]) == "0.10"


@pytest.mark.parametrize(
    ("inner", "body"),
    [
        ("<count>many</count>", {"count": "many"}),
        ("<total>INF</total>", {"total": "INF"}),
        ("<surprise><a>1</a><a>2</a></surprise>", {"surprise": {"a": ["1", "2"]}}),
        ("<count>1</count><count>2</count>", {"count": [1, 2]}),
        ('<number xsi:type="t:Sub"><n>4</n></number>', {"number": {"n": 4}}),
        ('<number xsi:type="q:Nobody">x</number>', {"number": "x"}),
        ("<number><b>x</b></number>", {"number": {"b": "x"}}),
        ("text", {"#text": "text"}),
        ("", {}),
    ],
)
def test_what_does_not_fit_is_delivered_all_the_same(inner: str, body: Any) -> None:
    assert answered(inner) == body


def test_another_element_than_the_wsdl_says_is_read_as_it_is() -> None:
    found = outcome(envelope("<Other><a>1</a></Other>"))
    assert isinstance(found, Delivered)
    assert found.answer is not None
    assert found.answer.body == {"a": "1"}


@pytest.mark.parametrize(("content", "status"), [("", 202), ("", 204), (envelope(""), 200)])
def test_an_empty_answer_is_delivered(content: str, status: int) -> None:
    assert isinstance(outcome(content, status), Delivered)


def test_a_page_in_between_is_no_answer() -> None:
    found = outcome("<!DOCTYPE html><html><body>Please log in</body></html>", kind="text/html")
    assert isinstance(found, Uncertain)
    assert found.message.startswith("HTTP 200 without SOAP in it: <!DOCTYPE html>")


def test_a_dtd_is_not_read() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>' + envelope(
        "<x>&b;</x>"
    )
    assert isinstance(outcome(bomb), Uncertain)


def test_an_answer_that_was_cut_is_delivered_if_it_is_soap() -> None:
    found = outcome(envelope("<Done>")[:90], whole=False)
    assert isinstance(found, Delivered)
    assert found.answer is not None
    assert found.answer.truncated
    assert isinstance(outcome("<html>", whole=False), Uncertain)


def test_more_than_a_tree_may_hold_stays_text() -> None:
    found = outcome(envelope("<Done>" + "<a/>" * MOST_TAGS + "</Done>"))
    assert isinstance(found, Delivered)
    assert found.answer is not None
    assert found.answer.truncated
    assert found.answer.body.startswith("<s:Envelope")


def test_the_envelope_of_several_parts_is_the_first() -> None:
    content = f"--b\r\nContent-Type: application/xop+xml\r\n\r\n{envelope('<Done><number>1</number></Done>')}\r\n--b\r\n\r\nx\r\n--b--"
    found = outcome(content, kind='multipart/related; type="application/xop+xml"; boundary="b"')
    assert isinstance(found, Delivered)
    assert found.answer is not None
    assert found.answer.body == {"number": "1"}


def test_letters_are_read_in_the_encoding_that_is_declared() -> None:
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + envelope("<Done><number>Ñandú</number></Done>")
    found = outcome(text.encode("latin-1"))
    assert isinstance(found, Delivered)
    assert found.answer is not None
    assert found.answer.body == {"number": "Ñandú"}


def fault(code: str, text: str = "no\nplant", detail: str = "", version: str = "1.1") -> str:
    if version == "1.1":
        return envelope(
            f"<s:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring><detail>{detail}</detail></s:Fault>"
        )
    outer, _, inner = code.partition("/")
    sub = f"<s:Subcode><s:Value>{inner}</s:Value></s:Subcode>" if inner else ""
    return envelope(
        f"<s:Fault><s:Code><s:Value>{outer}</s:Value>{sub}</s:Code><s:Reason><s:Text>{text}</s:Text></s:Reason>"
        f"<s:Detail>{detail}</s:Detail></s:Fault>",
        version,
    )


PROBLEM = "<p:Problem xmlns:p='urn:p'><p:code>E7</p:code></p:Problem>"
LIMIT = "<f:ExceededConcurrentRequestLimitFault xmlns:f='urn:f'><code>X</code></f:ExceededConcurrentRequestLimitFault>"


@pytest.mark.parametrize(
    ("content", "status", "kind", "code"),
    [
        (fault("s:Client"), 500, Rejected, "Client"),
        (fault("s:Client"), 200, Rejected, "Client"),
        (fault("s:Client.NoPlant"), 500, Rejected, "NoPlant"),
        (fault("s:Client.Authentication"), 500, Unavailable, "authentication"),
        (fault("s:Client", detail=PROBLEM), 500, Rejected, "E7"),
        (fault("s:Sender", version="1.2"), 400, Rejected, "Client"),
        (fault("s:Sender/x:NoPlant", version="1.2"), 400, Rejected, "NoPlant"),
        (fault("s:Server"), 500, RetryLater, "Server"),
        (fault("soapenv:Server.userException"), 500, RetryLater, "userException"),
        (fault("s:Receiver", version="1.2"), 500, RetryLater, "Server"),
        (fault("s:Client", detail="<code>56/393</code>"), 500, RetryLater, "56/393"),
        (fault("s:MustUnderstand"), 500, Rejected, "MustUnderstand"),
        (fault("s:VersionMismatch"), 500, Rejected, "VersionMismatch"),
        (fault("E17"), 500, Rejected, "E17"),
        (fault(""), 500, Rejected, ""),
        (fault("s:Server", detail=LIMIT), 500, Throttled, "ExceededConcurrentRequestLimitFault"),
        (fault("s:Server", detail="<e><code>WS_REQUEST_BLOCKED</code></e>"), 500, Throttled, "WS_REQUEST_BLOCKED"),
        (fault("wsse:FailedAuthentication"), 500, Unavailable, "authentication"),
        (fault("s:Sender/wsse:InvalidSecurity", version="1.2"), 500, Unavailable, "authentication"),
        (fault("s:Client", detail="<n:InvalidCredentialsFault xmlns:n='urn:n'/>"), 500, Unavailable, "authentication"),
        (fault("wsse:MessageExpired"), 500, Unavailable, "authentication"),
        (fault("s:Client"), 401, Unavailable, "authentication"),
        (fault("s:Client"), 429, Throttled, "Client"),
        (fault("s:Client"), 503, Unavailable, "unavailable"),
        (fault("s:Client"), 504, Uncertain, "uncertain"),
        ("Bad Request", 400, Rejected, "400"),
        ("<html/>", 500, RetryLater, "500"),
    ],
)  # fmt: skip
def test_a_fault_means_what_its_code_says(content: str, status: int, kind: type, code: str) -> None:
    found = outcome(content, status)
    assert isinstance(found, kind)
    assert getattr(found, "code", "") == code


def test_a_faults_words_come_on_one_line_and_its_members_to_the_mapping() -> None:
    found = outcome(fault("s:Client", detail=PROBLEM), 500)
    assert isinstance(found, Rejected)
    assert found.message == "SOAP fault Client: no plant"
    assert found.answer is not None
    assert found.answer.body == {
        "fault": {"code": "Client", "message": "no plant", "detail": {"Problem": {"code": "E7"}}}
    }


def test_a_throttle_says_for_how_long() -> None:
    found = outcome(fault("s:Server", detail=LIMIT), 500, retry_after="7")
    assert isinstance(found, Throttled)
    assert found.after == 7.0


def test_a_case_is_judged_as_a_connection_would() -> None:
    body = {"fault": {"code": "Server", "subcodes": ["X"], "message": "m", "detail": {"a": {"code": "E1"}}}}
    found = registry.judged("soap", {}, Answer(500, {}, body))
    assert isinstance(found, RetryLater)
    assert found.code == "E1"
    assert isinstance(registry.judged("soap", {}, Answer(200, {}, {"fault": {"code": "Client"}})), Rejected)
    assert isinstance(registry.judged("soap", {}, Answer(200, {}, {"result": 1})), Delivered)


def test_a_fault_is_one_however_much_it_says() -> None:
    found = outcome(fault("s:Client", detail="<a/>" * 60_000), status=200)
    assert isinstance(found, Rejected)
    assert "no plant" in found.message


@pytest.mark.parametrize(
    ("content", "whole"), [("", True), (" ", True), (fault("s:Server", detail="<a/>" * 9)[:200], False)]
)
def test_what_the_wsdl_promises_and_does_not_come_is_uncertain(content: str, whole: bool) -> None:  # noqa: FBT001
    found = outcome(content, whole=whole)
    assert isinstance(found, Uncertain)
    assert ("the WSDL says that it answers" in found.message) == (not content.strip())
