"""Writes a tree as the elements that a WSDL's types describe, in their order. Pure.

Names are elements, `@name` attributes, `#text` the text beside attributes; a list repeats its element; `nil` is
xsi:nil; `@xsi:type` names a derived type. What does not fit is an error that names the element.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lxml import etree
from zeep.exceptions import LookupError as NotInSchema
from zeep.exceptions import NamespaceError
from zeep.xsd.elements import Any as AnyElement
from zeep.xsd.elements import AnyAttribute, Choice, Element
from zeep.xsd.types import ComplexType
from zeep.xsd.types.simple import AnySimpleType

from connectors.protocol import RequestInvalid
from connectors.safe_xml import parse_xml
from connectors.soap_leaves import WriteLeaf, leaf_writer
from connectors.wsdl_model import members, one_of
from connectors.xml_payload import NIL, XSI, xml_elements, xml_text

DEEPEST = 100
_XSI_TYPE, _XSI_NIL = "@xsi:type", "@xsi:nil"
_TEXT = "#text"
_ENCODED = "{http://schemas.xmlsoap.org/soap/encoding/}"

MOST_STEPS = 500_000
"""Of an envelope, some of which an element takes that is not even there: half a second, in which nobody else is served."""
Source = dict[str, list[Any]]
"""What is still to be written of an object: values by name."""


@dataclass(frozen=True, slots=True)
class _Attribute:
    qname: str
    required: bool
    write: WriteLeaf


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is asked of a type once. text: where it has text and no elements; any: takes attributes it does not name."""

    attributes: Mapping[str, _Attribute]
    any_attribute: bool
    text: WriteLeaf | None


