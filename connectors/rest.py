"""The kind `rest`: one HTTP request with a JSON body.

Connection options: `csrf: true` for OData servers that want a token, or the path below base_url to fetch it from.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from connectors.answers import decompressed, read_answer
from connectors.auth import authorization, check_auth
from connectors.base_url import check_base_url
from connectors.classification import classify
from connectors.csrf import CsrfTokens, no_token, wants_token
from connectors.http_client import LARGEST_ANSWER, HttpClient, NoAnswer, Received
from connectors.http_request import (
    header_texts,
    json_payload,
    method_token,
    path_target,
    query_target,
    query_texts,
)
from connectors.protocol import (
    Answer,
    ConnectionSettings,
    Connector,
    Leaf,
    Outcome,
    Prepared,
    RequestInvalid,
    RequestKey,
    RequestShape,
    SettingsInvalid,
)
from connectors.redaction import Redactor

SHAPE = RequestShape({
    "method": RequestKey(Leaf.TEXT, required=True, check=method_token),
    "path": RequestKey(Leaf.PATH, required=True, check=path_target),
    "query": RequestKey(Leaf.QUERY),
    "headers": RequestKey(Leaf.HEADER, check=header_texts),
    "body": RequestKey(Leaf.TREE),
})  # fmt: skip
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


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
    return RestConnector(settings)


class RestConnector:
    """One connection of the kind `rest`."""

    kind: ClassVar[str] = "rest"

    def __init__(self, settings: ConnectionSettings) -> None:
        check_settings(settings)
        self._client = HttpClient(settings)
        self._redact = Redactor(settings.auth)
        header = authorization(settings.auth)
        self._headers = {"Accept-Encoding": "identity"}
        if header is not None:
            self._headers["Authorization"] = header
        csrf = settings.options.get("csrf", False)
        path = path_target(csrf) if isinstance(csrf, str) else None
        self._csrf = CsrfTokens(self._client, self._headers, path) if csrf else None

    def prepare(self, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
        """See Connector.prepare."""
        return prepare(request, idempotency_key)

    async def send(self, prepared: Prepared, permit: Callable[[], None] = lambda: None) -> Outcome:
        """See Connector.send. Each request it takes, a CSRF token's among them, has the connection's timeout."""
        try:
            received = await self._exchange(prepared, permit)
        except NoAnswer as error:
            return error.outcome
        return classify(self._answer(received), datetime.now(UTC))

    async def _exchange(self, prepared: Prepared, permit: Callable[[], None]) -> Received:
        parts = prepared.parts
        target = parts["path"] + query_target(parts["query"])
        headers = {**self._headers, **parts["headers"]}
        method, content = parts["method"], prepared.content
        if self._csrf is None or method in _READING:
            return await self._client.exchange(method, target, headers, content, permit)
        session = await self._csrf.session(target)
        received = await self._client.exchange(
            method, target, {**headers, **session.headers}, content, permit
        )
        if not wants_token(received):
            return received
        session = await self._csrf.session(target, ended=session)
        received = await self._client.exchange(
            method, target, {**headers, **session.headers}, content, permit
        )
        if wants_token(received):
            raise NoAnswer(no_token("the ERP refuses the one it has just given"))
        return received

    def _answer(self, received: Received) -> Answer:
        content, whole = decompressed(received.content, received.header("content-encoding"), LARGEST_ANSWER)
        truncated = not (received.complete and whole)
        return read_answer(received.status, received.headers, self._redact(content), truncated=truncated)

    async def aclose(self) -> None:
        await self._client.aclose()
