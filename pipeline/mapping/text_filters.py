"""Filters over texts. Numbers are written out first; null stays null (see `filters.NULL_STAYS`)."""

import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from html import escape as escape_xml
from typing import Any
from urllib.parse import quote

import jinja2.filters
import re2  # type: ignore[import-untyped]  # google-re2 brings no types
from jinja2 import Environment
from markupsafe import Markup
from markupsafe import escape as escape_markup

from connectors.protocol import RequestInvalid
from connectors.xml_payload import xml_text
from eventbus.event import encode_json
from pipeline.mapping.arithmetic import EXACT
from pipeline.mapping.errors import EvaluationError, invalid_value, limit_passed
from pipeline.mapping.syntax import SyntaxInvalid
from pipeline.mapping.values import (
    MAX_DIGITS,
    MAX_TEXT,
    Measure,
    Value,
    bounded_text,
    decimal_text,
    integer_text,
    is_number,
    kind_of,
    text_of,
)

_JINJA = Environment(autoescape=False)  # noqa: S701 — carries Jinja's policies to its filters; renders nothing
MAX_REGEX_TEXT = 100_000
_NUMBER = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?\s*", re.ASCII)
_FORMAT = re.compile(r"%(?:(%)|([-0+ ]*)(\d{0,3})(?:\.(\d{1,2}))?([sdf]))")


def whole(value: Value, what: str, minimum: int = 0) -> int:
    """A whole number given as an argument."""
    if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= MAX_TEXT:
        return value
    raise invalid_value(f"{what} takes a whole number from {minimum} to {MAX_TEXT}, not {kind_of(value)}")


def number_of(value: Value) -> int | Decimal:
    """A number, or a text that is one with a decimal point."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= 1_000 and _NUMBER.fullmatch(value):
        return Decimal(value.strip())
    raise invalid_value(f"{kind_of(value)} is not a number; | digits or | replace can make one of it")


def cut(value: Value, n: Value) -> str:
    return text_of(value)[: whole(n, "cut")]


def digits(value: Value) -> str:
    return "".join(character for character in text_of(value) if "0" <= character <= "9")


def decimal(value: Value, places: Value = 2, sep: Value = ".") -> str:
    """A fixed number of decimals, halves rounded away from zero."""
    number = number_of(value)
    if not isinstance(sep, str) or len(sep) != 1:
        raise invalid_value("decimal takes one character to separate with")
    rounded = _rounded(number, whole(places, "decimal"), ROUND_HALF_UP)
    return decimal_text(rounded or abs(rounded)).replace(".", sep)


def _rounded(number: int | Decimal, places: int, rounding: str) -> Decimal:
    if places > 100:
        raise invalid_value("at most 100 decimals")
    try:
        return Decimal(number).quantize(Decimal(1).scaleb(-places), rounding=rounding, context=EXACT)
    except InvalidOperation:
        raise invalid_value(f"{kind_of(number)} cannot be rounded") from None


def round_number(value: Value, precision: Value = 0, method: Value = "common") -> Decimal:
    """`common` rounds halves away from zero, `ceil` and `floor` up and down."""
    modes = {"common": ROUND_HALF_UP, "ceil": "ROUND_CEILING", "floor": "ROUND_FLOOR"}
    if method not in modes:
        raise invalid_value("round knows common, ceil and floor")
    return _rounded(number_of(value), whole(precision, "round"), modes[method])


def to_int(value: Value, default: Value = ...) -> Value:
    """A whole number; what stands after the point is cut off. A text that is none gives `default`."""
    try:
        number = number_of(value)
    except EvaluationError:
        if default is ...:
            raise
        return default
    if isinstance(number, Decimal) and number.adjusted() > MAX_DIGITS:
        raise limit_passed(f"a number of more than {MAX_DIGITS} digits")
    return int(number)


def to_decimal(value: Value, default: Value = ...) -> Value:
    """A Decimal, never a float. A text that is no number gives `default`."""
    try:
        return Decimal(number_of(value))
    except EvaluationError:
        if default is ...:
            raise
        return default


def absolute(value: Value) -> int | Decimal:
    if not is_number(value):
        raise invalid_value(f"abs takes a number, not {kind_of(value)}")
    return abs(value) if isinstance(value, int) else Decimal(value).copy_abs()


def odata(value: Value) -> str:
    """The inside of an OData string literal: single quotes doubled."""
    return bounded_text(text_of(value).replace("'", "''"))


def xml(value: Value) -> str:
    """A value inside XML written as text, in an element or an attribute: markup in it is text."""
    try:
        text = xml_text(value if isinstance(value, str) else text_of(value), "the text")
    except RequestInvalid as error:
        raise invalid_value(str(error)) from None
    return bounded_text(escape_xml(text, quote=False).translate(_XML_ENTITIES))


_XML_ENTITIES = str.maketrans({'"': "&quot;", "'": "&apos;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})


def csv(value: Value, sep: Value = ",") -> str:
    """A field of CSV (RFC 4180), or a row of a list: quoted where it has to be; null is empty."""
    if sep not in (",", ";", "\t", "|"):
        raise invalid_value("csv separates with , ; | or a tab")
    fields = value if isinstance(value, list) else [value]
    return bounded_text(sep.join(_csv_field(each, sep) for each in fields))


def _csv_field(value: Value, sep: str) -> str:
    text = "" if value is None else text_of(value)
    if any(character in text for character in (sep, '"', "\r", "\n")) or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def replace(value: Value, old: Value, new: Value, count: Value = None) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise limit_passed(f"a text of more than {MAX_TEXT} characters")
    return text.replace(old, new, -1 if count is None else whole(count, "replace"))


@lru_cache(maxsize=512)
def pattern(source: str) -> Any:
    """A pattern in RE2's syntax, which runs in linear time: no lookaround, no back-reference.

    Raises:
        SyntaxInvalid: it is none.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(source, options)
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise SyntaxInvalid(
            f"the pattern {source[:60]!r} is not valid: {reason} (RE2: no lookaround or back-reference)"
        ) from None