class ArgumentWriter:
    """Of one WSDL. schema: zeep's."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._left = MOST_STEPS
        self._leaves: dict[int, tuple[Any, WriteLeaf]] = {}
        self._plans: dict[int, tuple[Any, _Plan]] = {}
        self._names: dict[int, tuple[Any, frozenset[str]]] = {}

    def begin(self) -> None:
        """Another envelope."""
        self._left = MOST_STEPS

    def step(self, path: str) -> None:
        """Raises RequestInvalid where an envelope takes more than may be."""
        self._left -= 1
        if self._left < 0:
            raise RequestInvalid(
                f"{path}: the request is too large for what the WSDL says of it: a type with thousands of elements, "
                "thousands of times"
            )

    def element(self, parent: Any, element: Any, value: Any, path: str, depth: int = DEEPEST) -> None:
        """One element below `parent`, of which zeep's Element knows name and type. Raises RequestInvalid."""
        if depth == 0:
            raise RequestInvalid(f"{path}: nested too deeply")
        self.step(path)
        node = etree.SubElement(parent, element.qname)
        if isinstance(value, Mapping) and _XSI_NIL in value:
            if value != NIL or not element.nillable:
                raise RequestInvalid(f"{path} must not be nil: the WSDL does not say nillable; leave it out")
            node.set(f"{{{XSI}}}nil", "true")
            return
        type_ = element.type
        if isinstance(value, Mapping) and _XSI_TYPE in value:
            type_ = self._derived(value[_XSI_TYPE], path)
            node.set(f"{{{XSI}}}type", type_.qname)
            value = {name: each for name, each in value.items() if name != _XSI_TYPE}
        if isinstance(type_, AnySimpleType) and isinstance(value, Mapping) and list(value) == [_TEXT]:
            value = value[_TEXT]
        self._content(node, type_, value, path, depth)

    def _content(self, node: Any, type_: Any, value: Any, path: str, depth: int) -> None:
        if isinstance(type_, ComplexType):
            self.complex(node, type_, value, path, depth)
        elif isinstance(type_, AnySimpleType):
            if isinstance(value, Mapping):
                raise RequestInvalid(f'{path} must be one value, {{"#text": …}}, not an object of elements')
            node.text = self._leaf(type_)(value, path)
        elif isinstance(value, Mapping):
            _add_untyped(node, value, path)
        else:
            node.text = xml_text(value, path)

    def complex(self, node: Any, type_: Any, value: Any, path: str, depth: int = DEEPEST) -> None:
        """A complex type's attributes and content, into `node`. Raises RequestInvalid."""
        plan = self._plan(type_)
        if not isinstance(value, Mapping):
            if plan.text is None:
                raise RequestInvalid(f"{path} must be an object, not {_kind(value)}")
            value = {_TEXT: value}
        source: Source = {}
        for name, each in value.items():
            if each is not None and name[:1] != "@" and name != _TEXT:
                source[name] = [one for one in each if one is not None] if isinstance(each, list) else [each]
        self._attributes(node, plan, value, path)
        if plan.text is not None:
            if value.get(_TEXT) is not None:
                node.text = plan.text(value[_TEXT], path)
        elif value.get(_TEXT) is not None:
            raise RequestInvalid(f"{path} has elements, and so no #text")
        elif type_._element is not None:  # noqa: SLF001 — zeep's only way to the content model
            content = type_._element  # noqa: SLF001
            _Content(self, node, path, depth, self.names(content)).particle(content, source)
        if source:
            name = next(iter(source))
            known = frozenset() if type_._element is None else self.names(type_._element)  # noqa: SLF001
            raise RequestInvalid(f"{path}.{name}: the WSDL has no such element here{one_of(name, known)}")

    def _attributes(self, node: Any, plan: _Plan, value: Mapping[str, Any], path: str) -> None:
        for key, each in value.items():
            if key[:1] != "@" or each is None:
                continue
            attribute = plan.attributes.get(key[1:])
            if attribute is not None:
                node.set(attribute.qname, attribute.write(each, f"{path}.{key}"))
            elif plan.any_attribute and ":" not in key:
                node.set(key[1:], xml_text(each, f"{path}.{key}"))
            else:
                known = [f"@{name}" for name in plan.attributes]
                raise RequestInvalid(f"{path}.{key}: the WSDL has no such attribute here{one_of(key, known)}")
        for name, attribute in plan.attributes.items():
            if attribute.required and value.get(f"@{name}") is None:
                raise RequestInvalid(f"{path}.@{name} is missing")

    def _leaf(self, type_: Any) -> WriteLeaf:
        held = self._leaves.get(id(type_))
        if held is None:
            held = self._leaves[id(type_)] = type_, leaf_writer(type_)
        return held[1]

    def _plan(self, type_: Any) -> _Plan:
        held = self._plans.get(id(type_))
        if held is None:
            held = self._plans[id(type_)] = type_, self._planned(type_)
        return held[1]

    def _planned(self, type_: Any) -> _Plan:
        found: dict[str, _Attribute] = {}
        for _, each in type_.attributes:
            if not isinstance(each, AnyAttribute) and each.qname.namespace != _ENCODED[1:-1]:
                found[each.qname.localname] = _Attribute(
                    each.qname.text, bool(each.required), leaf_writer(each.type)
                )
        element = type_._element  # noqa: SLF001
        is_text = isinstance(element, Element) and isinstance(element.type, AnySimpleType)
        return _Plan(
            found,
            any(isinstance(each, AnyAttribute) for _, each in type_.attributes),
            leaf_writer(element.type) if is_text else None,
        )

    def names(self, particle: Any) -> frozenset[str]:
        """Of the elements that it has, whichever way down."""
        held = self._names.get(id(particle))
        if held is None:
            found = [particle.name] if isinstance(particle, Element) else _names_below(self, particle)
            held = self._names[id(particle)] = particle, frozenset(found)
        return held[1]

    def _derived(self, name: Any, path: str) -> Any:
        """`Name` where the WSDL has one type of that name, `{namespace}Name` where it has several."""
        if str(name).startswith("{"):
            try:
                found = [self._schema.get_type(str(name))]
            except (NotInSchema, NamespaceError, ValueError):
                found = []
        else:
            found = [each for each in self._schema.types if each.qname and each.qname.localname == name]
        own = [each for each in found if not str(each.qname).startswith("{http://www.w3.org/")] or found
        if len(own) != 1:
            how = "no type" if not own else "several types"
            raise RequestInvalid(f"{path}.{_XSI_TYPE}: the WSDL has {how} {name!r}; write {{namespace}}Name")
        return own[0]


