"""A SOAP answer as JSON values: by the WSDL's types where they say, else as they are. Never fails for what it says. Pure.

As `connectors.soap_envelope` reads elements; besides, what the WSDL says repeats is a list, also of one, and numbers and
booleans are such, with all their digits; dates are text as sent. zeep's own values would not do: its doubles are floats, and an answer that does not fit is an error there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zeep.utils import qname_attr
from zeep.xsd.elements import AnyAttribute, Element
from zeep.xsd.types import ComplexType
from zeep.xsd.types.simple import AnySimpleType

from connectors.safe_xml import local_name
from connectors.soap_envelope import DEEPEST, generic, put
from connectors.soap_leaves import ReadLeaf, leaf_reader
from connectors.wsdl_model import members
from connectors.xml_payload import XSI


class AnswerReader:
    """Of one WSDL. schema: zeep's."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._plans: dict[int, tuple[Any, _Plan]] = {}

    def value(self, node: Any, type_: Any, depth: int = DEEPEST) -> Any:
        """An element as a JSON value; type_: zeep's, or None."""
        if node.get(f"{{{XSI}}}nil") in ("true", "1"):
            return None
        type_ = self._said(node) or type_
        if depth == 0:
            return "".join(node.itertext())
        if isinstance(type_, ComplexType):
            return self._complex(node, self._plan(type_), depth)
        if isinstance(type_, AnySimpleType) and not len(node):
            return self._plan(type_).text(node.text or "")
        return generic(node, depth)

    def _said(self, node: Any) -> Any:
        """The type that the element says it has, if the WSDL knows it."""
        try:
            name = qname_attr(node, f"{{{XSI}}}type")
            return None if name is None else self._schema.get_type(name, fail_silently=True)
        except Exception:  # noqa: BLE001 — a prefix that is not declared, a name that is none: zeep raises either way
            return None

    def _complex(self, node: Any, plan: "_Plan", depth: int) -> Any:
        found: dict[str, Any] = {}
        for name, text in node.attrib.items():
            if not name.startswith(f"{{{XSI}}}"):
                found[f"@{local_name(name)}"] = plan.attributes.get(local_name(name), str)(text)
        if not len(node):
            if plan.is_text:
                found["#text"] = plan.text(node.text or "")
            elif node.text and node.text.strip():
                found["#text"] = node.text
            return found
        for child in node:
            name = local_name(child.tag)
            element = plan.elements.get(name)
            value = self.value(child, None if element is None else element.type, depth - 1)
            put(found, name, value, repeats=element is not None and name in plan.repeated)
        return found

    def _plan(self, type_: Any) -> "_Plan":
        held = self._plans.get(id(type_))
        if held is None:
            held = self._plans[id(type_)] = type_, _planned(type_)
        return held[1]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is asked of a type once. repeated: the names of elements that may come more than once."""

    elements: dict[str, Any]
    repeated: frozenset[str]
    attributes: dict[str, ReadLeaf]
    text: ReadLeaf
    is_text: bool


def _planned(type_: Any) -> _Plan:
    if not isinstance(type_, ComplexType):
        return _Plan({}, frozenset(), {}, leaf_reader(type_), is_text=True)
    content = type_._element  # noqa: SLF001 — zeep's only way to the content model
    attributes = {
        each.qname.localname: leaf_reader(each.type)
        for _, each in type_.attributes
        if not isinstance(each, AnyAttribute)
    }
    if isinstance(content, Element):
        return _Plan({}, frozenset(), attributes, leaf_reader(content.type), is_text=True)
    found = list(_elements(content, repeats=False))
    return _Plan(
        {element.name: element for element, _ in found},
        frozenset(element.name for element, repeats in found if repeats),
        attributes,
        str,
        is_text=False,
    )


def _elements(particle: Any, *, repeats: bool) -> Iterator[tuple[Any, bool]]:
    """All elements of a content model, and whether each may come more than once."""
    if particle is None:
        return
    repeats = repeats or particle.max_occurs != 1
    if isinstance(particle, Element):
        yield particle, repeats
    for each in members(particle):
        yield from _elements(each, repeats=repeats)
