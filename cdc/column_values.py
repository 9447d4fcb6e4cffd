"""Column values: PostgreSQL's text output to JSON (docs/events.md, "Values").

The session that sends them is pinned: ISO dates, UTC, hexadecimal bytea, ISO 8601 intervals, extra_float_digits 1.
Text here is the value as printed, never NULL; JSON is text too. No value that a server can print raises, for it would
stop capture.
"""

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from json.encoder import encode_basestring

ToJson = Callable[[str], str]

json_string: ToJson = encode_basestring
"""Quoted and escaped; everything from U+0020 on but quote and backslash stands as it is."""


class Wire(IntEnum):
    """How wire_rows.pyx, where it is compiled, writes a form by itself; CALL: by `to_json`."""

    CALL, TEXT, AS_IS, PLAIN, NUMBER, BOOLEAN, TIMESTAMP, TIMESTAMPTZ = range(8)


@dataclass(frozen=True, slots=True)
class Form:
    """How a type's text becomes JSON.

    inline: the same as an expression over `$`, for encoders made per table, where a call would cost more than the work.
    """

    to_json: ToJson
    inline: str | None = None
    wire: Wire = Wire.CALL


def number(text: str) -> str:
    """NaN, Infinity and -Infinity are no JSON numbers; every other digit stays as printed."""
    return text if text[-1] <= "9" else f'"{text}"'


def boolean(text: str) -> str:
    return "true" if text == "t" else "false"


def timestamp(text: str) -> str:
    """Infinity, BC and years over 9999 as printed."""
    return f'"{text[:10]}T{text[11:]}"' if _four_digit_year(text) else f'"{text}"'


def timestamptz(text: str) -> str:
    if text[-3:] == "+00" and _four_digit_year(text):
        return f'"{text[:10]}T{text[11:-3]}Z"'
    return f'"{text}"'


def _four_digit_year(text: str) -> bool:
    return text[10:11] == " " and text[-1] != "C"


def plain(text: str) -> str:
    """Text that cannot hold anything to escape."""
    return f'"{text}"'


def base64(text: str) -> str:
    r"""From `\x0123ab`, or from the escape format where something on the way unpinned the session: `a\\b\000`."""
    raw = bytes.fromhex(text[2:]) if text[:2] == "\\x" else _ESCAPE.sub(_octet, text.encode())
    return f'"{b64encode(raw).decode("ascii")}"'


_ESCAPE = re.compile(rb"\\(\\|[0-7]{3})")


def _octet(escape: re.Match[bytes]) -> bytes:
    return b"\\" if escape[1] == b"\\" else bytes((int(escape[1], 8),))


TEXT = Form(json_string, "quote($)", Wire.TEXT)
AS_IS = Form(str, "$", Wire.AS_IS)
PLAIN = Form(plain, "f'\"{$}\"'", Wire.PLAIN)
NUMBER = Form(number, "$ if $[-1] <= '9' else plain($)", Wire.NUMBER)
BOOLEAN = Form(boolean, "'true' if $ == 't' else 'false'", Wire.BOOLEAN)
TIMESTAMP = Form(
    timestamp, "f'\"{$[:10]}T{$[11:]}\"' if $[10:11] == ' ' and $[-1] != 'C' else plain($)", Wire.TIMESTAMP
)
TIMESTAMPTZ = Form(
    timestamptz,
    "f'\"{$[:10]}T{$[11:-3]}Z\"' if $[-3:] == '+00' and $[10] == ' ' else plain($)",
    Wire.TIMESTAMPTZ,
)
BYTEA = Form(base64)
