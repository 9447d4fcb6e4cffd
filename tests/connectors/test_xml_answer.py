"""What an ERP answers in XML, as mappings read it; and what is not read of it."""

import time
from typing import Any

import pytest

from connectors.answers import read_answer
from connectors.xml_answer import DEEPEST, MOST_ELEMENTS, XmlUnread, xml_tree

ATOM_ERROR = b"""<?xml version="1.0" encoding="utf-8"?>
<m:error xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">
  <m:code>MEPO/393</m:code><m:message xml:lang="en">Blocked &lt;PLANNER1&gt;</m:message>
</m:error>"""


@pytest.mark.parametrize(
    ("document", "tree"),
    [
        (
            ATOM_ERROR,
            {"error": {"code": "MEPO/393", "message": {"@lang": "en", "#text": "Blocked <PLANNER1>"}}},
        ),
        ("<a/>", {"a": ""}),
        ("<a> b\n</a>", {"a": "b"}),
        ("<a><b>1</b><c/><b>2</b><b x='3'/></a>", {"a": {"b": ["1", "2", {"@x": "3"}], "c": ""}}),
        ("<a xmlns:i='urn:x'><b i:nil='true'/><c null='false'/></a>", {"a": {"b": None, "c": {"@null": "false"}}}),
        ("<a>x<b>y</b>z</a>", {"a": {"b": "y", "#text": "xz"}}),
        ("<a><![CDATA[<&>]]>&#8364;</a>", {"a": "<&>€"}),
        ("<é>ü</é>".encode("utf-16"), {"é": "ü"}),
        ('<?xml version="1.0" encoding="iso-8859-1"?><a>é</a>'.encode("latin-1"), {"a": "é"}),
    ],
)  # fmt: skip
def test_an_answer_in_xml_is_a_tree(document: bytes | str, tree: Any) -> None:
    assert xml_tree(document) == tree


LAUGHS = b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>'
FETCHES = b'<!DOCTYPE a SYSTEM "http://169.254.169.254/latest"><a/>'
READS = b'<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><a>&f;</a>'


@pytest.mark.parametrize(
    "document",
    [
        LAUGHS,
        FETCHES,
        READS,
        b"<!DOCTYPE a><a/>",
        b"<a>&undefined;</a>",
        b"<a>",
        b"<a/><b/>",
        b"",
        b"{}",
        b'<?xml version="1.0" encoding="rot13"?><a/>',
        b'<?xml version="1.0" encoding="nonsense"?><a/>',
        b"<a>" * (DEEPEST + 1) + b"</a>" * (DEEPEST + 1),
        b"<a>" + b"<b/>" * MOST_ELEMENTS + b"</a>",
    ],
    ids=lambda document: repr(document)[:40],
)
def test_what_could_do_harm_or_is_none_is_not_read(document: bytes) -> None:
    with pytest.raises(XmlUnread):
        xml_tree(document)
    shown = read_answer(400, [("content-type", "application/xml")], document, truncated=False).body
    assert shown == (document.decode() or None)


def test_as_deep_and_as_many_as_are_read_take_no_time() -> None:
    began = time.process_time()
    xml_tree(b"<a>" + b"<b c='d'/>" * (MOST_ELEMENTS - 1) + b"</a>")
    xml_tree(b"<a>" * DEEPEST + b"</a>" * DEEPEST)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("kind", "content", "body"),
    [
        ("application/atom+xml;type=entry", b"<entry><id>7</id></entry>", {"entry": {"id": "7"}}),
        ("text/xml; charset=ISO-8859-1", "<a>é</a>".encode("latin-1"), {"a": "é"}),
        ("text/plain", b'\n<?xml version="1.0"?><a/>', '\n<?xml version="1.0"?><a/>'),
        ("text/plain", b'<?xml version="1.0"?><a/>', {"a": ""}),
        ("text/plain", b"<a/>", "<a/>"),
        ("application/xhtml+xml", b"<html><body>Oops</body></html>", "<html><body>Oops</body></html>"),
        ("application/json", b'{"a": 1}', {"a": 1}),
    ],
)
def test_what_counts_as_xml(kind: str, content: bytes, body: Any) -> None:
    assert read_answer(200, [("content-type", kind)], content, truncated=False).body == body
