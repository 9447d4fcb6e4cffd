"""Which filters there are, and how a written filter becomes a function of the value."""

import inspect
from collections.abc import Callable, Mapping
from typing import TypeAlias

from pipeline.mapping.date_filters import DATE_FILTERS, local
from pipeline.mapping.errors import EvaluationError, Missing, invalid_value
from pipeline.mapping.list_filters import LIST_FILTERS, attribute_of, elements
from pipeline.mapping.lookups import Lookup
from pipeline.mapping.predicates import predicate
from pipeline.mapping.syntax import SyntaxInvalid
from pipeline.mapping.text_filters import TEXT_FILTERS, pattern
from pipeline.mapping.values import Frame, Value
from pipeline.yaml_tree import nearest

Evaluator: TypeAlias = Callable[[Frame], Value]
Apply: TypeAlias = Callable[[Value, Frame], Value]

ZONE = "\0timezone"
"""The frame's name for the tenant's time zone: no expression can spell it."""

_PLAIN: dict[str, Callable[..., Value]] = {**TEXT_FILTERS, **LIST_FILTERS, **DATE_FILTERS}
NULL_STAYS = frozenset({*TEXT_FILTERS, *DATE_FILTERS, "local"}) - {"tojson", "csv"}
_SHAPES: dict[str, Callable[..., None]] = {
    "default": lambda value, default_value="", boolean=False: None,  # noqa: ARG005 — only its signature counts
    "lookup": lambda value, table, column=None, default=None: None,  # noqa: ARG005 — see above
    "local": lambda value: None,  # noqa: ARG005 — see above
    "map": lambda value, filter=None, *arguments, attribute=None, default=None: None,  # noqa: A006, ARG005 — see above
    "select": lambda value, test=None, *arguments: None,  # noqa: ARG005 — see above
    "selectattr": lambda value, attribute, test=None, *arguments: None,  # noqa: ARG005 — see above
}
_SHAPES |= {"d": _SHAPES["default"], "reject": _SHAPES["select"], "rejectattr": _SHAPES["selectattr"]}
NAMES = frozenset({*_PLAIN, *_SHAPES})


class Toolbox:
    """The filters of one mapping: the allow-list, and the tenant's lookups (None: not known here)."""

    def __init__(self, lookups: Mapping[str, Lookup] | None) -> None:
        self._lookups = lookups
        self.lookups_used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in NAMES

    def applier(self, name: str, arguments: list[Evaluator], named: dict[str, Evaluator]) -> Apply:
        """What the filter does with a value.

        Raises:
            SyntaxInvalid: no such filter, or wrong arguments; says what to write.
        """
        if name not in NAMES:
            raise SyntaxInvalid(f"unknown filter {name!r}{nearest(name, NAMES)}")
        _check_arguments(name, arguments, named)
        match name:
            case "default" | "d":
                return _default(arguments, named)
            case "lookup":
                return self._lookup(arguments, named)
            case "local":
                return lambda value, frame: None if value is None else local(value, frame[ZONE])
            case "map":
                return self._map(arguments, named)
            case "select" | "reject" | "selectattr" | "rejectattr":
                return _select(name, arguments, named)
        return _plain(name, arguments, named)

    def _map(self, arguments: list[Evaluator], named: dict[str, Evaluator]) -> Apply:
        if not arguments:
            return _map_attribute(named)
        name = _literal(arguments[0], "map takes a filter's name in quotes, or attribute='…'")
        apply = self.applier(name, arguments[1:], named)
        return lambda value, frame: [apply(element, frame) for element in elements(value, "map")]

    def _lookup(self, arguments: list[Evaluator], named: dict[str, Evaluator]) -> Apply:
        given = dict(zip(("table", "column", "default"), arguments, strict=False)) | named
        table = _literal(given["table"], "lookup takes the table's name in quotes")
        column = (
            _literal(given["column"], "lookup takes the column's name in quotes")
            if "column" in given
            else None
        )
        self.lookups_used.add(table)
        default = given.get("default")
        if self._lookups is None:
            return lambda _value, _frame: _unknown_table(table)
        if table not in self._lookups:
            raise SyntaxInvalid(
                f"no lookup {table!r}: put it into lookups/{table}.csv{nearest(table, self._lookups)}"
            )
        found = self._lookups[table]
        position = found.position(column)
        if default is None:
            return lambda value, _frame: found.translate(value, position)
        fallback = default

        def translate(value: Value, frame: Frame) -> Value:
            try:
                return found.translate(value, position)
            except Missing:
                return fallback(frame)

        return translate


