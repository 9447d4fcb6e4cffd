"""One open connection of the kind `rest` (`connectors.rest`)."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from connectors.batch_answer import classify_batch
from connectors.classification import classify
from connectors.csrf import CsrfTokens, no_token, wants_token
from connectors.erp_client import ErpClient
from connectors.http_client import NoAnswer, Received
from connectors.http_request import READING, path_target, query_target
from connectors.odata_batch import BatchPrepared
from connectors.protocol import ConnectionSettings, Outcome, Prepared
from connectors.rest import prepare

_SESSIONS = 4
"""So many are tried for one request: requests beside it may use up the one that it was given."""


class RestConnector:
    """One connection of the kind `rest`."""

    kind: ClassVar[str] = "rest"

    def __init__(self, settings: ConnectionSettings) -> None:
        self._client = ErpClient(settings)
        csrf = settings.options.get("csrf", False)
        path = path_target(csrf) if isinstance(csrf, str) else None
        self._csrf = CsrfTokens(self._client, path) if csrf else None

    def prepare(self, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
        """See Connector.prepare."""
        return prepare(request, idempotency_key)

    async def send(self, prepared: Prepared, permit: Callable[[], None] = lambda: None) -> Outcome:
        """See Connector.send. Each request it takes, a CSRF token's among them, has the connection's timeout."""
        try:
            received = await self._exchange(prepared, permit)
        except NoAnswer as error:
            return error.outcome
        answer, now = self._client.answer(received), datetime.now(UTC)
        if isinstance(prepared, BatchPrepared):
            return self._client.shown(classify_batch(answer, prepared, now))
        return classify(answer, now)

    async def _exchange(self, prepared: Prepared, permit: Callable[[], None]) -> Received:
        parts = prepared.parts
        target = parts["path"] + query_target(parts["query"])
        headers = parts["headers"]
        method, content = parts["method"], prepared.content
        if self._csrf is None or method in READING:
            return await self._client.exchange(method, target, headers, content, permit)
        session = None
        for _ in range(_SESSIONS):
            session = await self._csrf.session(target, ended=session)
            sent = {**headers, **session.headers}
            received = await self._client.exchange(method, target, sent, content, permit)
            if not wants_token(received):
                return received
        raise NoAnswer(no_token("the ERP refuses the one it has just given"))

    async def aclose(self) -> None:
        await self._client.aclose()
