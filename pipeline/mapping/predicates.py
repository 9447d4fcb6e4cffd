"""The tests of `is` and of `select`: Jinja's, over data alone."""

from collections.abc import Callable
from decimal import Decimal

from pipeline.mapping import arithmetic
from pipeline.mapping.errors import invalid_value
from pipeline.mapping.syntax import SyntaxInvalid
from pipeline.mapping.values import Value, equal, is_number, kind_of
from pipeline.yaml_tree import nearest

Predicate = Callable[..., bool]


def _whole(value: Value) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise invalid_value(f"expected a whole number, not {kind_of(value)}")


def _divisible(value: Value, divisor: Value) -> bool:
    if not _whole(divisor):
        raise invalid_value("nothing is divisible by zero")
    return _whole(value) % _whole(divisor) == 0


_WITHOUT_ARGUMENT: dict[str, Predicate] = {
    "none": lambda value: value is None,
    "null": lambda value: value is None,
    "true": lambda value: value is True,
    "false": lambda value: value is False,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, Decimal),
    "number": is_number,
    "string": lambda value: isinstance(value, str),
    "mapping": lambda value: isinstance(value, dict),
    "sequence": lambda value: isinstance(value, list | str),
    "iterable": lambda value: isinstance(value, list | str | dict),
    "lower": lambda value: isinstance(value, str) and value.islower(),
    "upper": lambda value: isinstance(value, str) and value.isupper(),
    "odd": lambda value: _whole(value) % 2 == 1,
    "even": lambda value: _whole(value) % 2 == 0,
    "truthy": bool,
}


def _unequal(left: Value, right: Value) -> bool:
    return not equal(left, right)


def _ordered(sign: str) -> Predicate:
    return lambda left, right: arithmetic.compare(sign, left, right)


_WITH_ARGUMENT: dict[str, Predicate] = {
    **dict.fromkeys(("eq", "==", "equalto", "sameas"), equal),
    **dict.fromkeys(("ne", "!="), _unequal),
    **dict.fromkeys(("lt", "<", "lessthan"), _ordered("lt")),
    **dict.fromkeys(("le", "<="), _ordered("lteq")),
    **dict.fromkeys(("gt", ">", "greaterthan"), _ordered("gt")),
    **dict.fromkeys(("ge", ">="), _ordered("gteq")),
    "in": arithmetic.contains,
    "divisibleby": _divisible,
}


def predicate(name: str, arguments: int) -> Predicate:
    """The test of that name for so many arguments.

    Raises:
        SyntaxInvalid: there is none.
    """
    wanted = _WITH_ARGUMENT if name in _WITH_ARGUMENT else _WITHOUT_ARGUMENT
    if name not in wanted:
        known = {*_WITH_ARGUMENT, *_WITHOUT_ARGUMENT, "defined", "undefined"}
        raise SyntaxInvalid(f"unknown test {name!r}{nearest(name, known)}")
    expected = 1 if wanted is _WITH_ARGUMENT else 0
    if arguments != expected:
        raise SyntaxInvalid(
            f"the test {name!r} takes {expected or 'no'} argument{'' if expected < 2 else 's'}"
        )
    return wanted[name]
