"""The kind `rest`: one HTTP request with a JSON body.

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

SHAPE = RequestShape({
    "method": RequestKey(Leaf.TEXT, required=True, check=method_token),
    "path": RequestKey(Leaf.PATH, required=True, check=path_target),
    "query": RequestKey(Leaf.QUERY),
    "headers": RequestKey(Leaf.HEADER, check=header_texts),
    "body": RequestKey(Leaf.TREE),
})  # fmt: skip


def prepare(request: Mapping[str, Any], idempotency_key: str) -> Prepared:
    """parts: method, path, query, headers, body. A mapping's own Idempotency-Key wins. Raises RequestInvalid."""
    unknown = sorted(set(request) - set(SHAPE.keys))
    if unknown:
        raise RequestInvalid(f"request.{unknown[0]}: rest knows only {', '.join(SHAPE.keys)}")
    content = json_payload(request["body"]) if "body" in request else b""
    parts = {
        "method": method_token(request.get("method")),
        "path": path_target(request.get("path")),
        "query": query_texts(request.get("query")),
        "headers": _headers(request, idempotency_key),
        "body": request.get("body"),
    }
    return Prepared("rest", parts, content)


def _headers(request: Mapping[str, Any], idempotency_key: str) -> dict[str, str]:
    given = header_texts(request.get("headers"))
    usual = header_texts({
        "Accept": "application/json",
        "Idempotency-Key": idempotency_key,
        "User-Agent": "fracttal-bridge",
    })  # fmt: skip
    if "body" in request:
        usual["Content-Type"] = "application/json"
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
