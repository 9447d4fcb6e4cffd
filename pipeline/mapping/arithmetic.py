"""Operators over int and Decimal: exact, never a float in between, and bounded in size.

Sums, differences and products keep every digit. A quotient is a Decimal with 34 significant digits, as in
IEEE 754-2008 decimal128, whatever the operands.
"""

from collections.abc import Callable
from decimal import (
    ROUND_FLOOR,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    InvalidOperation,
    Overflow,
)

from pipeline.mapping.errors import invalid_value, limit_passed
from pipeline.mapping.values import (
    MAX_DIGITS,
    Value,
    bounded_list,
    bounded_text,
    equal,
    is_number,
    kind_of,
)

_TRAPS = [InvalidOperation, DivisionByZero, Overflow]
EXACT = Context(prec=MAX_DIGITS, Emax=MAX_DIGITS, Emin=-20_000, traps=_TRAPS)
_QUOTIENT = Context(prec=34, Emax=MAX_DIGITS, Emin=-20_000, traps=_TRAPS)

Number = int | Decimal


def _numbers(sign: str, left: Value, right: Value) -> None:
    if not (is_number(left) and is_number(right)):
        raise invalid_value(
            f"{sign} works on numbers, not on {kind_of(left)} and {kind_of(right)}; convert with | int or | float,"
            " or join texts with ~"
        )


def _bounded(number: Number) -> Number:
    if isinstance(number, int) and number.bit_length() > 4 * MAX_DIGITS:
        raise limit_passed(f"a number of more than {MAX_DIGITS} digits")
    return number


def add(left: Value, right: Value) -> Value:
    """Numbers are summed, two texts or two lists joined."""
    if isinstance(left, str) and isinstance(right, str):
        return bounded_text(left + right)
    if isinstance(left, list) and isinstance(right, list):
        return bounded_list(left + right)
    return sum_of(left, right)


def sum_of(left: Value, right: Value) -> Number:
    _numbers("+", left, right)
    if isinstance(left, int) and isinstance(right, int):
        return _bounded(left + right)
    return _apply(EXACT.add, left, right)


def subtract(left: Value, right: Value) -> Value:
    _numbers("-", left, right)
    if isinstance(left, int) and isinstance(right, int):
        return _bounded(left - right)
    return _apply(EXACT.subtract, left, right)


def multiply(left: Value, right: Value) -> Value:
    _numbers("*", left, right)
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > 4 * MAX_DIGITS:
            raise limit_passed(f"a number of more than {MAX_DIGITS} digits")
        return left * right
    return _apply(EXACT.multiply, left, right)


def divide(left: Value, right: Value) -> Value:
    _numbers("/", left, right)
    return _apply(_QUOTIENT.divide, left, right)


def floor_divide(left: Value, right: Value) -> Value:
    _numbers("//", left, right)
    if isinstance(left, int) and isinstance(right, int) and right:
        return left // right
    quotient = _apply(_QUOTIENT.divide, left, right)
    return int(quotient.to_integral_value(ROUND_FLOOR))


def modulo(left: Value, right: Value) -> Value:
    """What floor division leaves: the sign is the divisor's."""
    _numbers("%", left, right)
    return subtract(left, multiply(right, floor_divide(left, right)))


def power(left: Value, right: Value) -> Value:
    _numbers("**", left, right)
    if not isinstance(right, int) or not 0 <= right <= 100:
        raise invalid_value("** takes a whole exponent from 0 to 100")
    result: Value = 1
    for _ in range(right):
        result = multiply(result, left)
    return result


def negate(value: Value) -> Value:
    return subtract(0, value)


def _apply(operation: Callable[[Number, Number], Decimal], left: Value, right: Value) -> Decimal:
    try:
        return operation(left, right)
    except DivisionByZero:
        raise invalid_value("division by zero; test the divisor first") from None
    except DecimalException:
        raise invalid_value(f"no result for {kind_of(left)} and {kind_of(right)}") from None


def compare(sign: str, left: Value, right: Value) -> bool:
    """`lt lteq gt gteq`: two numbers or two texts."""
    if not ((is_number(left) and is_number(right)) or (isinstance(left, str) and isinstance(right, str))):
        raise invalid_value(
            f"{kind_of(left)} and {kind_of(right)} have no order; compare two numbers or two texts"
        )
    match sign:
        case "lt":
            return bool(left < right)
        case "lteq":
            return bool(left <= right)
        case "gt":
            return bool(left > right)
    return bool(left >= right)


def contains(value: Value, container: Value) -> bool:
    """`in`: a text in a text, a value in a list, a key in an object."""
    if isinstance(container, list):
        return any(equal(value, element) for element in container)
    if isinstance(value, str) and isinstance(container, str | dict):
        return value in container
    raise invalid_value(f"`in` finds no {kind_of(value)} in {kind_of(container)}")
