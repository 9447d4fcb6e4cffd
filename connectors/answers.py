"""An answer's bytes as an Answer: JSON without a float in between, XML as a tree, or text; never a session's secrets.
Pure.
"""

import codecs
import json
import re
import zlib
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import msgspec

from connectors.protocol import Answer
from connectors.xml_answer import XmlUnread, xml_tree

_SECRET_HEADERS = frozenset({"set-cookie", "x-csrf-token"})
_INT_DIGITS = 4_300
_DEEPEST = 200
"""What is nested deeper is text: whoever passes an answer on has less of the stack left than who reads it."""
_CHARSETS = re.compile(
    r"ascii|utf-(8|16|32)(-sig|-[bl]e)?|iso8859-\d+|cp\d+|koi8-\w|mac-\w+|gb\w+|big5\w*|euc_\w+|shift_jis\w*|iso2022_\w+|tis-620"
)
"""Python has others under the same roof, such as punycode, which takes half a minute for a megabyte."""


def read_answer(
    status: int, headers: Iterable[tuple[str, str]], content: bytes, *, truncated: bool
) -> Answer:
    """headers: names in lower case; a repeated one's values are joined by commas."""
    shown: dict[str, str] = {}
    for name, value in headers:
        if name not in _SECRET_HEADERS:
            shown[name] = f"{shown[name]}, {value}" if name in shown else value
    body = _text(content, shown) if truncated else _value(content, shown)
    return Answer(status, shown, body, truncated)


def decompressed(content: bytes, encoding: str, largest: int) -> tuple[bytes, bool]:
    """What a server compressed although we ask for `identity`, and whether that is all of it.

    At most `largest` bytes are unpacked, however small the content. An encoding we cannot read stays as it is.
    """
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return content, True
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = unpacker.decompress(content, largest)
    except zlib.error:
        return content, True
    return plain, unpacker.eof


def _value(content: bytes, headers: dict[str, str]) -> Any:
    if not content.strip():
        return None
    if _says_xml(content, headers):
        return _xml(content, headers)
    try:
        value = _decoder.decode(content)
    except (ValueError, RecursionError):
        return _unusual_json(content, headers)
    return value if _is_flat(content, value) else _text(content, headers)


def _is_flat(content: bytes, value: Any) -> bool:
    """Whether the JSON value is nested no deeper than _DEEPEST."""
    if content.count(b"[") + content.count(b"{") <= _DEEPEST:
        return True
    level = [value]
    for _ in range(_DEEPEST):
        members = [each.values() if isinstance(each, dict) else each for each in level]
        level = [below for several in members for below in several if isinstance(below, dict | list)]
        if not level:
            return True
    return False


def _unusual_json(content: bytes, headers: dict[str, str]) -> Any:
    # numbers longer than msgspec and int() read (4,300 digits), and what is no JSON at all
    try:
        value = json.loads(content, parse_float=_decimal, parse_int=_integer, parse_constant=_refuse)
        _encoder.encode(value)  # half of a surrogate pair could be written into no dead letter
    except (ValueError, RecursionError):
        return _text(content, headers)
    return value if _is_flat(content, value) else _text(content, headers)


def _says_xml(content: bytes, headers: dict[str, str]) -> bool:
    kind = headers.get("content-type", "").lower().partition(";")[0].strip()
    return "html" not in kind and (kind.endswith("xml") or content.lstrip().startswith(b"<?xml"))


def _xml(content: bytes, headers: dict[str, str]) -> Any:
    text = _text(content, headers)
    declared = "charset=" in headers.get("content-type", "").lower()
    try:
        tree = xml_tree(text if declared else content)
        _encoder.encode(tree)  # see _unusual_json
    except (XmlUnread, UnicodeEncodeError):
        return text
    return tree


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < _INT_DIGITS else Decimal(digits)


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exponent of twenty digits
        raise ValueError("no number has such an exponent") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = msgspec.json.Decoder(float_hook=_decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def _text(content: bytes, headers: dict[str, str]) -> str:
    _, _, charset = headers.get("content-type", "").lower().partition("charset=")
    try:
        codec = codecs.lookup(charset.partition(";")[0].strip(' "') or "utf-8").name
    except (LookupError, ValueError):
        codec = ""
    text = content.decode(codec if _CHARSETS.fullmatch(codec) else "utf-8", errors="replace")
    return text.encode("utf-8", "replace").decode()  # some make half of a surrogate pair
