"""The values expressions work with: JSON's, with numbers as int or Decimal and never float."""

from decimal import Decimal
from typing import Any, Final, TypeAlias

from pipeline.mapping.errors import EvaluationError, invalid_value, limit_passed

Value: TypeAlias = Any  # None | bool | int | Decimal | str | list[Value] | dict[str, Value] | Omit
Frame: TypeAlias = dict[str, Value]  # what the names of an expression stand for

MAX_TEXT = 1_000_000
MAX_ELEMENTS = 100_000
MAX_DIGITS = 1_000


class Omit:
    """What `omit` stands for: the key or element is left out."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "omit"


OMIT: Final = Omit()


class Nil:
    """What `nil` stands for in XML: an element that is there and holds nothing."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "nil"


NIL: Final = Nil()


def kind_of(value: Value) -> str:
    """A value's kind in the words of the language, for errors."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | Decimal():
            return f"the number {value}"
        case str():
            return f"the text {value[:40]!r}"
        case list():
            return "a list"
        case dict():
            return "an object"
    return repr(value)


def text_of(value: Value) -> str:
    """A value inside a longer text: numbers in plain digits, never an exponent.

    Raises:
        EvaluationError: null, a list, an object or `omit`.
    """
    if type(value) is str:
        return value
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return integer_text(value)
        case Decimal():
            return decimal_text(value)
        case None:
            raise EvaluationError(
                "null",
                "null cannot stand in a text; write … | default('') or test it with {% if … is not none %}",
            )
        case list():
            raise invalid_value("a list cannot stand in a text; write … | join(', ') or … | tojson")
        case dict():
            raise invalid_value(
                "an object cannot stand in a text; name one of its members or write … | tojson"
            )
    raise invalid_value(f"{value!r} stands for a whole leaf; it cannot stand in a text or a path")


def integer_text(value: int) -> str:
    if value.bit_length() > 4 * MAX_DIGITS:
        raise limit_passed(f"a number of more than {MAX_DIGITS} digits")
    return str(value)


def decimal_text(value: Decimal) -> str:
    if not value.is_finite():
        raise invalid_value(f"{value} is not a number that can be written")
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and not -20_000 < exponent < MAX_DIGITS:
        raise limit_passed(f"the number {value} has more than {MAX_DIGITS} digits")
    return f"{value:f}"


def is_number(value: Value) -> bool:
    """int or Decimal; a boolean is no number."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def equal(left: Value, right: Value) -> bool:
    """Equality of data: 1 equals 1.0, true does not equal 1, a text never equals a number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list | dict) and isinstance(right, list | dict):
        Measure(MAX_TEXT).take([left, right])
    return bool(left == right)


def bounded_text(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise limit_passed(f"a text of more than {MAX_TEXT} characters")
    return text


def bounded_list(values: list[Value]) -> list[Value]:
    if len(values) > MAX_ELEMENTS:
        raise limit_passed(f"a list of more than {MAX_ELEMENTS} elements")
    return values


class Measure:
    """Counts a value's parts as JSON would write them; shared parts count each time they are written."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, value: Value, depth: int = 100) -> None:
        """Raises EvaluationError when the value is larger, or nested deeper, than may be written."""
        if type(value) is str:
            self._left -= len(value) + 1
        elif isinstance(value, dict):
            for key, member in value.items():
                self._left -= len(key) + 1
                self.take(member, self._nested(depth))
        elif isinstance(value, list):
            for element in value:
                self.take(element, self._nested(depth))
        elif value is OMIT:
            raise invalid_value("omit leaves out a whole leaf; it cannot stand inside a value")
        else:
            self._left -= 5
        if self._left < 0:
            raise limit_passed("the result is larger than a request may be")

    def _nested(self, depth: int) -> int:
        if depth == 0:
            raise limit_passed("the result is nested too deeply")
        return depth - 1
