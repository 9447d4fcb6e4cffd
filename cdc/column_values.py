"""Column values: PostgreSQL's text output to JSON (docs/events.md, "Values").

The session that sends them is pinned: ISO dates, UTC, hexadecimal bytea, ISO 8601 intervals, extra_float_digits 1.
Text here is the value as printed, never NULL; JSON is text too.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring
from types import MappingProxyType

from cdc.pgoutput import Type

ToJson = Callable[[str], str]

json_string: ToJson = encode_basestring
"""Quoted and escaped; everything from U+0020 on but quote and backslash stands as it is."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a type's text becomes JSON.

    inline: the same as an expression over `$`, for compiled encoders, where a call would cost more than the work.
    """

    to_json: ToJson
    inline: str | None = None


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


_UNICODE_ESCAPE = re.compile(r"\\(?:u([dD][89abAB]..)(?:\\u[dD][c-fC-F]..)?|u([dD][c-fC-F]..)|[\s\S])")


def json_text(text: str) -> str:
    r"""The value itself; type json keeps what no Unicode text can hold, such as a lone `\ud800`: then a string."""
    if "\\u" in text and any(map(_lone_surrogate, _UNICODE_ESCAPE.finditer(text))):
        return json_string(text)
    return text


def _lone_surrogate(escape: re.Match[str]) -> bool:
    return (escape[1] is not None and len(escape[0]) == 6) or escape[2] is not None


def base64(text: str) -> str:
    r"""From `\x0123ab`."""
    return f'"{b64encode(bytes.fromhex(text[2:])).decode("ascii")}"'


_ESCAPED = re.compile(r"\\([\s\S])")
_QUOTED = r'"((?:[^"\\]|\\[\s\S])*+)"'
_PAIR = re.compile(rf"{_QUOTED}=>(?:{_QUOTED}|NULL)(?:, )?")


def hstore(text: str) -> str:
    """From `"a"=>"1", "b"=>NULL`."""
    members, at = [], 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None:
            raise ValueError(f"not an hstore from character {at} on")
        value = "null" if pair[2] is None else json_string(_unescape(pair[2]))
        members.append(f"{json_string(_unescape(pair[1]))}:{value}")
        at = pair.end()
    return f"{{{','.join(members)}}}"


def _unescape(quoted: str) -> str:
    return _ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted


def array_of(element: ToJson, delimiter: str = ",") -> Form:
    """Nested JSON arrays; bounds of their own, `[0:1]={7,8}`, have no place in JSON: the text as sent."""
    token = re.compile(rf'{_QUOTED}|([{{}}])|([^{{}}"{re.escape(delimiter)}]++)')

    def item(found: re.Match[str]) -> str:
        if found[1] is not None:
            return element(_unescape(found[1]))
        return "null" if found[3] == "NULL" else element(found[3])

    def to_json(text: str) -> str:
        if text[0] == "[":
            return json_string(text)
        parts: list[str] = []
        for found in token.finditer(text):
            brace = found[2]
            if brace != "}" and parts and parts[-1] != "[":
                parts.append(",")
            parts.append("[" if brace == "{" else "]" if brace == "}" else item(found))
        return "".join(parts)

    return Form(to_json)


TEXT = Form(json_string, "quote($)")
_AS_IS = Form(str, "$")
_PLAIN = Form(plain, "f'\"{$}\"'")
_NUMBER = Form(number, "$ if $[-1] <= '9' else plain($)")
_BOOLEAN = Form(boolean, "'true' if $ == 't' else 'false'")
_TIMESTAMPTZ = Form(
    timestamptz, "f'\"{$[:10]}T{$[11:-3]}Z\"' if $[-3:] == '+00' and $[10] == ' ' else plain($)"
)
_JSON = Form(json_text)

# type OID, array's OID, name in pg_catalog, form: those of src/include/catalog/pg_type.dat that are common
_BUILT_IN = (
    (16, 1000, "bool", _BOOLEAN),
    (17, 1001, "bytea", Form(base64)),
    (18, 1002, "char", TEXT),
    (19, 1003, "name", TEXT),
    (20, 1016, "int8", _AS_IS),
    (21, 1005, "int2", _AS_IS),
    (23, 1007, "int4", _AS_IS),
    (25, 1009, "text", TEXT),
    (26, 1028, "oid", _AS_IS),
    (114, 199, "json", _JSON),
    (700, 1021, "float4", _NUMBER),
    (701, 1022, "float8", _NUMBER),
    (869, 1041, "inet", _PLAIN),
    (1042, 1014, "bpchar", TEXT),
    (1043, 1015, "varchar", TEXT),
    (1082, 1182, "date", _PLAIN),
    (1083, 1183, "time", _PLAIN),
    (1114, 1115, "timestamp", Form(timestamp)),
    (1184, 1185, "timestamptz", _TIMESTAMPTZ),
    (1186, 1187, "interval", _PLAIN),
    (1266, 1270, "timetz", _PLAIN),
    (1700, 1231, "numeric", _NUMBER),
    (2950, 2951, "uuid", _PLAIN),
    (3802, 3807, "jsonb", _JSON),
)

_form_of_oid = {oid: form for oid, _, _, form in _BUILT_IN}
_form_of_oid |= {array: array_of(form.to_json) for _, array, _, form in _BUILT_IN}
BUILT_IN: Mapping[int, Form] = MappingProxyType(_form_of_oid)
"""By type OID; what is not here, the stream's type message or the catalogue tells."""

_form_of_name = {name: BUILT_IN[oid] for oid, _, name, _ in _BUILT_IN}
_form_of_name |= {f"_{name}": BUILT_IN[array] for _, array, name, _ in _BUILT_IN}


def form_of_message(message: Type) -> Form | None:
    """The form that a type message tells: of a domain, whose message names its built-in base type."""
    return _form_of_name.get(message.name) if message.schema == "pg_catalog" else None
