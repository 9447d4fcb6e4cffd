"""What a simulated ERP knows of its documents: their fields, how long a text may be, which ones must be there. Pure.

So that a mapping that is wrong for the real ERP is refused here, too. Each simulator says it in its ERP's own words.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

_NUMBER = re.compile(r"-?\d{1,15}(\.\d+)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d(T00:00:00Z?)?")
_ODATA_2_DATE = re.compile(r"/Date\(-?\d+(\+\d{4})?\)/")


@dataclass(frozen=True, slots=True)
class Text:
    """At most `length` characters, 0: any number. options: the values it may have, none: any."""

    length: int = 0
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """scale: decimals at most. written: as OData 2 and NetSuite's ids want it, a text; else a JSON number."""

    scale: int = 6
    written: bool = False


@dataclass(frozen=True, slots=True)
class Day:
    """A date: of OData 2, `/Date(…)/`; else as ISO 8601 writes a day."""

    odata_2: bool = False


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, slots=True)
class Part:
    """An object inside, or a list of them. wrapper: the member that the list stands in, as NetSuite's `items`."""

    entity: "Entity"
    many: bool = False
    wrapper: str = ""
    filled: bool = False


Field = Text | Number | Day | Flag | Part
What = Literal["unknown", "missing", "long", "wrong"]


@dataclass(frozen=True, slots=True)
class Entity:
    """fields by name. required: those that a new one must have. ignored: read-only ones, which are taken and dropped."""

    fields: Mapping[str, Field]
    required: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a document, and where: `DocumentLines[0].ItemCode`. most: of a text that is too long."""

    what: What
    path: str
    value: Any = field(default=None, repr=False)
    most: int = 0

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2].partition("[")[0]


def first_flaw(entity: Entity, body: Any, *, new: bool = True) -> Flaw | None:
    """new: false for a change of what is there, which may leave out what is required."""
    return next(_flaws(entity, body, "", new=new), None)


def _flaws(entity: Entity, body: Any, path: str, *, new: bool) -> Iterator[Flaw]:
    if not isinstance(body, dict):
        yield Flaw("wrong", path, body)
        return
    for name, value in body.items():
        place = f"{path}.{name}" if path else name
        if name in entity.fields:
            if value is not None:
                yield from _in_field(entity.fields[name], value, place)
        elif name not in entity.ignored:
            yield Flaw("unknown", place, value)
    for name in entity.required if new else ():
        if body.get(name) in (None, ""):
            yield Flaw("missing", f"{path}.{name}" if path else name)


def _in_field(expected: Field, value: Any, path: str) -> Iterator[Flaw]:
    match expected:
        case Part():
            yield from _in_part(expected, value, path)
        case Text(length) if isinstance(value, str) and length and len(value) > length:
            yield Flaw("long", path, value, length)
        case _ if not _fits(expected, value):
            yield Flaw("wrong", path, value)


def _fits(expected: Field, value: Any) -> bool:
    match expected:
        case Text(_, options):
            return isinstance(value, str) and (not options or value in options)
        case Number():
            return _is_number(expected, value)
        case Day(odata_2):
            form = _ODATA_2_DATE if odata_2 else _DAY
            return isinstance(value, str) and form.fullmatch(value) is not None
        case _:
            return isinstance(value, bool)


def _is_number(expected: Number, value: Any) -> bool:
    if isinstance(value, bool) or isinstance(value, str) is not expected.written:
        return False
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return False
    if not isinstance(value, str | int | Decimal):
        return False
    return -int(Decimal(value).normalize().as_tuple().exponent) <= expected.scale


def _in_part(part: Part, value: Any, path: str) -> Iterator[Flaw]:
    if part.wrapper:
        if not isinstance(value, dict) or set(value) != {part.wrapper}:
            yield Flaw("wrong", path, value)
            return
        path, value = f"{path}.{part.wrapper}", value[part.wrapper]
    if not part.many:
        yield from _flaws(part.entity, value, path, new=True)
        return
    if not isinstance(value, list):
        yield Flaw("wrong", path, value)
        return
    if part.filled and not value:
        yield Flaw("missing", path)
    for index, item in enumerate(value):
        yield from _flaws(part.entity, item, f"{path}[{index}]", new=True)
