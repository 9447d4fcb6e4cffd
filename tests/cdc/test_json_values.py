import pytest

from cdc.column_values import json_string
from cdc.json_values import DEEPEST, json_text
from eventbus.event import decode_json


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
    assert json_text(text) == (text if is_value else json_string(text))
    decode_json(json_text(text).encode())


def nested(levels: int, inside: str = "") -> str:
    return '[{"a":' * (levels // 2) + "[" * (levels % 2) + inside + "]" * (levels % 2) + "}]" * (levels // 2)


@pytest.mark.parametrize("inside", ["1", r'"[\\"', r'"[\"[["', '"' + "[{" * 600 + '"'])
def test_what_nests_deeper_than_readers_read_is_a_string(inside: str) -> None:
    deepest, deeper = nested(DEEPEST, inside), nested(DEEPEST + 1, inside)
    assert json_text(deepest) == deepest
    assert decode_json(json_text(deeper).encode()) == deeper
    decode_json(f'{{"after":{{"doc":{deepest}}}}}'.encode())


def test_brackets_side_by_side_or_in_strings_are_no_levels() -> None:
    flat = f'[{",".join(["[{}]"] * DEEPEST)}, "{"[" * DEEPEST}"]'
    assert json_text(flat) == flat