def _names_below(writer: ArgumentWriter, particle: Any) -> Iterator[str]:
    for each in members(particle):
        yield from writer.names(each)


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of one element, on its way. named: the elements that its type names; others are for an xsd:any."""

    writer: ArgumentWriter
    node: Any
    path: str
    depth: int
    named: frozenset[str]

    def particle(self, particle: Any, source: Source) -> None:
        """Takes what it writes out of `source`."""
        self.writer.step(self.path)
        if isinstance(particle, Element):
            self._element(particle, source)
        elif isinstance(particle, AnyElement):
            self._any(particle, source)
        elif particle.min_occurs == 0 and not self._is_there(particle, source):
            return
        elif particle.max_occurs == 1:
            self._once(particle, source)
        else:
            self._repeated(particle, source)

    def _is_there(self, particle: Any, source: Source) -> bool:
        if not source.keys().isdisjoint(self.writer.names(particle)):
            return True
        return not source.keys() <= self.named and _has_any(particle)

    def _once(self, particle: Any, source: Source) -> None:
        if not isinstance(particle, Choice):
            for each in members(particle):
                self.particle(each, source)
            return
        # whether one has to be there zeep does not keep: the ERP says so
        there = [each for each in particle if self._is_there(each, source)]
        if there:
            self.particle(there[0], source)
            others = source.keys() & self.writer.names(particle)
            if others:
                raise RequestInvalid(f"{self.path}.{min(others)}: the WSDL allows only one of a choice here")

    def _repeated(self, particle: Any, source: Source) -> None:
        """Of a choice each value by itself, in the order written; of a sequence the first of each, then the second."""
        mine = {name: source.pop(name) for name in list(source) if name in self.writer.names(particle)}
        if isinstance(particle, Choice):
            rounds: list[Source] = [{name: [each]} for name, values in mine.items() for each in values]
        else:
            longest = max(map(len, mine.values()), default=0)
            rounds = [
                {name: values[at : at + 1] for name, values in mine.items() if at < len(values)}
                for at in range(longest)
            ]
        for each in rounds:
            self._once(particle, each)

    def _element(self, element: Any, source: Source) -> None:
        name = element.name
        values = source.pop(name, [])
        if not values and element.min_occurs and element.nillable:
            values = [NIL]
        if len(values) < element.min_occurs:
            raise RequestInvalid(f"{self.path}.{name} is missing")
        if element.max_occurs != "unbounded" and len(values) > element.max_occurs:
            raise RequestInvalid(f"{self.path}.{name}: the WSDL takes at most {element.max_occurs} of it")
        for at, value in enumerate(values):
            place = f"{self.path}.{name}" if element.max_occurs == 1 else f"{self.path}.{name}[{at}]"
            self.writer.element(self.node, element, value, place, self.depth - 1)

    def _any(self, particle: Any, source: Source) -> None:
        values = {name: source.pop(name) for name in list(source) if name not in self.named}
        if not values and particle.min_occurs:
            raise RequestInvalid(f"{self.path} needs an element of one's own choice here")
        _add_untyped(self.node, values, self.path)


def _has_any(particle: Any) -> bool:
    return isinstance(particle, AnyElement) or any(map(_has_any, members(particle)))


def _add_untyped(node: Any, tree: Mapping[str, Any], path: str) -> None:
    """Elements that no type describes, as `xml` writes them."""
    for child in untyped_elements(tree, path):
        node.append(child)


def untyped_elements(tree: Mapping[str, Any], path: str) -> list[Any]:
    """Elements of a tree as `connectors.xml_payload` writes one. Raises RequestInvalid."""
    written = "".join("".join(xml_elements(name, each, path)) for name, each in tree.items())
    try:
        root = parse_xml(f'<x xmlns:xsi="{XSI}">{written}</x>'.encode())
    except ValueError as error:
        raise RequestInvalid(f"{path}: {error}") from None
    return list(root)


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "a boolean"
        case str():
            return "a text"
        case int() | Decimal():
            return "a number"
        case list():
            return "a list"
        case _:
            return type(value).__name__
