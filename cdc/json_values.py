"""Columns of type json and jsonb: the value itself, wherever an event's readers can hold it."""

import re
from itertools import accumulate

from cdc.column_values import Form, json_string

DEEPEST = 500
"""Levels of objects and arrays up to which a value stands as it is.

PostgreSQL takes some ten thousand; readers stop at about a thousand (Python, Jackson), and then the whole event would
be lost to them, not just this value.
"""


def json_text(text: str) -> str:
    r"""The value; a string where no Unicode text can hold it (a lone `\ud800`, in type json), or few readers could."""
    if "\\u" in text and any(map(_lone_surrogate, _UNICODE_ESCAPE.finditer(text))):
        return json_string(text)
    if len(text) > 2 * DEEPEST and text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        return json_string(text)
    return text


JSON = Form(json_text)

_UNICODE_ESCAPE = re.compile(r"\\(?:u([dD][89abAB]..)(?:\\u[dD][c-fC-F]..)?|u([dD][c-fC-F]..)|[\s\S])")


def _lone_surrogate(escape: re.Match[str]) -> bool:
    return (escape[1] is not None and len(escape[0]) == 6) or escape[2] is not None


_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def _depth(text: str) -> int:
    """Bytes rather than a loop over tokens: ten megabytes of brackets pass in half a second."""
    raw = text.encode("utf-8", "surrogateescape").replace(b"\\\\", b"").replace(b'\\"', b"")
    steps = b"".join(raw.split(b'"')[::2]).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)
