"""Whatever a column holds: the request's shape is the mapping's, its values are the column's."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus.event import decode_json, encode_json
from pipeline.mapping import MappingInvalid, RenderError, RenderInput, compile_mapping

NUMBERS = st.integers(-(10**30), 10**30) | st.decimals(allow_nan=False, allow_infinity=False).filter(
    lambda number: -300 < int(number.as_tuple().exponent) < 300
)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)

TEXT = """
source: {table: public.t}
connector: rest
request:
  method: POST
  path: "/a/{{ after.x }}/b"
  query: {q: "{{ after.x }}", r: "[{{ after.x }}]"}
  body:
    whole: "{{ after.x }}"
    cut: "{{ after.x | string | cut(5) }}"
    list: {$for: "v in [after.x, 1]", $value: "{{ v }}"}
"""
BODY = compile_mapping(
    TEXT.replace("/{{ after.x }}/b", "")
    .replace('{q: "{{ after.x }}", r: "[{{ after.x }}]"}', "{}")
    .replace('    cut: "{{ after.x | string | cut(5) }}"\n', ""),
    file="m",
    name="m",
)
WHOLE = compile_mapping(TEXT, file="m", name="m")
SUM = compile_mapping(
    TEXT.split("request:", maxsplit=1)[0]
    + 'request: {method: POST, path: /x, body: ["{{ after.x + after.y }}", "{{ after.x - after.y }}", "{{ after.x * after.y }}", "{{ [after.x, after.y] | sum }}", "{{ after.x | round(2) }}", "{{ after.x | int }}", "{{ after.x | decimal(3) }}"]}',
    file="m",
    name="m",
)


def rendered(mapping: Any, **after: Any) -> Any:
    event = {
        "id": "e",
        "op": "insert",
        "tenant": "1",
        "source": {"schema": "public", "table": "t"},
        "after": after,
    }
    return mapping.render(RenderInput(event, "t", "r", {}, "d")).request


def floats(value: Any) -> Any:
    if isinstance(value, dict):
        return any(map(floats, value.values()))
    return any(map(floats, value)) if isinstance(value, list) else isinstance(value, float)


@given(VALUES)
def test_a_value_never_breaks_the_payload(value: Any) -> None:
    body = rendered(BODY, x=value)["body"]
    assert body == {"whole": value, "list": [value, 1]}
    assert not floats(body)


@given(VALUES.filter(lambda value: not isinstance(value, list | dict)))
def test_the_payload_reads_back_digit_for_digit(value: Any) -> None:
    body = rendered(BODY, x=value)["body"]
    back = decode_json(encode_json(body))
    assert back["whole"] == value
    assert isinstance(back["whole"], bool) is isinstance(value, bool)


@given(SCALARS)
def test_a_path_has_the_segments_of_its_mapping(value: Any) -> None:
    if value in (None, "", ".", ".."):
        with pytest.raises(RenderError):
            rendered(WHOLE, x=value)
        return
    request = rendered(WHOLE, x=value)
    empty, a, segment, b = request["path"].split("/")
    assert (empty, a, b) == ("", "a", "b")
    assert request["path"].isascii()
    assert unquote(segment) == request["query"]["q"]
    assert request["query"]["r"] == f"[{request['query']['q']}]"


@settings(max_examples=200)
@given(NUMBERS, NUMBERS)
def test_arithmetic_is_exact_and_never_float(x: Any, y: Any) -> None:
    refused = ""
    body: list[Any] = []
    try:
        body = rendered(SUM, x=x, y=y)["body"]
    except RenderError as caught:
        refused = caught.class_
    assert refused in ("", "value", "limit")
    if refused:
        return
    assert not floats(body)
    assert all(isinstance(number, int | Decimal) for number in body[:5])
    assert [Fraction(number) for number in body[:3]] == [
        Fraction(x) + Fraction(y), Fraction(x) - Fraction(y), Fraction(x) * Fraction(y),
    ]  # fmt: skip
    assert body[0] == body[3]


@given(st.text(), st.text())
def test_any_text_of_a_mapping_compiles_or_says_what_is_wrong(one: str, two: str) -> None:
    text = (
        TEXT.split("  body:", maxsplit=1)[0] + "  body: " + json.dumps(["{{" + one + "}}", two, "{% " + two])
    )
    findings = []
    try:
        compile_mapping(text, file="m", name="m")
    except MappingInvalid as invalid:
        findings = invalid.findings
    assert all(finding.message and finding.mark.line for finding in findings)
