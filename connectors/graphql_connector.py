"""One open connection of the kind `graphql` (`connectors.graphql`)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, ClassVar

from connectors.erp_client import ErpClient
from connectors.graphql import changes, content, prepare
from connectors.graphql_classification import classify_response, ran, session_ended
from connectors.graphql_errors import read_response
from connectors.http_client import NoAnswer
from connectors.http_request import endpoint_target
from connectors.protocol import Answer, ConnectionSettings, Outcome, Prepared

_NOT_FOUND = frozenset({"PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound"})
_NOT_SUPPORTED = frozenset({"PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported"})
_HASH_ALONE = b'{"extensions":'
"""How a body begins that has a document's hash and no document."""


class GraphqlConnector:
    """One connection of the kind `graphql`."""

    kind: ClassVar[str] = "graphql"

    def __init__(self, settings: ConnectionSettings) -> None:
        self._client = ErpClient(settings, session_ended)
        self._persisted = settings.options.get("persisted_queries")
        self._path = endpoint_target(settings.base_url)

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
            if prepared.content.startswith(_HASH_ALONE):
                answer = await self._with_document(prepared, answer, permit)
        except NoAnswer as error:
            return error.outcome
        return classify_response(answer, changes=changes(prepared.parts), now=datetime.now(UTC))

    async def _answer(self, prepared: Prepared, body: bytes, permit: Callable[[], None]) -> Answer:
        parts = prepared.parts
        path = parts["path"] or self._path
        received = await self._client.exchange("POST", path, parts["headers"], body, permit)
        return self._client.answer(received)

    async def _with_document(self, prepared: Prepared, answer: Answer, permit: Callable[[], None]) -> Answer:
        """What the server says to the document, where it did nothing for want of it."""
        query, said = {"query": prepared.parts["query"]}, _words(answer)
        if not said.isdisjoint(_NOT_FOUND):
            return await self._answer(
                prepared, content(prepared.parts, query | _persisted(query["query"])), permit
            )
        # a server that knows no hashes misses the query, each in its own words
        if said.isdisjoint(_NOT_SUPPORTED) and (answer.status != 400 or ran(answer)):
            return answer
        answer = await self._answer(prepared, content(prepared.parts, query), permit)
        if answer.status != 400:
            self._persisted = None
        return answer

    async def aclose(self) -> None:
        await self._client.aclose()


def _persisted(query: str) -> dict[str, Any]:
    """Apollo's automatic persisted queries, version 1."""
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": _hash(query)}}}


def _words(answer: Answer) -> set[str]:
    response = read_response(answer.body)
    return (
        {word for error in response.errors for word in (*error.codes, error.message)} if response else set()
    )


@lru_cache(maxsize=2048)
def _hash(query: str) -> str:
    return sha256(query.encode()).hexdigest()
