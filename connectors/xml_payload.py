"""An object as XML 1.0 text: names are elements, `@name` attributes, `#text` the text beside them. Pure.

A list repeats its element, null leaves it out. A value is text wherever it stands: markup cannot get in.

    {order: {"@id": 7, line: [{code: A}, {code: "<B>"}]}}
    <order id="7"><line><code>A</code></line><line><code>&lt;B&gt;</code></line></order>
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from html import escape
from typing import Any

from connectors.http_request import plain_number
from connectors.protocol import RequestInvalid

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
NIL = {"@xsi:nil": "true"}
XSI = "http://www.w3.org/2001/XMLSchema-instance"
DEEPEST = 100
_NAME = re.compile(r"[^\W\d][\w.-]*(:[^\W\d][\w.-]*)?")
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_document(tree: Any) -> str:
    """One element, with the declaration before it. Raises RequestInvalid."""
    if not isinstance(tree, Mapping):
        raise RequestInvalid("request.xml must be an object with one element")
    roots = [(name, value) for name, value in tree.items() if value is not None]
    if len(roots) != 1 or isinstance(roots[0][1], list):
        raise RequestInvalid(f"request.xml must have one element at its root, this has {len(roots)}")
    ((name, value),) = roots
    if _says_nil(value) and not _declares_xsi(value):
        value = {"@xmlns:xsi": XSI, **(value if isinstance(value, Mapping) else {"#text": value})}
    return DECLARATION + "".join(xml_elements(name, value))


def xml_elements(name: str, value: Any, path: str = "request.xml", depth: int = DEEPEST) -> Iterator[str]:
    """The element, as often as a list says. Raises RequestInvalid."""
    where = f"{path}.{name}"
    if not _NAME.fullmatch(name):
        raise RequestInvalid(f"{where}: {name!r} is no name that an element may have")
    if depth == 0:
        raise RequestInvalid(f"{where}: nested too deeply")
    for each in value if isinstance(value, list) else [value]:
        if each is not None:
            yield from _element(name, each, where, depth)


def _element(name: str, value: Any, where: str, depth: int) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"<{name}>{_content(xml_text(value, where))}</{name}>"
        return
    attributes = "".join(_attribute(key, each, where) for key, each in value.items() if key[:1] == "@")
    yield f"<{name}{attributes}>"
    for key, each in value.items():
        if key == "#text":
            yield "" if each is None else _content(xml_text(each, where))
        elif key[:1] != "@":
            yield from xml_elements(key, each, where, depth - 1)
    yield f"</{name}>"


def _attribute(key: str, value: Any, where: str) -> str:
    if value is None:
        return ""
    if not _NAME.fullmatch(key[1:]):
        raise RequestInvalid(f"{where}: {key!r} is no name that an attribute may have")
    return f' {key[1:]}="{_quoted(xml_text(value, f"{where}.{key}"))}"'


# not of xml.sax.saxutils, which loads an HTTP client, TLS and all: processes that render have no use for those
def _content(text: str) -> str:
    """A reader of XML would make a line feed of a carriage return."""
    return escape(text, quote=False).replace("\r", "&#13;")


def _quoted(text: str) -> str:
    """And a blank of every line's end (XML 1.0, 3.3.3)."""
    return _content(text).replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")


def xml_text(value: Any, where: str) -> str:
    """A value's text, not yet escaped. Raises RequestInvalid for what XML 1.0 cannot carry however it is written."""
    match value:
        case str():
            text = value
        case bool():
            text = "true" if value else "false"
        case int():
            text = str(value)
        case Decimal() if value.is_finite():
            text = plain_number(where, value)
        case _:
            raise RequestInvalid(f"{where} must be a text, a number or a boolean, not {type(value).__name__}")
    if (bad := _FORBIDDEN.search(text)) is not None:
        raise RequestInvalid(
            rf"{where} holds the character U+{ord(bad[0]):04X}, which XML does not have; write"
            r" … | regex_replace('[\x00-\x08\x0b\x0c\x0e-\x1f]', ' ')"
        )
    return text


def _says_nil(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "@xsi:nil" in value or any(map(_says_nil, value.values()))
    return isinstance(value, list) and any(map(_says_nil, value))


def _declares_xsi(value: Any) -> bool:
    return isinstance(value, Mapping) and "@xmlns:xsi" in value