def _check_arguments(name: str, arguments: list[Evaluator], named: dict[str, Evaluator]) -> None:
    signature = inspect.signature(_SHAPES.get(name) or _PLAIN[name])
    try:
        signature.bind(None, *arguments, **named)
    except TypeError as error:
        written = ", ".join(str(parameter) for parameter in list(signature.parameters.values())[1:])
        shape = written.replace("pipeline.mapping.values.", "").replace(": Any", "")
        raise SyntaxInvalid(f"{name}: {error}; it is written {name}({shape})") from None


def _literal(evaluate: Evaluator, otherwise: str) -> str:
    value = _constant([evaluate])
    if not isinstance(value, str):
        raise SyntaxInvalid(otherwise)
    return value


def _constant(arguments: list[Evaluator]) -> Value:
    """What an argument is whatever the event; None where that depends."""
    try:
        return arguments[0]({}) if arguments else None
    except (KeyError, EvaluationError):
        return None


def _unknown_table(table: str) -> Value:
    raise invalid_value(
        f"no lookup {table!r} here; the tenant's lookups/{table}.csv, or `lookups` of the cases, has it"
    )


def _plain(name: str, arguments: list[Evaluator], named: dict[str, Evaluator]) -> Apply:
    function = _PLAIN[name]
    if name == "regex_replace" and isinstance(written := _constant(arguments[:1]), str):
        pattern(written)
    if name in NULL_STAYS:
        return lambda value, frame: (
            None if value is None else _applied(function, value, frame, arguments, named)
        )
    return lambda value, frame: _applied(function, value, frame, arguments, named)


def _applied(
    function: Callable[..., Value],
    value: Value,
    frame: Frame,
    arguments: list[Evaluator],
    named: dict[str, Evaluator],
) -> Value:
    return function(
        value,
        *[argument(frame) for argument in arguments],
        **{key: argument(frame) for key, argument in named.items()},
    )


def _nothing(_frame: Frame) -> Value:
    return ""


def _no(_frame: Frame) -> Value:
    return False


def _default(arguments: list[Evaluator], named: dict[str, Evaluator]) -> Apply:
    given = dict(zip(("default_value", "boolean"), arguments, strict=False)) | named
    fallback = given.get("default_value", _nothing)
    falsy = given.get("boolean", _no)

    def apply(value: Value, frame: Frame) -> Value:
        if value is None or (not value and falsy(frame) is True):
            return fallback(frame)
        return value

    return apply


def _map_attribute(named: dict[str, Evaluator]) -> Apply:
    attribute = named.get("attribute")
    if attribute is None:
        raise SyntaxInvalid("map takes a filter's name in quotes, or attribute='…'")
    fallback = named.get("default")

    def of(element: Value, name: Value, frame: Frame) -> Value:
        try:
            value = attribute_of(element, name, "map")
        except Missing:
            if fallback is None:
                raise
            return fallback(frame)
        return fallback(frame) if value is None and fallback is not None else value

    def apply(value: Value, frame: Frame) -> Value:
        name = attribute(frame)
        return [of(element, name, frame) for element in elements(value, "map")]

    return apply


def _select(name: str, arguments: list[Evaluator], named: dict[str, Evaluator]) -> Apply:
    if named:
        raise SyntaxInvalid(f"{name} takes no named arguments; write {name}('column', 'eq', value)")
    keep = name.startswith("select")
    attribute = arguments[0] if name.endswith("attr") else None
    rest = arguments[1:] if attribute else arguments
    test_name = (
        _literal(rest[0], f"{name} takes a test's name in quotes, as in {name}('type', 'eq', 1)")
        if rest
        else "truthy"
    )
    if test_name in ("defined", "undefined"):
        return _select_defined(attribute, wanted=(test_name == "defined") is keep)
    test, others = predicate(test_name, len(rest[1:])), rest[1:]

    def apply(value: Value, frame: Frame) -> Value:
        bound = [other(frame) for other in others]
        column = attribute(frame) if attribute else None
        return [
            element
            for element in elements(value, name)
            if test(attribute_of(element, column, name) if attribute else element, *bound) is keep
        ]

    return apply


def _select_defined(attribute: Evaluator | None, *, wanted: bool) -> Apply:
    def there(element: Value, column: Value) -> bool:
        try:
            attribute_of(element, column, "selectattr")
        except Missing:
            return False
        return True

    def apply(value: Value, frame: Frame) -> Value:
        values = elements(value, "select")
        if attribute is None:
            return values if wanted else []
        column = attribute(frame)
        return [element for element in values if there(element, column) is wanted]

    return apply
