"""Rows to JSON objects: a function written and compiled once per relation, with no object per column in between.

For a table (id int8 primary key, tenant text, cost numeric) it reads:

    def encode(row):
        [v0, v1, v2] = row
        j0 = (v0) if v0.__class__ is str else mark[v0]
        j1 = (quote(v1)) if v1.__class__ is str else mark[v1]
        j2 = (v2 if v2[-1] <= '9' else plain(v2)) if v2.__class__ is str else mark[v2]
        return v1, f'{{"id":{j0}}}', f'{{"id":{j0},"tenant":{j1},"cost":{j2}}}'
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from cdc.column_values import Form, json_string, plain
from cdc.pgoutput import NULL, UNCHANGED, MessageInvalid, Row

try:
    from cdc.wire_rows import WireRows
except ImportError:  # built where there was no C compiler (hatch_build.py)
    WireRows = None  # type: ignore[assignment,misc]  # what is missing there

COMPILED = WireRows is not None
"""Whether rows go straight from the wire to JSON."""

Encoded = tuple[str | int | None, str, str]
"""The members of `EncodedRow`, not yet named: naming them takes longer than some rows."""
NO_KEY = "null"


class ValueUnchanged(Exception):
    """The row holds a value that the WAL does not carry; only `RowEncoder.partial` can write it."""


class EncodedRow(NamedTuple):
    """tenant: as the wire has it, None where the table has no tenant column; key and row: JSON."""

    tenant: str | int | None
    key: str
    row: str


@dataclass(frozen=True, slots=True)
class RowShape:
    """What a row's places mean; the tuples hold places, counted from 0.

    published: what goes into the JSON object, without excluded columns; key: empty where there is none.
    """

    names: Sequence[str]
    forms: Sequence[Form]
    published: tuple[int, ...]
    key: tuple[int, ...] = ()
    tenant: int | None = None


class RowEncoder:
    """One relation's rows."""

    def __init__(self, shape: RowShape) -> None:
        self._shape = shape
        self.encode: Callable[[Row], Encoded] = _compile(shape)
        """A whole row. Raises ValueUnchanged, and ValueError for another column count."""
        self.encode_sent: Callable[[bytes, int], Encoded | None] = _from_the_wire(shape)
        """The same of the row that begins at a place in a frame; None: take `parse_row` and `encode`."""

    def partial(self, row: Row) -> EncodedRow:
        """A row in which values may be unchanged: absent from the JSON object. A key that lacks one is null."""
        tenant = None if self._shape.tenant is None else row[self._shape.tenant]
        return EncodedRow(tenant, self.key(row), self.columns(row, self._shape.published))

    def key(self, row: Row) -> str:
        """`null` where the row does not tell it whole."""
        key = self._shape.key
        if not key or any(row[place] == UNCHANGED for place in key):
            return NO_KEY
        return self.columns(row, key)

    def columns(self, row: Row, places: Iterable[int]) -> str:
        """A JSON object of some columns, without the unchanged ones."""
        members = (
            f"{json_string(self._shape.names[place])}:{self._value(row[place], self._shape.forms[place])}"
            for place in places
            if row[place] != UNCHANGED
        )
        return f"{{{','.join(members)}}}"

    def _value(self, value: str | int, form: Form) -> str:
        return form.to_json(value) if isinstance(value, str) else _marks[value]

    def unchanged(self, row: Row) -> list[str]:
        """Names of the published columns that the row does not carry."""
        return [self._shape.names[place] for place in self._shape.published if row[place] == UNCHANGED]


class _Marks(dict[int, str]):
    """What stands for a value that is no text."""

    def __missing__(self, mark: int) -> str:
        if mark == UNCHANGED:
            raise ValueUnchanged
        raise MessageInvalid(f"a column of kind {mark:#04x}; only text, null and unchanged are known")


_marks = _Marks({NULL: "null"})


def _from_the_wire(shape: RowShape) -> Callable[[bytes, int], Encoded | None]:
    if WireRows is None or not set(shape.key) <= set(shape.published):
        return _never
    return WireRows(
        [json_string(name) for name in shape.names],
        [form.wire for form in shape.forms],
        [form.to_json for form in shape.forms],
        set(shape.published),
        shape.key,
        shape.tenant,
    ).encode


def _never(_data: bytes, _at: int) -> None:
    return None


def _compile(shape: RowShape) -> Callable[[Row], Encoded]:
    known: dict[str, Any] = {"mark": _marks, "quote": json_string, "plain": plain}
    used = sorted({*shape.published, *shape.key})
    lines = ["def encode(row):", f"    [{', '.join(f'v{place}' for place in range(len(shape.names)))}] = row"]
    for place in used:
        form, value = shape.forms[place], f"v{place}"
        known[f"form{place}"] = form.to_json
        to_json = form.inline.replace("$", value) if form.inline else f"form{place}({value})"
        lines.append(f"    j{place} = ({to_json}) if {value}.__class__ is str else mark[{value}]")
    tenant = "None" if shape.tenant is None else f"v{shape.tenant}"
    key = _object(shape, shape.key) if shape.key else repr(NO_KEY)
    lines.append(f"    return {tenant}, {key}, {_object(shape, shape.published)}")
    # column names enter the source only inside a literal made by repr()
    exec("\n".join(lines), known)  # noqa: S102 - one function per table; a loop over columns takes twice the time
    return cast("Callable[[Row], Encoded]", known["encode"])


def _object(shape: RowShape, places: Iterable[int]) -> str:
    """The source of an f-string literal that writes these columns, by their variables, as an object."""
    names = ((place, json_string(shape.names[place])) for place in places)
    members = (f"{name.replace('{', '{{').replace('}', '}}')}:{{j{place}}}" for place, name in names)
    return f"f{'{{' + ','.join(members) + '}}'!r}"
