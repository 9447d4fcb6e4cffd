import base64 as b64
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc import column_values
from cdc.column_values import BUILT_IN, array_of
from eventbus.event import decode_json

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
OIDS = {
    "bool": 16,
    "int8": 20,
    "text": 25,
    "float8": 701,
    "numeric": 1700,
    "timestamp": 1114,
    "timestamptz": 1184,
}


def value(oid: int, text: str) -> Any:
    return decode_json(BUILT_IN[oid].to_json(text).encode())


@pytest.mark.parametrize(
    ("type_name", "text", "json"),
    [
        ("bool", "t", "true"),
        ("bool", "f", "false"),
        ("int8", "-9223372036854775808", "-9223372036854775808"),
        ("numeric", "1273.10", "1273.10"),
        ("numeric", "9" * 400, "9" * 400),
        ("numeric", "NaN", '"NaN"'),
        ("numeric", "-Infinity", '"-Infinity"'),
        ("float8", "1e+20", "1e+20"),
        ("float8", "-0", "-0"),
        ("timestamptz", "2026-11-24 03:28:19.832462+00", '"2026-11-24T03:28:19.832462Z"'),
        ("timestamptz", "2026-11-24 03:28:19+00", '"2026-11-24T03:28:19Z"'),
        ("timestamptz", "0044-03-15 12:00:00+00 BC", '"0044-03-15 12:00:00+00 BC"'),
        ("timestamptz", "294276-12-31 23:59:59.999999+00", '"294276-12-31 23:59:59.999999+00"'),
        ("timestamptz", "10000-01-01 00:00:00+00", '"10000-01-01 00:00:00+00"'),
        ("timestamptz", "infinity", '"infinity"'),
        ("timestamptz", "-infinity", '"-infinity"'),
        ("timestamp", "2026-11-24 03:28:19.5", '"2026-11-24T03:28:19.5"'),
        ("timestamp", "0044-03-15 12:00:00 BC", '"0044-03-15 12:00:00 BC"'),
        ("timestamp", "294276-12-31 23:59:59", '"294276-12-31 23:59:59"'),
        ("timestamp", "-infinity", '"-infinity"'),
        ("text", 'q"x\\\n\x01ñ😀', '"q\\"x\\\\\\n\\u0001ñ😀"'),
    ],
)
def test_values_take_the_form_that_the_contract_gives_their_type(
    type_name: str, text: str, json: str
) -> None:
    assert BUILT_IN[OIDS[type_name]].to_json(text) == json


@given(TEXT)
def test_text_comes_back_as_it_was(text: str) -> None:
    assert value(25, text) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_a_numeric_keeps_every_digit(number: Decimal) -> None:
    read = value(1700, f"{number:f}")
    assert str(read) == f"{number:f}"


@given(st.floats())
def test_a_float_keeps_its_value(number: float) -> None:
    printed = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(number), str(number))
    read = value(701, printed)
    assert read == printed if isinstance(read, str) else str(float(read)) == str(float(number))


@given(st.binary())
def test_bytea_is_base64(raw: bytes) -> None:
    assert b64.b64decode(value(17, f"\\x{raw.hex()}")) == raw


@pytest.mark.parametrize(
    ("text", "is_value"),
    [
        ('{"a" :\n [1.10, null]}', True),
        ('"\\ud83d\\ude00"', True),
        ('"\\\\ud800"', True),  # an escaped backslash, and then plain letters
        ('"\\u0000"', True),
        ('"\\ud800"', False),
        ('"\\ude00"', False),
        ('"\\ud800\\u0041"', False),
        ('"\\ud83d\\ude00\\ude00"', False),
        ('"\\uD83D\\uDE00 \\\\\\uDBFF"', False),
        ("1e5", True),
    ],
)
def test_json_stands_as_it_is_unless_no_unicode_text_can_hold_it(text: str, *, is_value: bool) -> None:
    assert column_values.json_text(text) == (text if is_value else column_values.json_string(text))
    decode_json(column_values.json_text(text).encode())


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def printed(items: Any) -> str:
    """As array_out prints; it may quote more than it must."""
    if isinstance(items, list):
        return "{" + ",".join(map(printed, items)) + "}"
    return "NULL" if items is None else quoted(items)


ITEMS = st.one_of(st.none(), TEXT)


@given(st.one_of(st.lists(ITEMS), st.lists(st.lists(ITEMS, min_size=2, max_size=2), min_size=1)))
def test_arrays_become_nested_json_arrays(items: list[Any]) -> None:
    assert value(1009, printed(items)) == items


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
    boxes = array_of(column_values.json_string, ";")
    assert decode_json(boxes.to_json("{(1,1),(0,0);(2,2),(1,1)}").encode()) == ["(1,1),(0,0)", "(2,2),(1,1)"]


@given(st.dictionaries(TEXT, ITEMS))
def test_hstore_is_an_object_of_strings_and_nulls(pairs: dict[str, str | None]) -> None:
    text = ", ".join(f"{quoted(k)}=>{'NULL' if v is None else quoted(v)}" for k, v in pairs.items())
    assert decode_json(column_values.hstore(text).encode()) == pairs


def test_what_is_no_hstore_is_an_error() -> None:
    with pytest.raises(ValueError, match="from character 8 on"):
        column_values.hstore('"a"=>"1"; "b"')


@pytest.mark.parametrize("oid", sorted(BUILT_IN))
@pytest.mark.parametrize(
    "text", ["t", "-17", "NaN", "infinity", "2026-11-24 03:28:19+00", "0044-03-15 BC", "24:00:00"]
)
def test_the_inline_form_is_the_function(oid: int, text: str) -> None:
    form = BUILT_IN[oid]
    if form.inline is None:
        return
    known: dict[str, Callable[[str], str]] = {
        "quote": column_values.json_string,
        "plain": column_values.plain,
    }
    assert eval(form.inline.replace("$", "v"), known, {"v": text}) == form.to_json(text)
