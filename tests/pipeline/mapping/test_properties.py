"""Whatever a column holds: the request's shape is the mapping's, its values are the column's."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.protocol import Answer
from eventbus.event import decode_json, encode_json
from pipeline.mapping import MappingInvalid, RenderError, RenderInput, compile_mapping
from pipeline.mapping.case_facts import Facts
from pipeline.mapping.walk import Walk, walk

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


EVERYTHING = compile_mapping(
    """
source: {table: public.t, operations: [insert, update, delete, read]}
ordering: after.x
when: changed('x') or op != 'update'
enrich:
  one: {table: public.a, where: {id: "{{ after.x }}"}}
  many: {table: public.b, where: {id: "{{ one.y | default(null) }}"}, many: true}
vars: {v: "{{ many | map(attribute='y', default=0) | list }}"}
skip_if: after.y == 'skip'
connector: rest
steps:
  find: {reads: true, request: {method: GET, path: "/a/{{ after.y }}", query: {q: "{{ after.x }}"}}}
  send:
    request: {method: POST, path: /b, xml: {a: {"@x": "{{ after.x }}", b: "{{ vars.v }}"}}}
    repeat: {find: {request: {method: GET, path: /b}, found: body.x == after.x}}
  note: {request: {method: POST, path: /c, text: "{{ steps.find.body | tojson }};{{ after.y | csv }}"}}
response: {ok: body.ok, save: {x: "{{ body }}"}}
""",
    file="m",
    name="m",
)
ROWS = st.lists(st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3), max_size=3)


@settings(max_examples=200)
@given(
    st.sampled_from(["insert", "update", "delete", "read"]),
    st.none() | st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3),
    st.none() | st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3),
    st.lists(st.sampled_from("xyz"), max_size=2, unique=True),
    ROWS,
    VALUES,
)
def test_any_event_ends_in_a_request_or_a_clean_error_after_finite_reads(
    op: str, before: Any, after: Any, unchanged: list[str], rows: Any, body: Any
) -> None:
    if after is not None:
        after = {name: value for name, value in after.items() if name not in unchanged}
    event = {
        "id": "e", "op": op, "tenant": "1", "source": {"schema": "public", "table": "t"}, "key": {"id": 1},
        "before": before, "after": after, "unchanged": unchanged,
    }  # fmt: skip
    facts = Facts(
        {"one": rows, "many": rows},
        columns=dict.fromkeys("xyz", body),
        answers={label: Answer(200, {}, body) for label in ("find", "send", "send.find", "note")},
        unsure=frozenset({"send"}),
    )
    given = RenderInput(event, "t", "r", {}, "d")
    refused: RenderError | None = None
    found = Walk()
    try:
        found = walk(EVERYTHING, given, facts)
    except RenderError as error:
        refused = error
    assert refused is None or (refused.line and str(refused).startswith("m:"))
    assert refused or found.end is not None or found.requests
    assert len(found.reads) <= 4
    assert not floats([each.request for each in found.requests])
    EVERYTHING.ordering_keys(given)


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
