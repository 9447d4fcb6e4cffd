"""Where two JSON values differ first, in words."""

from eventbus.event import encode_json
from pipeline.mapping.values import Value, equal


def first_difference(expected: Value, got: Value, path: str) -> str:
    """Empty where they are equal. 1 equals 1.0; a text never equals a number."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in [*expected, *(key for key in got if key not in expected)]:
            if key not in got:
                return f"{path}.{key} is missing"
            if key not in expected:
                return f"{path}.{key} is not expected, got {_shown(got[key])}"
            if found := first_difference(expected[key], got[key], f"{path}.{key}"):
                return found
        return ""
    if isinstance(expected, list) and isinstance(got, list):
        for index, (one, other) in enumerate(zip(expected, got, strict=False)):
            if found := first_difference(one, other, f"{path}[{index}]"):
                return found
        return (
            "" if len(expected) == len(got) else f"{path} has {len(got)} elements, expected {len(expected)}"
        )
    if equal(expected, got) and isinstance(expected, str) is isinstance(got, str):
        return ""
    return f"{path}: expected {_shown(expected)}, got {_shown(got)}"


def _shown(value: Value) -> str:
    text = encode_json(value).decode()
    return text if len(text) <= 200 else text[:199] + "…"
