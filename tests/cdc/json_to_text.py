"""An event's JSON values written back as the text that the type's input takes."""

import base64
import json
from typing import Any


class Digits(str):
    """A JSON number as it is written."""

    __slots__ = ()


def read_exactly(payload: bytes) -> Any:
    """JSON with its numbers as `Digits`; what is no JSON, such as NaN, is an error."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(payload.decode(), parse_int=Digits, parse_float=Digits, parse_constant=refuse)


def from_bool(value: object) -> str:
    assert isinstance(value, bool)
    return "t" if value else "f"


def from_number(value: object) -> str:
    assert isinstance(value, Digits) or value in ("NaN", "Infinity", "-Infinity")
    return str(value)


def from_string(value: object) -> str:
    assert type(value) is str
    return value


def from_base64(value: str) -> str:
    return rf"\x{base64.b64decode(value, validate=True).hex()}"


def from_json(value: Any) -> str:
    """Compact."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(k)}:{from_json(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(from_json, value))}]"
    return value if isinstance(value, Digits) else json.dumps(value)


def from_object(value: dict[str, str | None]) -> str:
    return ",".join(f"{quoted(k)}=>{'NULL' if v is None else quoted(v)}" for k, v in value.items())


def quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'
