"""What a tree becomes as the WSDL's elements, and what is said about one that does not fit."""

import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from connectors.protocol import Delivered, RequestInvalid
from connectors.soap_service import Heard
from tests.connectors.wsdl_texts import parts, service, wsdl

NIL = {"@xsi:nil": "true"}


def leaf(type_: str) -> str:
    return f'<xs:sequence><xs:element name="a" type="{type_}" minOccurs="0"/></xs:sequence>'


def sequence(*elements: str) -> str:
    return f"<xs:sequence>{''.join(elements)}</xs:sequence>"


def element(name: str, type_: str = "xs:string", **more: str) -> str:
    return f'<xs:element name="{name}" type="{type_}" {" ".join(f"{key}={value!r}" for key, value in more.items())}/>'


def body(content: str, arguments: Any, more: str = "") -> str:
    """The content of the operation's element, prefixes taken out."""
    message = service(wsdl(content, more)).message(parts(arguments))
    text = message.content().decode()
    found = re.search(r"<soap:Body><ns\d:Do[^>]*?(?:/>|>(.*)</ns\d:Do>)</soap:Body>", text)
    assert found, text
    return re.sub(r' xmlns:\w+="[^"]*"|(?<=[</])ns\d:', "", found[1] or "")


@pytest.mark.parametrize(
    ("type_", "value", "written"),
    [
        ("xs:decimal", Decimal("1273.10"), "1273.10"),
        ("xs:decimal", Decimal("1E+3"), "1000"),
        ("xs:decimal", "0.10", "0.10"),
        ("xs:int", 7, "7"),
        ("xs:int", Decimal("2.0"), "2"),
        ("xs:long", 2**62, str(2**62)),
        ("xs:double", Decimal("0.1"), "0.1"),
        ("xs:double", "INF", "INF"),
        ("xs:boolean", True, "true"),
        ("xs:boolean", "0", "0"),
        ("xs:date", "2026-11-24", "2026-11-24"),
        ("xs:dateTime", "2026-11-24T03:28:19.832462Z", "2026-11-24T03:28:19.832462Z"),
        ("xs:time", "03:28:19", "03:28:19"),
        ("xs:string", 'a <b> & "c" Ñ', 'a &lt;b&gt; &amp; "c" Ñ'),
        ("xs:string", 7, "7"),
        ("xs:string", True, "true"),
        ("xs:base64Binary", "AAE=", "AAE="),
        ("xs:hexBinary", "0aFF", "0aFF"),
        ("xs:gYear", "2026", "2026"),
        ("xs:duration", "P1DT2H", "P1DT2H"),
        ("xs:anyType", "x", "x"),
    ],
)
def test_a_value_is_written_as_its_type_has_it(type_: str, value: Any, written: str) -> None:
    assert body(leaf(type_), {"a": value}) == f"<a>{written}</a>"


