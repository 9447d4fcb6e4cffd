import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.built_in_types import BUILT_IN
from cdc.column_values import json_string
from cdc.nested_values import array_of, hstore
from eventbus.event import decode_json

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def value(oid: int, text: str) -> Any:
    return decode_json(BUILT_IN[oid].to_json(text).encode())


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def printed(items: Any, may_stand_bare: Callable[[str], bool] = lambda _item: False) -> str:
    """As array_out prints."""
    if isinstance(items, list):
        return "{" + ",".join(printed(item, may_stand_bare) for item in items) + "}"
    if items is None:
        return "NULL"
    return items if may_stand_bare(items) else quoted(items)


def stands_bare(item: str) -> bool:
    return item.upper() not in ("", "NULL") and not re.search(r'[{}"\\, \t\n\r\v\f]', item)


ITEMS = st.one_of(st.none(), TEXT)


@given(st.one_of(st.lists(ITEMS), st.lists(st.lists(ITEMS, min_size=2, max_size=2), min_size=1)))
def test_arrays_become_nested_json_arrays(items: list[Any]) -> None:
    assert value(1009, printed(items)) == value(1009, printed(items, stands_bare)) == items


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{a,NULL,"NULL","","a,b","q\\"x","b\\\\s"}', ["a", None, "NULL", "", "a,b", 'q"x', "b\\s"]),
        ("{{a,b},{NULL,d}}", [["a", "b"], [None, "d"]]),
        ('{"{a","b}"}', ["{a", "b}"]),
        ("{}", []),
        ("[0:1]={7,8}", "[0:1]={7,8}"),
        ('{"null",null}', ["null", "null"]),
    ],
)
def test_arrays_as_postgresql_prints_them(text: str, expected: Any) -> None:
    assert value(1009, text) == expected


@pytest.mark.parametrize(
    ("oid", "text", "expected"),
    [
        (1016, "{9007199254740993,NULL}", [9007199254740993, None]),
        (1231, "{NaN,1.50}", ["NaN", Decimal("1.50")]),
        (1000, "{t,f}", [True, False]),
        (1185, '{"2026-11-24 03:28:19+00",infinity}', ["2026-11-24T03:28:19Z", "infinity"]),
        (3807, '{"{\\"a\\": 1}",null,NULL}', [{"a": 1}, None, None]),
        (1001, '{"\\\\x00ff"}', ["AP8="]),
    ],
)
def test_elements_take_their_own_form(oid: int, text: str, expected: Any) -> None:
    assert value(oid, text) == expected


def test_an_arrays_delimiter_is_its_elements() -> None:
    boxes = array_of(json_string, ";")
    assert decode_json(boxes.to_json("{(1,1),(0,0);(2,2),(1,1)}").encode()) == ["(1,1),(0,0)", "(2,2),(1,1)"]


@given(st.dictionaries(TEXT, ITEMS))
def test_hstore_is_an_object_of_strings_and_nulls(pairs: dict[str, str | None]) -> None:
    text = ", ".join(f"{quoted(k)}=>{'NULL' if v is None else quoted(v)}" for k, v in pairs.items())
    assert decode_json(hstore(text).encode()) == pairs


def test_what_is_no_hstore_is_a_string() -> None:
    assert hstore('"a"=>"1"; "b"') == json_string('"a"=>"1"; "b"')


MANY = 200_000


@pytest.mark.parametrize(
    "items",
    [
        ["a"] * MANY,
        ["a b"] * MANY,
        ["\\" * MANY],
        ['"' * MANY],
        [["x"], ["}{,"]] * MANY,
        [","] * MANY,
        [None] * MANY,
    ],
)
def test_long_arrays_take_time_in_proportion(items: list[Any]) -> None:
    """Were it the square, this would not end within the test's deadline."""
    assert value(1009, printed(items, stands_bare)) == items


@pytest.mark.parametrize("text", ["\\" * MANY, '"=>"' * MANY, '\\"' * MANY])
def test_a_long_hstore_takes_time_in_proportion(text: str) -> None:
    assert decode_json(hstore(f"{quoted(text)}=>{quoted(text)}").encode()) == {text: text}
    broken = f'"a"=>{quoted(text)[:-1]}'
    assert decode_json(hstore(broken).encode()) == broken
