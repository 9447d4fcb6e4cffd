"""Filters over lists and objects. A member that is missing in any element is an error, as everywhere."""

from collections.abc import Callable
from typing import Any

from pipeline.mapping.access import member
from pipeline.mapping.arithmetic import sum_of
from pipeline.mapping.errors import Missing, invalid_value, limit_passed
from pipeline.mapping.text_filters import tojson, whole
from pipeline.mapping.values import (
    MAX_ELEMENTS,
    MAX_TEXT,
    Value,
    bounded_list,
    bounded_text,
    is_number,
    kind_of,
    text_of,
)


def elements(value: Value, filter_name: str) -> list[Value]:
    """The elements of a list; anything else is an error that says how to get one."""
    if isinstance(value, list):
        return value
    hint = "; write … | items" if isinstance(value, dict) else "; write … | default([]) where it may be null"
    raise invalid_value(
        f"{filter_name} takes a list, not {kind_of(value)}{hint if value is None or isinstance(value, dict) else ''}"
    )


def attribute_of(element: Value, attribute: Value, filter_name: str) -> Value:
    """A member of an element; `a.b` goes deeper."""
    value = element
    for name in attribute.split(".") if isinstance(attribute, str) else [attribute]:
        value = member(
            value,
            int(name) if isinstance(value, list) and name.isdigit() else name,
            f"an element of {filter_name}",
            {},
        )
    return value


def _column(values: list[Value], attribute: Value, filter_name: str) -> list[Value]:
    return (
        values if attribute is None else [attribute_of(element, attribute, filter_name) for element in values]
    )


def total(value: Value, attribute: Value = None, start: Value = 0) -> Value:
    result = start
    for number in _column(elements(value, "sum"), attribute, "sum"):
        result = sum_of(result, number)
    return result


def join(value: Value, d: Value = "", attribute: Value = None) -> str:
    texts = [text_of(element) for element in _column(elements(value, "join"), attribute, "join")]
    separator = text_of(d)
    bounded_list(texts)
    if sum(map(len, texts)) + len(separator) * len(texts) > MAX_TEXT:
        raise limit_passed("join gives a text that is too long")
    return bounded_text(separator.join(texts))


def length(value: Value) -> int:
    if isinstance(value, list | dict | str):
        return len(value)
    raise invalid_value(
        f"{kind_of(value)} has no length; write … | default([]) | length where it may be null"
    )


def first(value: Value) -> Value:
    return _end(value, 0, "first")


def last(value: Value) -> Value:
    return _end(value, -1, "last")


def _end(value: Value, index: int, name: str) -> Value:
    values = value if isinstance(value, str) else elements(value, name)
    if not values:
        raise Missing(f"{name} finds nothing in an empty list; write … | {name} | default(…)")
    return values[index]


def _sort_key(value: Value, *, fold: bool) -> Any:
    if isinstance(value, str):
        return value.lower() if fold else value
    if is_number(value):
        return value
    raise invalid_value(f"{kind_of(value)} has no order; sort by a number or a text")


def _keys(values: list[Value], attribute: Value, name: str, *, fold: bool) -> list[Any]:
    keys = [_sort_key(key, fold=fold) for key in _column(values, attribute, name)]
    if len({isinstance(key, str) for key in keys}) > 1:
        raise invalid_value(f"{name} cannot compare numbers with texts")
    return keys


def sort(
    value: Value,
    reverse: Value = False,  # noqa: FBT002 — Jinja's signature
    case_sensitive: Value = False,  # noqa: FBT002 — Jinja's signature
    attribute: Value = None,
) -> list[Value]:
    values = elements(value, "sort")
    keys = _keys(values, attribute, "sort", fold=case_sensitive is not True)
    order = sorted(range(len(values)), key=keys.__getitem__, reverse=reverse is True)
    return [values[index] for index in order]


def minimum(value: Value, case_sensitive: Value = False, attribute: Value = None) -> Value:  # noqa: FBT002 — Jinja's signature
    return first(sort(value, False, case_sensitive, attribute))  # noqa: FBT003 — the order of sort


def maximum(value: Value, case_sensitive: Value = False, attribute: Value = None) -> Value:  # noqa: FBT002 — Jinja's signature
    return first(sort(value, True, case_sensitive, attribute))  # noqa: FBT003 — the order of sort


def unique(value: Value, case_sensitive: Value = False, attribute: Value = None) -> list[Value]:  # noqa: FBT002 — Jinja's signature
    """The first of each, in the order given."""
    values = elements(value, "unique")
    seen: dict[Any, Value] = {}
    for key, element in zip(_column(values, attribute, "unique"), values, strict=True):
        folded = key.lower() if isinstance(key, str) and case_sensitive is not True else key
        seen.setdefault(_identity(folded), element)
    return list(seen.values())


def _identity(value: Value) -> Any:
    return tojson(value) if isinstance(value, list | dict | bool) else (isinstance(value, str), value)


def groupby(value: Value, attribute: Value) -> list[Value]:
    """Objects `{grouper, list}`, in the order in which the groups appear."""
    groups: dict[Any, dict[str, Value]] = {}
    for element in elements(value, "groupby"):
        grouper = attribute_of(element, attribute, "groupby")
        groups.setdefault(_identity(grouper), {"grouper": grouper, "list": []})["list"].append(element)
    return list(groups.values())


def index_by(value: Value, name: Value) -> dict[str, Value]:
    """An object of the elements, each under the text of its member; a duplicate is an error."""
    index: dict[str, Value] = {}
    for element in elements(value, "index_by"):
        key = text_of(attribute_of(element, name, "index_by"))
        if key in index:
            raise invalid_value(f"index_by finds {key[:60]!r} twice; use groupby where that may be")
        index[key] = element
    return index


def to_list(value: Value) -> list[Value]:
    if isinstance(value, str | dict):
        return bounded_list(list(value))
    return elements(value, "list")


def reverse(value: Value) -> Value:
    return value[::-1] if isinstance(value, str) else elements(value, "reverse")[::-1]


def items(value: Value) -> list[Value]:
    """An object's members as pairs `[key, value]`."""
    if not isinstance(value, dict):
        raise invalid_value(f"items takes an object, not {kind_of(value)}")
    return [[key, member] for key, member in value.items()]


def batch(value: Value, linecount: Value, fill_with: Value = None) -> list[Value]:
    size, values = whole(linecount, "batch", minimum=1), elements(value, "batch")
    rows = [values[start : start + size] for start in range(0, len(values), size)]
    if rows and fill_with is not None:
        if size > MAX_ELEMENTS:
            raise limit_passed("batch fills more than it may")
        rows[-1] = rows[-1] + [fill_with] * (size - len(rows[-1]))
    return rows


LIST_FILTERS: dict[str, Callable[..., Value]] = {
    "batch": batch,
    "count": length,
    "dictsort": lambda value: sorted(items(value)),
    "first": first,
    "groupby": groupby,
    "index_by": index_by,
    "items": items,
    "join": join,
    "last": last,
    "length": length,
    "list": to_list,
    "max": maximum,
    "min": minimum,
    "reverse": reverse,
    "sort": sort,
    "sum": total,
    "unique": unique,
}