@pytest.mark.parametrize(
    ("type_", "value", "says"),
    [
        ("xs:decimal", "1,5", "must be a number, this is '1,5'"),
        ("xs:decimal", True, "must be a number, not a boolean"),
        ("xs:int", Decimal("2.5"), "must be a whole number"),
        ("xs:int", 2**31, "must be from -2147483648 to 2147483647"),
        ("xs:unsignedByte", -1, "must be from 0 to 255"),
        ("xs:boolean", "yes", "must be true or false"),
        ("xs:date", "2026-11-24T00:00:00Z", "must be a date such as 2026-11-24; make one of a time"),
        ("xs:dateTime", "2026-11-24", "must be a dateTime"),
        ("xs:base64Binary", "a-b", "must be base64"),
        ("xs:base64Binary", "a" + " " * 20_000 + "-", "must be base64"),
        ("xs:integer", Decimal("1E+999999999"), "is a number of more than 200000 digits"),
        ("xs:string", {"b": 1}, "must be one value, "),
        ("xs:string", "a\x00b", "U+0000"),
        ("xs:string", ["a", "b"], "takes at most 1 of it"),
    ],
)
def test_what_is_not_of_its_type_is_named(type_: str, value: Any, says: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        body(leaf(type_), {"a": value})
    assert str(caught.value).startswith("request.arguments.a")
    assert says in str(caught.value)


LINES = sequence(
    element("line", "t:Line", maxOccurs="unbounded"),
    element("note", minOccurs="0"),
)
LINE = f"""<xs:complexType name="Line">{sequence(element("code"), element("quantity", "xs:decimal", minOccurs="0"))}
<xs:attribute name="unit" type="xs:string"/><xs:attribute name="id" type="xs:int" use="required"/></xs:complexType>"""


def test_elements_stand_in_the_wsdls_order_whatever_the_trees() -> None:
    tree = {
        "note": "n",
        "line": [{"quantity": 2, "code": "A", "@id": 1}, {"@id": 2, "@unit": "kg", "code": "B"}],
    }
    written = (
        '<line id="1"><code>A</code><quantity>2</quantity></line><line id="2" unit="kg"><code>B</code></line>'
    )
    assert body(LINES, tree, LINE) == f"{written}<note>n</note>"


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({}, "request.arguments.line is missing"),
        ({"line": []}, "request.arguments.line is missing"),
        ({"line": {"@id": 1}}, "request.arguments.line[0].code is missing"),
        ({"line": [{"@id": 1, "code": "A"}, {"code": "A"}]}, "request.arguments.line[1].@id is missing"),
        ({"line": {"@id": "x", "code": "A"}}, "request.arguments.line[0].@id must be a whole number"),
        ({"line": {"@id": 1, "@units": "kg", "code": "A"}}, "line[0].@units: the WSDL has no such attribute here; did you mean '@unit'?"),
        ({"line": {"@id": 1, "code": "A", "quantitiy": 1}}, "line[0].quantitiy: the WSDL has no such element here; did you mean 'quantity'?"),
        ({"line": "A"}, "request.arguments.line[0] must be an object, not a text"),
        ({"line": {"@id": 1, "#text": "A", "code": "A"}}, "has elements, and so no #text"),
    ],
)  # fmt: skip
def test_what_the_wsdl_has_otherwise_is_named_with_its_place(tree: Any, says: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        body(LINES, tree, LINE)
    assert says in str(caught.value)


def test_null_leaves_out_and_nil_says_so() -> None:
    content = sequence(element("a", minOccurs="0"), element("b", nillable="true", minOccurs="0"))
    assert body(content, {"a": None, "b": NIL}) == '<b xsi:nil="true"/>'
    with pytest.raises(RequestInvalid, match=r"arguments\.a must not be nil"):
        body(content, {"a": NIL})


def test_a_required_element_that_may_be_nil_is_nil_where_it_is_left_out() -> None:
    assert body(sequence(element("b", nillable="true")), {}) == '<b xsi:nil="true"/>'


def test_of_a_choice_there_is_one() -> None:
    content = sequence("<xs:choice>", element("a"), element("b"), "</xs:choice>", element("c"))
    assert body(content, {"c": 1, "b": 2}) == "<b>2</b><c>1</c>"
    assert body(content, {"c": 1, "b": ""}) == "<b></b><c>1</c>"
    with pytest.raises(RequestInvalid, match=r"arguments\.b: the WSDL allows only one of a choice"):
        body(content, {"a": 1, "b": 2, "c": 1})


def test_a_choice_that_repeats_takes_all_in_the_order_written() -> None:
    content = f'<xs:choice maxOccurs="unbounded">{element("a")}{element("b")}</xs:choice>'
    assert body(content, {"b": ["1", "2"], "a": "3"}) == "<b>1</b><b>2</b><a>3</a>"


def test_a_sequence_that_repeats_takes_the_first_of_each_then_the_second() -> None:
    content = f'<xs:sequence maxOccurs="unbounded">{element("a")}{element("b")}</xs:sequence>'
    assert body(content, {"a": ["1", "2"], "b": ["3", "4"]}) == "<a>1</a><b>3</b><a>2</a><b>4</b>"
    with pytest.raises(RequestInvalid, match=r"arguments\.b is missing"):
        body(content, {"a": ["1", "2"], "b": ["3"]})


def test_a_derived_type_is_named() -> None:
    more = f"""<xs:complexType name="Base">{sequence(element("a"))}</xs:complexType>
    <xs:complexType name="More"><xs:complexContent><xs:extension base="t:Base">{sequence(element("b"))}
    </xs:extension></xs:complexContent></xs:complexType>"""
    content = sequence(element("x", "t:Base"))
    assert re.sub(r"ns\d:", "", body(content, {"x": {"@xsi:type": "More", "b": 2, "a": 1}}, more)) == (
        '<x xsi:type="More"><a>1</a><b>2</b></x>'
    )
    with pytest.raises(RequestInvalid, match="no type 'Mare'"):
        body(content, {"x": {"@xsi:type": "Mare"}}, more)


def test_text_with_attributes() -> None:
    more = """<xs:complexType name="Q"><xs:simpleContent><xs:extension base="xs:decimal">
    <xs:attribute name="unit" type="xs:string"/></xs:extension></xs:simpleContent></xs:complexType>"""
    content = sequence(element("q", "t:Q"))
    assert body(content, {"q": {"@unit": "kg", "#text": Decimal("1.50")}}, more) == '<q unit="kg">1.50</q>'
    assert body(content, {"q": 2}, more) == "<q>2</q>"
    with pytest.raises(RequestInvalid, match=r"arguments\.q must be a number"):
        body(content, {"q": {"#text": "two"}}, more)


def test_any_takes_what_no_type_names() -> None:
    content = sequence(element("a"), '<xs:any minOccurs="0" maxOccurs="unbounded"/>', element("b"))
    assert body(content, {"b": 1, "x": {"@id": 1, "y": ["<", 2]}, "a": 0}) == (
        '<a>0</a><x id="1"><y>&lt;</y><y>2</y></x><b>1</b>'
    )


def test_groups_and_what_contains_itself() -> None:
    more = f"""<xs:group name="G">{sequence(element("a"), element("b", minOccurs="0"))}</xs:group>
    <xs:complexType name="Node">{sequence('<xs:group ref="t:G"/>', element("child", "t:Node", minOccurs="0"))}</xs:complexType>"""
    tree = {"n": {"a": 1, "child": {"a": 2, "b": 3}}}
    assert (
        body(sequence(element("n", "t:Node")), tree, more) == "<n><a>1</a><child><a>2</a><b>3</b></child></n>"
    )


def test_unqualified_elements_have_no_namespace() -> None:
    message = service(wsdl(sequence(element("a")), form="unqualified")).message(parts({"a": 1}))
    assert b"<a>1</a>" in message.content()


def test_an_unknown_operation_names_those_there_are() -> None:
    with pytest.raises(RequestInvalid, match="no operation 'Doo'; did you mean 'Do'"):
        service(wsdl(leaf("xs:int"))).message(parts({}) | {"operation": "Doo"})


def test_headers_are_elements_of_the_wsdl_or_say_their_namespace() -> None:
    more = element("Session", "t:Session") + (
        f'<xs:complexType name="Session">{sequence(element("company", "xs:int"))}</xs:complexType>'
    )
    headers = {"Session": {"company": 7}, "h:Trace": {"@xmlns:h": "urn:h", "#text": "1"}}
    text = service(wsdl(leaf("xs:int"), more)).message(parts({}, headers)).content().decode()
    assert re.search(
        r"<(ns\d):Session[^>]*><\1:company>7</\1:company></\1:Session><h:Trace xmlns:h=\"urn:h\"[^>]*>1</h:Trace>",
        text,
    )
    with pytest.raises(
        RequestInvalid, match=r"request\.headers\.Sesion: the WSDL has no element of this name"
    ):
        service(wsdl(leaf("xs:int"), more)).message(parts({}, {"Sesion": {"company": 7}}))
    with pytest.raises(RequestInvalid, match=r"request\.headers\.Session\.company must be a whole number"):
        service(wsdl(leaf("xs:int"), more)).message(parts({}, {"Session": {"company": "x"}}))


def test_addressing_gives_every_attempt_the_same_message_id() -> None:
    text = service(wsdl(leaf("xs:int")), "https://erp.example/ws").message(parts({})).content().decode()
    assert "<wsa:Action xmlns:wsa" in text
    assert ">urn:test/T/Do</wsa:Action>" in text
    assert ">urn:uuid:548b9659-56f9-5376-97e5-cd1b1888ec78</wsa:MessageID>" in text
    assert ">https://erp.example/ws</wsa:To>" in text


@pytest.mark.parametrize(
    ("version", "content_type", "action"),
    [
        ("soap", "text/xml; charset=utf-8", '"urn:do"'),
        ("soap12", 'application/soap+xml; charset=utf-8; action="urn:do"', None),
    ],
)
def test_each_version_says_its_action_its_own_way(
    version: str, content_type: str, action: str | None
) -> None:
    headers = service(wsdl(leaf("xs:int"), soap=version)).message(parts({})).headers
    assert headers["Content-Type"] == content_type
    assert headers.get("SOAPAction") == action
    assert headers["Idempotency-Key"] == "f:0/1:1/acme/orders"


RPC = """<w:definitions xmlns:w="http://schemas.xmlsoap.org/wsdl/" xmlns:t="urn:test" targetNamespace="urn:test"
  xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:xs="http://www.w3.org/2001/XMLSchema">
<w:types><xs:schema targetNamespace="urn:test" elementFormDefault="qualified">
<xs:complexType name="Line"><xs:sequence><xs:element name="code" type="xs:string"/></xs:sequence></xs:complexType>
</xs:schema></w:types>
<w:message name="in"><w:part name="id" type="xs:int"/><w:part name="line" type="t:Line"/></w:message>
<w:message name="out"><w:part name="result" type="xs:decimal"/></w:message>
<w:portType name="T"><w:operation name="Do"><w:input message="t:in"/><w:output message="t:out"/></w:operation></w:portType>
<w:binding name="B" type="t:T"><s:binding style="rpc" transport="http://schemas.xmlsoap.org/soap/http"/>
<w:operation name="Do"><s:operation soapAction=""/><w:input><s:body use="literal" namespace="urn:calls"/></w:input>
<w:output><s:body use="literal" namespace="urn:calls"/></w:output></w:operation></w:binding>
<w:service name="S"><w:port name="P" binding="t:B"><s:address location="http://x/"/></w:port></w:service>
</w:definitions>"""


def test_rpc_wraps_its_parts_in_the_operation() -> None:
    one = service(RPC)
    message = one.message(parts({"line": {"code": "A"}, "id": 7}))
    text = re.sub(r' xmlns:\w+="[^"]*"', "", message.content().decode())
    assert "<soap:Body><ns0:Do><id>7</id><line><ns1:code>A</ns1:code></line></ns0:Do></soap:Body>" in text
    assert b'xmlns:ns0="urn:calls"' in message.content()
    assert message.headers["SOAPAction"] == '""'
    with pytest.raises(RequestInvalid, match=r"request\.arguments\.line is missing"):
        one.message(parts({"id": 7}))
    answer = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><c:DoAnswer xmlns:c="urn:calls">'
        "<result>1.50</result></c:DoAnswer></s:Body></s:Envelope>"
    )
    heard = Heard(200, [("content-type", "text/xml")], answer.encode(), whole=True)
    outcome = one.outcome(message.operation, heard, datetime(2026, 11, 24, tzinfo=UTC))
    assert isinstance(outcome, Delivered)
    assert outcome.answer is not None
    assert outcome.answer.body == {"result": Decimal("1.50")}


def test_an_operation_without_a_name_is_none_that_could_have_been_meant() -> None:
    nameless = wsdl("<xs:sequence/>").replace('operation name="Do"', "operation")
    with pytest.raises(RequestInvalid, match="the WSDL has no operation 'Do'"):
        service(nameless).message(parts({}))


def test_what_would_take_all_others_time_is_refused() -> None:
    line = sequence(*(element(f"e{at}", minOccurs="0") for at in range(1_000)))
    lines = element("line", "t:Line", maxOccurs="unbounded")
    content, more = sequence(lines), f'<xs:complexType name="Line">{line}</xs:complexType>'
    few = [{"e7": at} for at in range(20)]
    assert body(content, {"line": few}, more).count("<e7>") == 20
    began = time.process_time()
    with pytest.raises(RequestInvalid, match="too large for what the WSDL says of it"):
        body(content, {"line": few * 500}, more)
    assert time.process_time() - began < 5
