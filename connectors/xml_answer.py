"""An XML answer as the tree that mappings read, the counterpart of `connectors.xml_payload`. Pure.

Namespaces are left out, since every server chooses its own prefixes. An element with nothing but text is its text, `@name`
an attribute, `#text` the text beside attributes; elements of one name are a list, `xsi:nil` and OData's `m:null` are null.

    <m:error xmlns:m="…"><m:code>MEPO/393</m:code><m:message xml:lang="en">Blocked</m:message></m:error>
    {error: {code: MEPO/393, message: {"@lang": en, "#text": Blocked}}}

A document with a DOCTYPE is not read at all: so there are no entities but XML's own five, and nothing is fetched.
"""

from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

DEEPEST = 100
MOST_ELEMENTS = 20_000
"""Some tens of milliseconds: nobody else's deliveries wait any longer for one ERP's answer."""
_NULLS = frozenset({"nil", "null"})


class XmlUnread(ValueError):
    """It is no XML, or none that is read."""


def xml_tree(document: bytes | str) -> dict[str, Any]:
    """The root element under its name. bytes: in the encoding that they declare. Raises XmlUnread."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(document, True)  # noqa: FBT003 — that it is the last of it; the parser takes it by place alone
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise XmlUnread(str(error)) from None
    return reader.document.children


@dataclass(slots=True)
class _Element:
    name: str = ""
    is_null: bool = False
    children: dict[str, Any] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def value(self) -> Any:
        text = "".join(self.texts).strip()
        if self.is_null and not text:
            return None
        if not self.children:
            return text
        return {**self.children, "#text": text} if text else self.children

    def add(self, name: str, value: Any) -> None:
        if name not in self.children:
            self.children[name] = value
        elif isinstance(self.children[name], list):
            self.children[name].append(value)
        else:
            self.children[name] = [self.children[name], value]


class _Reader:
    def __init__(self) -> None:
        self.document = _Element()
        self._open = [self.document]
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) > DEEPEST or self._count > MOST_ELEMENTS:
            raise XmlUnread(f"deeper than {DEEPEST}, or more than {MOST_ELEMENTS} elements")
        element = _Element(_local(name))
        for key, text in attributes.items():
            if _local(key) in _NULLS and text in {"true", "1"}:
                element.is_null = True
            elif key != "xmlns" and not key.startswith("xmlns:"):
                element.children[f"@{_local(key)}"] = text
        self._open.append(element)

    def text(self, text: str) -> None:
        self._open[-1].texts.append(text)

    def end(self, _name: str) -> None:
        element = self._open.pop()
        self._open[-1].add(element.name, element.value())


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _refuse_doctype(*_told: object) -> None:
    raise XmlUnread("it has a DOCTYPE")
