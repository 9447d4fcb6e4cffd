"""Bodies: what is a payload, and what is told of one that is none."""

from decimal import Decimal

import pytest

from bridge.console.payload import MAX_DEPTH, PayloadInvalid, read_payload
from eventbus.event import encode_json
from pipeline.payload_schema import PayloadSchema, SchemaInvalid

SCHEMA = b"""
{"type": "object", "required": ["type"],
 "properties": {"type": {"type": "string"}, "data": {"$ref": "#/$defs/order"}},
 "$defs": {"order": {"properties": {
    "id": {"type": "integer"}, "cost": {"type": "number", "multipleOf": 0.01, "minimum": 0},
    "a/b~c": {"items": {"enum": ["x", 1.5]}}}}}}
"""


def test_numbers_keep_their_digits() -> None:
    body = b'{"cost": 1273.10, "big": 123456789012345678901234567890.5, "n": 9007199254740993, "e": 1e400}'
    payload = read_payload(body)
    assert payload["cost"] == Decimal("1273.10")
    assert encode_json(payload) == (
        b'{"cost":1273.10,"big":123456789012345678901234567890.5,"n":9007199254740993,"e":1E+400}'
    )


def test_digits_beyond_any_machine_number_are_kept() -> None:
    digits = "7" * 5_000
    assert encode_json(read_payload(f'{{"n":{digits}}}'.encode())) == f'{{"n":{digits}}}'.encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": -Infinity}', "not valid JSON"),
        (b'{"a": [1, {"b": NaN}]}', "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b'{"a": "\\ud800"}', "surrogate pair"),
        (b'{"\\ud800": 1}', "surrogate pair"),
        (b"[1]", "no object"),
        (b'"geheim"', "no object"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nests more than"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not valid JSON"),
    ],
)
def test_what_is_no_payload_is_refused_without_quoting_it(body: bytes, why: str) -> None:
    with pytest.raises(PayloadInvalid, match=why) as error:
        read_payload(body)
    assert "geheim" not in str(error.value)


def test_nesting_up_to_the_limit_is_taken() -> None:
    assert read_payload(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH)


@pytest.mark.parametrize(
    ("body", "path", "keyword"),
    [
        (b"{}", "", "required"),
        (b'{"type": 1}', "/type", "type"),
        (b'{"type": "a", "data": {"id": 1.5}}', "/data/id", "type"),
        (b'{"type": "a", "data": {"cost": 0.001}}', "/data/cost", "multipleOf"),
        (b'{"type": "a", "data": {"cost": 1e1000000}}', "", "multipleOf"),  # no remainder can be told
        (b'{"type": "a", "data": {"cost": -1}}', "/data/cost", "minimum"),
        (b'{"type": "a", "data": {"a/b~c": ["x", "geheim"]}}', "/data/a~1b~0c/1", "enum"),
    ],
)
def test_the_first_complaint_names_place_and_rule(body: bytes, path: str, keyword: str) -> None:
    found = PayloadSchema(SCHEMA).complaint(read_payload(body))
    assert found is not None
    assert (found.path, found.keyword) == (path, keyword)


@pytest.mark.parametrize(
    "body", [b'{"type": "a"}', b'{"type": "a", "data": {"id": 1.0, "cost": 1273.10, "a/b~c": [1.50, "x"]}}']
)
def test_what_fulfils_the_schema_has_no_complaint(body: bytes) -> None:
    assert PayloadSchema(SCHEMA).complaint(read_payload(body)) is None


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "a JSON object"),
        (b'{"properties": {"a": {"type": "strin"}}}', "at /properties/a/type: 'strin' is not valid"),
        (b'{"$ref": "#/$defs/nowhere"}', "leads nowhere"),
        (b'{"items": {"$ref": "https://example.com/schema.json"}}', "nothing is fetched"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: bytes, why: str) -> None:
    with pytest.raises(SchemaInvalid, match=why):
        PayloadSchema(schema)
