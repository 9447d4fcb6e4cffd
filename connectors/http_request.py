"""A rendered request as HTTP/1.1 puts it: target, headers, JSON payload. Pure.

Nothing is normalised away: what the mapping percent-encoded (`%2F` in a key) stays as it is on the wire.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from connectors.protocol import RequestInvalid

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
VISIBLE = re.compile(r"[ -~]*")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE = "/!$&'()*+,;=:@%~"  # RFC 3986, 3.3; what is encoded stays encoded
MOST_DIGITS = 200_000
"""PostgreSQL's numeric has 131,072 before the point, and 16,383 behind it."""
_QUERY_SAFE = "/?:@!$'()*,~"  # without what separates pairs: & ; = +
_OURS = frozenset({
    "accept-encoding", "authorization", "connection", "content-length", "cookie", "expect", "host", "keep-alive",
    "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "x-csrf-token",
})  # fmt: skip
READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""
_encoder = msgspec.json.Encoder(decimal_format="number")


def path_target(path: Any) -> str:
    """The path as sent. Raises RequestInvalid for what would lead elsewhere than it reads."""
    if not isinstance(path, str) or not path.startswith("/"):
        escaped = isinstance(path, str) and path[:3].lower() == "%2f"
        hint = "; a value's / is escaped, so write it in the mapping" if escaped else ""
        raise RequestInvalid(f"request.path must be a text that begins with /, this is {path!r}{hint}")
    if "?" in path or "#" in path:
        raise RequestInvalid(
            f"request.path must have no ? or #: {path!r}; write parameters under request.query"
        )
    if _BAD_PERCENT.search(path):
        raise RequestInvalid(f"request.path has a % that begins no escape: {path!r}; write %25")
    for segment in path.split("/"):
        if segment.lower().replace("%2e", ".") in {".", ".."}:
            raise RequestInvalid(
                f"request.path has a segment {segment!r}, which would lead elsewhere: {path!r}"
            )
    return quote(path, safe=_PATH_SAFE)


def endpoint_target(base_url: str) -> str:
    """What is to stand behind base_url, without the slash at its end, where it is the endpoint itself: to some servers
    /graphql/ is another one than /graphql.
    """
    return "/" if base_url.endswith("/") else ""


def query_texts(query: Any, key: str = "query") -> dict[str, str | list[str]]:
    """Names to texts, or to lists of texts; null left out. Raises RequestInvalid."""
    texts: dict[str, str | list[str]] = {}
    for name, value in _members(key, query):
        if isinstance(value, list):
            texts[name] = [plain_text(f"{key}.{name}", item) for item in value if item is not None]
        elif value is not None:
            texts[name] = plain_text(f"{key}.{name}", value)
    return texts


def query_target(texts: Mapping[str, str | list[str]]) -> str:
    """`?name=value&…`, a list as its name repeated, a space as %20; "" for an empty query."""
    pairs = [
        f"{quote(name, safe=_QUERY_SAFE)}={quote(text, safe=_QUERY_SAFE)}"
        for name, value in texts.items()
        for text in ([value] if isinstance(value, str) else value)
    ]
    return "?" + "&".join(pairs) if pairs else ""


def header_texts(headers: Any) -> dict[str, str]:
    """Names to values, null left out. Raises RequestInvalid for what HTTP cannot carry or the connector sets."""
    texts: dict[str, str] = {}
    for name, value in _members("headers", headers):
        if not TOKEN.fullmatch(name):
            raise RequestInvalid(f"request.headers: {name!r} is not a header name")
        if name.lower() in _OURS:
            raise RequestInvalid(f"request.headers: {name} is set by the connection, not by a mapping")
        if value is not None:
            texts[name] = _carried(name, plain_text(f"headers.{name}", value))
    if len({name.lower() for name in texts}) < len(texts):
        raise RequestInvalid("request.headers: the same name twice, in capitals and not")
    return texts


def with_usual(given: dict[str, str], usual: Mapping[str, str]) -> dict[str, str]:
    """The mapping's headers, and what the connector sends where those do not have it, in capitals or not."""
    names = {name.lower() for name in given}
    return {name: value for name, value in usual.items() if name.lower() not in names} | given


def header_value(headers: Mapping[str, str], name: str) -> str:
    """name: in lower case. "" where there is none."""
    return next((value for each, value in headers.items() if each.lower() == name), "")


def method_token(method: Any) -> str:
    if not isinstance(method, str) or not TOKEN.fullmatch(method):
        raise RequestInvalid(f"request.method must be an HTTP method such as POST, this is {method!r}")
    return method.upper()


def json_payload(body: Any) -> bytes:
    """Any JSON value; a Decimal with its own digits. Raises RequestInvalid."""
    try:
        return _encoder.encode(body)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise RequestInvalid(f"request.body is no JSON value: {error}") from None


def _members(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise RequestInvalid(f"request.{key} must be names and values, this is {type(value).__name__}")
    yield from value.items()


def plain_text(key: str, value: Any) -> str:
    """A value written out. key: below `request`. Raises RequestInvalid."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal() if value.is_finite():
            return plain_number(f"request.{key}", value)
        case _:
            raise RequestInvalid(
                f"request.{key} must be a text, a number or a boolean, not {type(value).__name__}"
            )


def plain_number(where: str, value: Decimal) -> str:
    """All its digits, without an exponent. Raises RequestInvalid where those would be gigabytes, as of 1e999999999."""
    if abs(value.adjusted()) > MOST_DIGITS:
        raise RequestInvalid(f"{where} is a number of more than {MOST_DIGITS} digits")
    return format(value, "f")


def _carried(name: str, value: str) -> str:
    stripped = value.strip(" \t")
    if not VISIBLE.fullmatch(stripped):
        raise RequestInvalid(
            f"request.headers.{name} has a line break, a control character or a letter outside ASCII: {value!r}"
        )
    return stripped
