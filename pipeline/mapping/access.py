"""Member access: reads data, never methods or attributes, and says what is missing."""

from dataclasses import dataclass

from pipeline.mapping.errors import EvaluationError, Missing, Wanted, invalid_value
from pipeline.mapping.known import ColumnsRead
from pipeline.mapping.values import Frame, Value, is_number, kind_of
from pipeline.yaml_tree import nearest

UNREAD = "\0unread"
"""The frame's name for what a row that is not whole lacks; absent where it is whole."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Columns that came `unchanged` and have not been read yet.

    used: those of them that the mapping names, so that one read brings all. refused: why they cannot be read.
    """

    columns: frozenset[str]
    used: frozenset[str]
    refused: str = ""


def member(value: Value, name: Value, spelling: str, frame: Frame) -> Value:
    """`value.name` or `value[name]`: an object's member, a list's or text's element.

    Raises:
        Missing: it is not there.
        EvaluationError: class `unchanged_column` for a column the WAL did not carry, and that cannot be read.
        Wanted: one that can be.
    """
    if isinstance(value, dict):
        key = str(name) if is_number(name) else name
        if key.__hash__ is not None and key in value:
            return value[key]
        raise absent(value, key, spelling, frame)
    if isinstance(value, list | str) and isinstance(name, int) and not isinstance(name, bool):
        if -len(value) <= name < len(value):
            return value[name]
        raise Missing(f"{spelling} has {len(value)} elements, so there is no [{name}]")
    raise absent(value, name, spelling, frame)


def absent(value: Value, name: Value, spelling: str, frame: Frame) -> Exception:
    """The error for a member that is not there; `spelling` is how the mapping wrote the value."""
    event = frame.get("event") or {}
    if value is None:
        return Missing(_null_row(spelling, str(event.get("op")), name))
    if not isinstance(value, dict):
        hint = f"; write … | {name}" if isinstance(value, str) and name in _TEXT_METHODS else ""
        return Missing(f"{spelling} is {kind_of(value)}, which has no {name!r}{hint}")
    unread: Unread | None = frame.get(UNREAD)
    if unread is not None and value is event.get("after") and name in unread.columns:
        return _unread(unread, frozenset([name]), event)
    if spelling == "params":
        return Missing(f"the route gives no param {name!r}; write it under the route's params")
    what = "column" if spelling in ("after", "before", "key") else "member"
    return Missing(f"{spelling} has no {what} {name!r}{nearest(str(name), value)}")


_TEXT_METHODS = frozenset({"upper", "lower", "title", "replace", "strip", "split", "format", "capitalize"})


def whole_row(value: Value, frame: Frame) -> Value:
    """A row used as a whole has to be whole."""
    unread: Unread | None = frame.get(UNREAD)
    if unread is not None and value is not None:
        raise _unread(unread, unread.columns, frame["event"])
    return value


def _unread(unread: Unread, columns: frozenset[str], event: Value) -> Exception:
    """What to do about columns that were not sent because their stored value did not change."""
    key, source = event.get("key"), event.get("source") or {}
    refused = unread.refused
    if not refused and not (isinstance(key, dict) and key):
        refused = "the table has no key to read them by"
    if not refused:
        table = f"{source.get('schema')}.{source.get('table')}"
        return Wanted(ColumnsRead(table, key, tuple(sorted(columns | unread.used))))
    names = ", ".join(repr(column) for column in sorted(columns))
    return EvaluationError(
        "unchanged_column",
        f"the change did not carry {names}: a large value that was not touched stays out of the WAL, and {refused}. Use"
        " it on insert only (when: op == 'insert'), or set REPLICA IDENTITY FULL on the table so that it is sent",
    )


def part(value: Value, start: Value, stop: Value, step: Value) -> Value:
    """`value[start:stop:step]` of a list or text."""
    bounds = (start, stop, step)
    if not isinstance(value, list | str):
        raise invalid_value(f"[:] takes a part of a list or text, not of {kind_of(value)}")
    if any(not (bound is None or type(bound) is int) for bound in bounds) or step == 0:
        raise invalid_value("[:] takes whole numbers")
    return value[slice(*bounds)]


def _null_row(spelling: str, op: str, name: Value) -> str:
    if spelling == "after":
        return f"after is null on {op}, so it has no {name!r}; use key or before there, or leave {op} out of operations"
    if spelling == "before":
        return f"before is null on this {op}, so it has no {name!r}; write … | default(…), or test `before is not none`"
    return f"{spelling} is null, so it has no {name!r}; write … | default(…) where it may be"
