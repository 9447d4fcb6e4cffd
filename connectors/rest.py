"""The kind `rest`: one HTTP request, with JSON, a form, XML, any text, files or an OData batch as its body.

Connection options: `csrf: true` for OData servers that want a token, or the path below base_url to fetch it from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.http_request import (
    header_texts,
    header_value,
    json_payload,
    method_token,
    path_target,
    query_target,
    query_texts,
    with_usual,
)
from connectors.http_settings import check_http_settings
from connectors.multipart_form import check_form, multipart_form
from connectors.odata_batch import REQUEST, BatchPrepared, check_batch, json_batch, multipart_batch
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
    "multipart": RequestKey(Leaf.TREE, check=check_form),
    "batch": RequestKey(Leaf.REQUESTS, check=check_batch, inside=REQUEST),
}, payload=("body", "form", "xml", "text", "multipart", "batch"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Payload:
    """shown: the body as a preview has it, a JSON value or the text. own_type: the mapping's Content-Type is in it."""

    shown: Any
    content: bytes
    content_type: str
    accept: str = "application/json"
    own_type: bool = False


_NONE = _Payload(None, b"", "")
_CONTENT_TYPES = {
    "body": "application/json",
    "form": "application/x-www-form-urlencoded",
    "xml": "application/xml",
    "text": "text/plain; charset=utf-8",
}


def prepare(request: Mapping[str, Any], idempotency_key: str) -> Prepared:
    """parts: method, path, query, headers, body. A mapping's own Idempotency-Key wins. Raises RequestInvalid."""
    SHAPE.check_keys("rest", request)
    kinds = [key for key in SHAPE.payload if key in request]
    if len(kinds) > 1:
        raise RequestInvalid(f"request.{kinds[1]}: a request holds one of {', '.join(SHAPE.payload)}")
    kind = kinds[0] if kinds else None
    given = header_texts(request.get("headers"))
    payload = _NONE if kind is None else _payload(kind, request[kind], given, idempotency_key)
    parts = {
        "method": method_token(request.get("method")),
        "path": path_target(request.get("path")),
        "query": query_texts(request.get("query")),
        "headers": _headers(given, idempotency_key, payload),
        "body": payload.shown,
    }
    if kind != "batch":
        return Prepared("rest", parts, payload.content)
    if not parts["path"].endswith("/$batch"):
        raise RequestInvalid(
            f"request.batch is sent to a path that ends with /$batch, not to {parts['path']!r}"
        )
    return BatchPrepared("rest", parts, payload.content, len(request[kind]), one=_is_one(given))


def _payload(kind: str, value: Any, given: Mapping[str, str], idempotency_key: str) -> _Payload:
    """given: the mapping's own headers. Raises RequestInvalid."""
    match kind:
        case "body":
            return _Payload(value, json_payload(value), _CONTENT_TYPES[kind])
        case "multipart":
            form = multipart_form(value, idempotency_key)
            return _Payload(form.shown, form.content, _form_type(given, form.boundary), own_type=True)
        case "batch":
            as_json = _content_type(given) == "application/json"
            batch = (
                json_batch(value, one=_is_one(given)) if as_json else multipart_batch(value, idempotency_key)
            )
            return _Payload(
                batch.shown, batch.content, batch.content_type, batch.accept, own_type=not as_json
            )
        case "form":
            text = query_target(query_texts(value, "form")).removeprefix("?")
        case "xml":
            text = xml_document(value)
        case _:
            if not isinstance(value, str):
                raise RequestInvalid(f"request.text must be a text, not {type(value).__name__}")
            text = value
    try:
        return _Payload(text, text.encode(), _CONTENT_TYPES[kind])
    except UnicodeEncodeError:
        raise RequestInvalid(
            f"request.{kind} holds half of a surrogate pair, which no text can carry"
        ) from None


def _headers(given: dict[str, str], idempotency_key: str, payload: _Payload) -> dict[str, str]:
    usual = header_texts({
        "Accept": payload.accept,
        "Idempotency-Key": idempotency_key,
        "User-Agent": "fracttal-bridge",
    })  # fmt: skip
    if payload.content_type:
        usual["Content-Type"] = payload.content_type
    if payload.own_type:
        given = {name: value for name, value in given.items() if name.lower() != "content-type"}
    return with_usual(given, usual)


def _content_type(given: Mapping[str, str]) -> str:
    """The mapping's own, in lower case and without its parameters; "" where it writes none."""
    return header_value(given, "content-type").partition(";")[0].strip().lower()


def _form_type(given: Mapping[str, str], boundary: str) -> str:
    """With a boundary. Raises RequestInvalid."""
    kind = _content_type(given) or "multipart/form-data"
    if not kind.startswith("multipart/"):
        raise RequestInvalid(f"request.headers: the Content-Type of multipart cannot be {kind}; leave it out")
    return f"{kind}; boundary={boundary}"


def _is_one(given: Mapping[str, str]) -> bool:
    """OData 4.01, 8.2.6; Business Central makes one transaction of such a batch."""
    return header_value(given, "isolation").lower() == "snapshot"


def check_settings(settings: ConnectionSettings) -> None:
    """Pure; secrets may be unresolved. Raises SettingsInvalid."""
    check_http_settings(settings, ("csrf",))
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
