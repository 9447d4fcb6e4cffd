"""One open connection of the kind `graphql` (`connectors.graphql`)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, ClassVar
from urllib.parse import urlsplit

from connectors.erp_client import ErpClient
from connectors.graphql import changes, content, prepare
from connectors.graphql_classification import classify_response, session_ended
from connectors.graphql_errors import read_response
from connectors.http_client import NoAnswer
from connectors.protocol import Answer, ConnectionSettings, Outcome, Prepared

_UNKNOWN = frozenset({"PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound"})
_UNSUPPORTED = frozenset({"PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported"})


class GraphqlConnector:
    """One connection of the kind `graphql`."""

    kind: ClassVar[str] = "graphql"

    def __init__(self, settings: ConnectionSettings) -> None:
        self._client = ErpClient(settings, session_ended)
        self._persisted = settings.options.get("persisted_queries")
        # base_url is the endpoint itself, and to some servers /graphql/ is another one than /graphql
        self._path = "/" if urlsplit(settings.base_url).path.endswith("/") else ""

    def prepare(self, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
        """See Connector.prepare."""
        prepared = prepare(request, idempotency_key)
        query = prepared.parts["query"]
        if self._persisted is None or query is None or "document_id" in prepared.parts:
            return prepared
        if self._persisted == "document_id":
            document: dict[str, Any] = {"documentId": f"sha256:{_hash(query)}"}
        else:
            document = _persisted(query)
        return replace(prepared, content=content(prepared.parts, document))

    async def send(self, prepared: Prepared, permit: Callable[[], None] = lambda: None) -> Outcome:
        """See Connector.send. Each request it takes has the connection's timeout."""
        try:
            answer = await self._answer(prepared, prepared.content, permit)
            whole = self._whole(prepared, answer)
            if whole is not None:
                answer = await self._answer(prepared, whole, permit)
        except NoAnswer as error:
            return error.outcome
        return classify_response(answer, changes=changes(prepared.parts), now=datetime.now(UTC))

    async def _answer(self, prepared: Prepared, body: bytes, permit: Callable[[], None]) -> Answer:
        parts = prepared.parts
        path = parts["path"] or self._path
        received = await self._client.exchange("POST", path, parts["headers"], body, permit)
        return self._client.answer(received)

    def _whole(self, prepared: Prepared, answer: Answer) -> bytes | None:
        """The request with its document, where the server knew the hash alone and did nothing."""
        if self._persisted != "apq" or "document_id" in prepared.parts:
            return None
        response = read_response(answer.body)
        said = (
            {word for error in response.errors for word in (*error.codes, error.message)}
            if response
            else {""}
        )
        if not said.isdisjoint(_UNSUPPORTED):
            self._persisted = None
            return content(prepared.parts, {"query": prepared.parts["query"]})
        if said.isdisjoint(_UNKNOWN):
            return None
        query = prepared.parts["query"]
        return content(prepared.parts, {"query": query, **_persisted(query)})

    async def aclose(self) -> None:
        await self._client.aclose()


def _persisted(query: str) -> dict[str, Any]:
    """Apollo's automatic persisted queries, version 1."""
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": _hash(query)}}}


@lru_cache(maxsize=2048)
def _hash(query: str) -> str:
    return sha256(query.encode()).hexdigest()
