"""XML from a tree: what a parser reads back is what stood in it, whatever that was."""

import re
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.protocol import RequestInvalid
from connectors.rest import prepare
from connectors.xml_payload import DECLARATION, xml_document

CHARACTERS = st.characters(codec="utf-8").filter(
    lambda character: re.fullmatch("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", character)
)
TEXTS = st.text(CHARACTERS)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,5}", fullmatch=True)
TREES = st.recursive(
    TEXTS,
    lambda inner: st.dictionaries(
        NAMES, inner | st.lists(inner.filter(lambda each: each is not None), max_size=3), max_size=3
    ),
    max_leaves=10,
)


def shown(tree: Any) -> str:
    return xml_document(tree).removeprefix(DECLARATION)


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"a": "x"}, "<a>x</a>"),
        ({"a": ""}, "<a></a>"),
        ({"a": Decimal("1E+3")}, "<a>1000</a>"),
        ({"a": True, "b": None}, "<a>true</a>"),
        ({"a": {"@id": 7, "#text": "x", "b": None, "c": [1, 2]}}, '<a id="7">x<c>1</c><c>2</c></a>'),
        ({"a": {"@id": None, "b": {}}}, "<a><b></b></a>"),
        ({"a": "<b>&\"']]>"}, "<a>&lt;b&gt;&amp;\"']]&gt;</a>"),
        ({"a": {"@b": "<\"'>&\n\t\r"}}, '<a b="&lt;&quot;\'&gt;&amp;&#10;&#9;&#13;"></a>'),
        ({"a": "1\r2\n3"}, "<a>1&#13;2\n3</a>"),
        ({"s:a": {"@xmlns:s": "urn:x", "s:b": "😀\\{"}}, '<s:a xmlns:s="urn:x"><s:b>😀\\{</s:b></s:a>'),
        (
            {"a": {"b": {"@xsi:nil": "true"}}},
            '<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><b xsi:nil="true"></b></a>',
        ),
    ],
)
def test_as_written(tree: dict[str, Any], text: str) -> None:
    assert shown(tree) == text
    ET.fromstring(xml_document(tree).encode())


@given(NAMES, TREES)
def test_what_is_read_back_is_what_stood_there(name: str, tree: Any) -> None:
    assert read(ET.fromstring(xml_document({name: tree}).encode())) == (name, normal(tree))


def read(element: ET.Element) -> Any:
    children = [read(child) for child in element]
    return element.tag, children or (element.text or "")


def normal(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    members = [(name, value if isinstance(value, list) else [value]) for name, value in tree.items()]
    return [(name, normal(each)) for name, values in members for each in values] or ""


@given(TEXTS)
def test_an_attribute_is_read_back_too(text: str) -> None:
    assert ET.fromstring(xml_document({"a": {"@b": text}}).encode()).attrib == {"b": text}


@given(st.characters(codec="utf-8"))
def test_every_character_is_written_or_refused(character: str) -> None:
    document, refused = "", ""
    try:
        document = xml_document({"a": character})
    except RequestInvalid as error:
        refused = str(error)
    if document:
        assert ET.fromstring(document.encode()).text == character
    else:
        assert f"U+{ord(character):04X}" in refused
        with pytest.raises(ET.ParseError):
            ET.fromstring(f"<a>{character}</a>")


def test_a_tree_too_deep_is_refused() -> None:
    tree: Any = "x"
    for _ in range(200):
        tree = {"a": tree}
    with pytest.raises(RequestInvalid, match="too deeply"):
        xml_document(tree)


@pytest.mark.parametrize(
    ("key", "value", "type_", "content"),
    [
        (
            "form",
            {"a": "x y&=", "b": [1, "ñ"], "c": None},
            "application/x-www-form-urlencoded",
            b"a=x%20y%26%3D&b=1&b=%C3%B1",
        ),
        ("xml", {"a": "ñ"}, "application/xml", f"{DECLARATION}<a>ñ</a>".encode()),
        ("text", "a;ñ\n", "text/plain; charset=utf-8", "a;ñ\n".encode()),
        ("body", {"a": "ñ"}, "application/json", '{"a":"ñ"}'.encode()),
    ],
)
def test_each_body_with_its_content_type(key: str, value: Any, type_: str, content: bytes) -> None:
    prepared = prepare({"method": "POST", "path": "/x", key: value}, "k")
    assert prepared.content == content
    assert prepared.parts["headers"]["Content-Type"] == type_
    assert prepared.to_json()["body"] == (value if key == "body" else content.decode())
    own = prepare({"method": "POST", "path": "/x", "headers": {"content-type": "text/csv"}, key: value}, "k")
    assert own.parts["headers"]["content-type"] == "text/csv"
    assert "Content-Type" not in own.parts["headers"]


def test_without_a_body_there_is_no_content_type() -> None:
    prepared = prepare({"method": "GET", "path": "/x"}, "k")
    assert (prepared.content, prepared.parts["body"]) == (b"", None)
    assert "Content-Type" not in prepared.parts["headers"]
