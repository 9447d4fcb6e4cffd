import base64 as b64
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc import column_values
from cdc.built_in_types import BUILT_IN
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
    escaped = "".join(
        {92: r"\\"}.get(byte, chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in raw
    )
    assert b64.b64decode(value(17, f"\\x{raw.hex()}")) == b64.b64decode(value(17, escaped)) == raw


@pytest.mark.parametrize(
    "text", ["t", "-17", "NaN", "infinity", "2026-11-24 03:28:19+00", "0044-03-15 BC", "24:00:00"]
)
def test_the_inline_form_is_the_function(text: str) -> None:
    known: dict[str, Callable[[str], str]] = {
        "quote": column_values.json_string,
        "plain": column_values.plain,
    }
    forms = {form for form in BUILT_IN.values() if form.inline}
    assert len(forms) == 7
    for form in forms:
        assert eval((form.inline or "").replace("$", "v"), known, {"v": text}) == form.to_json(text)