def regex_replace(value: Value, find: Value, replacement: Value = "", count: Value = 0) -> str:
    r"""Every match of an RE2 pattern replaced; `\1` is the first group."""
    text, new = text_of(value), text_of(replacement)
    if len(text) > MAX_REGEX_TEXT or (len(text) + 1) * (len(new) + 1) > 16 * MAX_TEXT:
        raise limit_passed(f"regex_replace works on texts of up to {MAX_REGEX_TEXT} characters")
    try:
        return bounded_text(pattern(text_of(find)).sub(new, text, whole(count, "regex_replace")))
    except SyntaxInvalid as error:
        raise invalid_value(str(error)) from None
    except (re2.error, IndexError, ValueError):
        raise invalid_value(rf"the replacement {new[:40]!r} is not valid; groups are \1 to \9") from None


def format_text(value: Value, *arguments: Value) -> str:
    """printf's `%s %d %f` with flags, width and precision: `'%018d' | format(n)`."""
    left = list(arguments)

    def one(match: re.Match[str]) -> str:
        percent, flags, width, precision, kind = match.groups()
        if percent:
            return "%"
        if not left:
            raise invalid_value("format has fewer values than places")
        return _formatted(kind, left.pop(0), flags, int(width or 0), precision)

    text = text_of(value)
    if "%" in _FORMAT.sub("", text):
        raise invalid_value("format knows %s, %d, %f with flags, width and precision, and %%")
    result = _FORMAT.sub(one, text)
    if left:
        raise invalid_value("format has more values than places")
    return bounded_text(result)


def _formatted(kind: str, value: Value, flags: str, width: int, precision: str | None) -> str:
    if kind == "s":
        text = text_of(value)[: int(precision) if precision else None]
        return text.ljust(width) if "-" in flags else text.rjust(width)
    text = integer_text(int(number_of(value))) if kind == "d" else decimal(value, int(precision or 6))
    sign = "-" if text.startswith("-") else "+" if "+" in flags else " " if " " in flags else ""
    bare = text.removeprefix("-")
    if "-" in flags:
        return (sign + bare).ljust(width)
    return sign + bare.zfill(width - len(sign)) if "0" in flags else (sign + bare).rjust(width)


def tojson(value: Value) -> str:
    """JSON text, with numbers in the digits they have."""
    Measure(MAX_TEXT).take(value)
    return encode_json(value).decode()


def truncate(value: Value, length: Value = 255, killwords: Value = False, end: Value = "...") -> str:  # noqa: FBT002 — Jinja's signature
    end = text_of(end)
    size = whole(length, "truncate", minimum=len(end))
    return jinja2.filters.do_truncate(_JINJA, text_of(value), size, killwords is True, end, 0)


def trim(value: Value, chars: Value = None) -> str:
    return text_of(value).strip(None if chars is None else text_of(chars))


def center(value: Value, width: Value = 80) -> str:
    return text_of(value).center(_width(width, "center"))


def indent(value: Value, width: Value = 4, first: Value = False) -> str:  # noqa: FBT002 — Jinja's signature
    text = text_of(value)
    if text.count("\n") * _width(width, "indent") > MAX_TEXT:
        raise limit_passed(f"a text of more than {MAX_TEXT} characters")
    return jinja2.filters.do_indent(text, width, first is True)


def wordwrap(value: Value, width: Value = 79) -> str:
    return jinja2.filters.do_wordwrap(_JINJA, text_of(value), _width(width, "wordwrap") or 1)


def _width(width: Value, name: str) -> int:
    if whole(width, name) > 1_000:
        raise limit_passed(f"{name} takes a width of at most 1000")
    return whole(width, name)


TEXT_FILTERS: dict[str, Any] = {
    "abs": absolute,
    "capitalize": lambda value: text_of(value).capitalize(),
    "center": center,
    "csv": csv,
    "cut": cut,
    "decimal": decimal,
    "digits": digits,
    "e": lambda value: str(escape_markup(text_of(value))),
    "escape": lambda value: str(escape_markup(text_of(value))),
    "float": to_decimal,
    "format": format_text,
    "indent": indent,
    "int": to_int,
    "lower": lambda value: text_of(value).lower(),
    "odata": odata,
    "regex_replace": regex_replace,
    "replace": replace,
    "round": round_number,
    "string": text_of,
    "striptags": lambda value: Markup(text_of(value)).striptags(),  # noqa: S704 — taken apart, never shown
    "title": lambda value: jinja2.filters.do_title(text_of(value)),
    "tojson": tojson,
    "trim": trim,
    "truncate": truncate,
    "upper": lambda value: text_of(value).upper(),
    "urlencode": lambda value: quote(text_of(value), safe=""),
    "wordcount": lambda value: len(text_of(value).split()),
    "wordwrap": wordwrap,
    "xml": xml,
}
