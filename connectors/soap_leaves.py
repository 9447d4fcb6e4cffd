"""A value as the text of a simple XML Schema type, and back: digits as they are, never a float in between. Pure.

Lexical forms: XML Schema Part 2, 3.2 and 3.3. Nothing is guessed: a date is no dateTime, and `yes` no boolean.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from zeep.xsd.types import builtins
from zeep.xsd.types.collection import ListType, UnionType

from connectors.protocol import RequestInvalid
from connectors.xml_payload import xml_text

_ZONE = r"(Z|[+-]\d\d:\d\d)?"
_TIME = r"\d\d:\d\d:\d\d(\.\d+)?"
_DATE = r"-?\d{4,}-\d\d-\d\d"
_INTEGER = re.compile(r"[+-]?\d{1,1000}")
_DECIMAL = re.compile(r"[+-]?(\d{1,1000}(\.\d{0,1000})?|\.\d{1,1000})")
_FLOAT = re.compile(r"[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,4})?|-?INF|NaN")
_FORMS: tuple[tuple[type, re.Pattern[str], str], ...] = (
    (builtins.Integer, _INTEGER, "a whole number"),
    (builtins.Decimal, _DECIMAL, "a number"),
    (builtins.Float, _FLOAT, "a number"),
    (builtins.Double, _FLOAT, "a number"),
    (
        builtins.DateTime,
        re.compile(f"{_DATE}T{_TIME}{_ZONE}"),
        "a dateTime such as 2026-11-24T03:28:19Z; make one of a date with … ~ 'T00:00:00'",
    ),
    (
        builtins.Date,
        re.compile(f"{_DATE}{_ZONE}"),
        "a date such as 2026-11-24; make one of a time with … | date_format('%Y-%m-%d')",
    ),
    (builtins.Time, re.compile(f"{_TIME}{_ZONE}"), "a time such as 03:28:19"),
    (builtins.Duration, re.compile(r"-?P[\dYMDTHS.]+"), "a duration such as P1DT2H"),
    (
        builtins.Base64Binary,
        re.compile(r"[A-Za-z0-9+/\s]*+=?\s*+=?\s*+"),
        "base64",
    ),
    (builtins.HexBinary, re.compile(r"([0-9A-Fa-f]{2})*"), "pairs of hexadecimal digits"),
)
_RANGES: tuple[tuple[type, int | None, int | None], ...] = (
    (builtins.Byte, -(2**7), 2**7 - 1),
    (builtins.Short, -(2**15), 2**15 - 1),
    (builtins.Int, -(2**31), 2**31 - 1),
    (builtins.Long, -(2**63), 2**63 - 1),
    (builtins.UnsignedByte, 0, 2**8 - 1),
    (builtins.UnsignedShort, 0, 2**16 - 1),
    (builtins.UnsignedInt, 0, 2**32 - 1),
    (builtins.UnsignedLong, 0, 2**64 - 1),
    (builtins.PositiveInteger, 1, None),
    (builtins.NonNegativeInteger, 0, None),
    (builtins.NegativeInteger, None, -1),
    (builtins.NonPositiveInteger, None, 0),
)

WriteLeaf = Callable[[Any, str], str]
"""value, path → its text. Raises RequestInvalid."""
ReadLeaf = Callable[[str], Any]
"""What the ERP wrote → JSON value. Never fails: what is not of its type stays text."""


def leaf_writer(type_: Any) -> WriteLeaf:
    """What writes values of a simple type."""
    if isinstance(type_, ListType):
        item = leaf_writer(type_.item_type)
        return lambda value, path: " ".join(
            item(each, path) for each in (value if isinstance(value, list) else [value])
        )
    if isinstance(type_, UnionType):
        return xml_text
    if isinstance(type_, builtins.Boolean):
        return _boolean
    for kind, form, words in _FORMS:
        if isinstance(type_, kind):
            return _checked(form, words, _range_of(type_))
    return xml_text


def _range_of(type_: Any) -> tuple[int | None, int | None]:
    return next(((low, high) for kind, low, high in _RANGES if isinstance(type_, kind)), (None, None))


def _checked(form: re.Pattern[str], words: str, limits: tuple[int | None, int | None]) -> WriteLeaf:
    low, high = limits

    def write(value: Any, path: str) -> str:
        if isinstance(value, bool):
            raise RequestInvalid(f"{path} must be {words}, not a boolean")
        if form is _INTEGER and isinstance(value, Decimal) and _is_whole(value):
            value = int(value)
        text = xml_text(value, path).strip()
        if not form.fullmatch(text):
            raise RequestInvalid(f"{path} must be {words}, this is {text[:80]!r}")
        if (low is not None and int(text) < low) or (high is not None and int(text) > high):
            raise RequestInvalid(f"{path} must be from {_bound(low)} to {_bound(high)}, this is {text[:80]}")
        return text

    return write


def _is_whole(value: Decimal) -> bool:
    """And of a size that an int may have, which 1e999999999 is not."""
    return value.adjusted() < 1_000 and value == value.to_integral_value()


def _bound(limit: int | None) -> str:
    return "anything" if limit is None else str(limit)


def _boolean(value: Any, path: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value in ("true", "false", "1", "0"):
        return str(value)
    raise RequestInvalid(f"{path} must be true or false, this is {str(value)[:80]!r}")


def leaf_reader(type_: Any) -> ReadLeaf:
    """What reads values of a simple type: numbers and booleans as such, all else as the text that was sent."""
    match type_:
        case ListType():
            item = leaf_reader(type_.item_type)
            return lambda text: [item(each) for each in text.split()]
        case builtins.Boolean():
            return lambda text: {"true": True, "1": True, "false": False, "0": False}.get(text.strip(), text)
        case builtins.Integer():
            return _integer
        case builtins.Decimal() | builtins.Float() | builtins.Double():
            return _decimal
        case _:
            return lambda text: text


def _integer(text: str) -> Any:
    digits = text.strip()
    return int(digits) if _INTEGER.fullmatch(digits) else text


def _decimal(text: str) -> Any:
    digits = text.strip()
    return Decimal(digits) if _FLOAT.fullmatch(digits) and "INF" not in digits and digits != "NaN" else text
