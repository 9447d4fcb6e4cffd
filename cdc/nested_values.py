"""Values that hold values: arrays and hstore."""

import re

from cdc.column_values import Form, ToJson, json_string

_INSIDE = r'([^"\\]*+(?:\\[\s\S][^"\\]*+)*+)'
_QUOTED = f'"{_INSIDE}"'
_PAIR = re.compile(rf"{_QUOTED}=>(?:{_QUOTED}|NULL)(?:, )?")


def hstore(text: str) -> str:
    """From `"a"=>"1", "b"=>NULL`."""
    members, at = [], 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None:
            return json_string(text)
        value = "null" if pair[2] is None else json_string(_unescape(pair[2]))
        members.append(f"{json_string(_unescape(pair[1]))}:{value}")
        at = pair.end()
    return f"{{{','.join(members)}}}"


HSTORE = Form(hstore)


def _unescape(quoted: str) -> str:
    r"""`\x` is x. No value holds a NUL, so that it can keep the place of an escaped backslash."""
    if "\\" not in quoted:
        return quoted
    return quoted.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\")


def array_of(element: ToJson, delimiter: str = ",") -> Form:
    """Nested JSON arrays; bounds of their own, `[0:1]={7,8}`, have no place in JSON: the text as sent."""
    token = re.compile(rf'{_QUOTED}|([{{}}])|([^{{}}"{re.escape(delimiter)}]++)')

    def bare(item: str) -> str:
        return "null" if item == "NULL" else element(item)

    def simple(text: str) -> str:
        """One dimension, nothing quoted: the most of them."""
        inner = text[1:-1]
        return f"[{','.join(map(bare, inner.split(delimiter)))}]" if inner else "[]"

    def to_json(text: str) -> str:
        if text[:1] != "{":
            return json_string(text)
        if '"' not in text and text.find("{", 1) < 0:
            return simple(text)
        parts: list[str] = []
        for found in token.finditer(text):
            quoted, brace, item = found.groups()
            if brace != "}" and parts and parts[-1] != "[":
                parts.append(",")
            if quoted is not None:
                parts.append(element(_unescape(quoted)))
            elif brace is not None:
                parts.append("[" if brace == "{" else "]")
            else:
                parts.append(bare(item))
        return "".join(parts)

    return Form(to_json)
