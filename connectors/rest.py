"""The kind `rest`: one HTTP request, with JSON, a form, XML or any text as its body.

Connection options: `csrf: true` for OData servers that want a token, or the path below base_url to fetch it from.
"""

from collections.abc import Mapping
from typing import Any

from connectors.auth import check_auth
from connectors.http_request import (
    header_texts,
    json_payload,
    method_token,
    path_target,
    query_target,
    query_texts,
)
from connectors.protocol import (
    ConnectionSettings,
    Connector,
    Leaf,
    Prepared,
    RequestInvalid,
    RequestKey,
    RequestShape,
    SettingsInvalid,
)
from connectors.xml_payload import xml_document

SHAPE = RequestShape({
    "method": RequestKey(Leaf.TEXT, required=True, check=method_token),
    "path": RequestKey(Leaf.PATH, required=True, check=path_target),
    "query": RequestKey(Leaf.QUERY),
    "headers": RequestKey(Leaf.HEADER, check=header_texts),
    "body": RequestKey(Leaf.TREE),
    "form": RequestKey(Leaf.QUERY),
    "xml": RequestKey(Leaf.XML, check=xml_document),
    "text": RequestKey(Leaf.TEXT),
}, payload=("body", "form", "xml", "text"))  # fmt: skip
_CONTENT_TYPES = {
    "body": "application/json",
    "form": "application/x-www-form-urlencoded",
    "xml": "application/xml",
    "text": "text/plain; charset=utf-8",
}


def prepare(request: Mapping[str, Any], idempotency_key: str) -> Prepared:
    """parts: method, path, query, headers, body. A mapping's own Idempotency-Key wins. Raises RequestInvalid."""
    unknown = sorted(set(request) - set(SHAPE.keys))
    if unknown:
        raise RequestInvalid(f"request.{unknown[0]}: rest knows only {', '.join(SHAPE.keys)}")
    kinds = [key for key in SHAPE.payload if key in request]
    if len(kinds) > 1:
        raise RequestInvalid(f"request.{kinds[1]}: a request holds one of {', '.join(SHAPE.payload)}")
    kind = kinds[0] if kinds else None
    body, content = (None, b"") if kind is None else _payload(kind, request[kind])
    parts = {
        "method": method_token(request.get("method")),
        "path": path_target(request.get("path")),
        "query": query_texts(request.get("query")),
        "headers": _headers(request, idempotency_key, kind),
        "body": body,
    }
    return Prepared("rest", parts, content)


def _payload(kind: str, value: Any) -> tuple[Any, bytes]:
    """The body as it is shown, a JSON value or the text, and its bytes. Raises RequestInvalid."""
    match kind:
        case "body":
            return value, json_payload(value)
        case "form":
            text = query_target(query_texts(value, "form")).removeprefix("?")
        case "xml":
            text = xml_document(value)
        case _:
            if not isinstance(value, str):
                raise RequestInvalid(f"request.text must be a text, not {type(value).__name__}")
            text = value
    try:
        return text, text.encode()
    except UnicodeEncodeError:
        raise RequestInvalid(
            f"request.{kind} holds half of a surrogate pair, which no text can carry"
        ) from None


def _headers(request: Mapping[str, Any], idempotency_key: str, kind: str | None) -> dict[str, str]:
    given = header_texts(request.get("headers"))
    usual = header_texts({
        "Accept": "application/json",
        "Idempotency-Key": idempotency_key,
        "User-Agent": "fracttal-bridge",
    })  # fmt: skip
    if kind is not None:
        usual["Content-Type"] = _CONTENT_TYPES[kind]
    names = {name.lower() for name in given}
    return {name: value for name, value in usual.items() if name.lower() not in names} | given


def check_settings(settings: ConnectionSettings) -> None:
    """Pure; secrets may be unresolved. Raises SettingsInvalid."""
    from connectors.base_url import check_base_url  # noqa: PLC0415 — httpx and yarl, which who renders has no use for

    check_base_url(settings.base_url)
    check_auth(settings.auth)
    unknown = sorted(set(settings.options) - {"csrf"})
    if unknown:
        raise SettingsInvalid(unknown[0], "rest knows only the option csrf")
    csrf = settings.options.get("csrf", False)
    if isinstance(csrf, bool):
        return
    try:
        path_target(csrf)
    except RequestInvalid:
        raise SettingsInvalid("csrf", "must be true, or a path that begins with /") from None


def open_connector(settings: ConnectionSettings) -> Connector:
    """Connects to nothing yet. Raises SettingsInvalid."""
    # who only compiles mappings and renders needs no HTTP client (`pipeline.jail.child`)
    from connectors.rest_connector import RestConnector  # noqa: PLC0415

    check_settings(settings)
    return RestConnector(settings)
