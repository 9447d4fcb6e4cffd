"""One open connection of the kind `jsonrpc` (`connectors.jsonrpc`)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from connectors.auth.kinds import secret_texts
from connectors.auth.passes import Pass
from connectors.auth.renewal import Renewal, open_renewal
from connectors.erp_client import ErpClient
from connectors.http_client import NoAnswer, Received
from connectors.jsonrpc import LOGIN, database_of, dialect_of, path_of, prepare_in
from connectors.jsonrpc_answer import Reply, classify_reply, read_reply
from connectors.jsonrpc_dialect import odoo_call
from connectors.jsonrpc_login import OdooPass, odoo_login, tryton_login
from connectors.protocol import ConnectionSettings, Outcome, Prepared
from connectors.redaction import Redactor


class JsonRpcConnector:
    """One connection of the kind `jsonrpc`."""

    kind: ClassVar[str] = "jsonrpc"

    def __init__(self, settings: ConnectionSettings) -> None:
        self._dialect = dialect_of(settings)
        self._database = database_of(settings)
        self._path = path_of(settings)
        logs_in = settings.auth.get("type") == LOGIN
        of_tryton = logs_in and self._dialect == "tryton"
        login = tryton_login(settings, self._path) if of_tryton else None
        self._client = ErpClient(settings, issuer=login)
        self._renewal = _odoo_renewal(settings, self._path) if logs_in and not of_tryton else None

    def prepare(self, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
        """See Connector.prepare. Of `odoo_legacy` the content lacks the envelope, and what a login gives."""
        return prepare_in(self._dialect, request, idempotency_key, self._database, self._path)

    async def send(self, prepared: Prepared, permit: Callable[[], None] = lambda: None) -> Outcome:
        """See Connector.send. Each request it takes, a login among them, has the connection's timeout."""
        try:
            reply = await self._reply(prepared, permit)
        except NoAnswer as error:
            return error.outcome
        return classify_reply(reply, datetime.now(UTC))

    async def _reply(self, prepared: Prepared, permit: Callable[[], None]) -> Reply:
        if self._renewal is None:
            return self._read(await self._exchange(prepared, prepared.content, permit), prepared)
        granted = await self._renewal.current()
        reply = await self._called(prepared, granted, permit)
        if not _refuses_user(reply):
            return reply
        granted = await self._renewal.instead_of(granted)
        return await self._called(prepared, granted, permit)

    async def _called(self, prepared: Prepared, granted: Pass, permit: Callable[[], None]) -> Reply:
        credentials = granted.credentials if isinstance(granted, OdooPass) else b""
        content = odoo_call(credentials, prepared.content, prepared.parts["id"])
        return self._read(await self._exchange(prepared, content, permit), prepared)

    async def _exchange(self, prepared: Prepared, content: bytes, permit: Callable[[], None]) -> Received:
        parts = prepared.parts
        return await self._client.exchange("POST", parts.get("path", ""), parts["headers"], content, permit)

    def _read(self, received: Received, prepared: Prepared) -> Reply:
        reply = read_reply(self._dialect, self._client.answer(received), prepared.parts["id"])
        if self._dialect == "odoo" and 200 <= received.status < 300 and not self._is_json(reply, received):
            return replace(reply, unclear="its body is no JSON")
        return reply

    def _is_json(self, reply: Reply, received: Received) -> bool:
        """JSON-2's answer is the bare result: of a text, and of nothing, only the bytes tell whether they were JSON."""
        body = reply.answer.body
        result = body.get("result") if isinstance(body, Mapping) else None
        if result is not None and not isinstance(result, str):
            return True
        begin = self._client.readable(received).content.lstrip()[:1]
        return begin == (b'"' if isinstance(result, str) else b"n")  # null

    async def aclose(self) -> None:
        if self._renewal is not None:
            await self._renewal.aclose()
        await self._client.aclose()


def _odoo_renewal(settings: ConnectionSettings, path: str) -> Renewal:
    redact = Redactor(secret_texts(settings.auth, settings.hidden))
    return open_renewal(settings, odoo_login(settings, path), redact)


def _refuses_user(reply: Reply) -> bool:
    """Whether the call was refused, unprocessed, for whose it is."""
    return reply.error is not None and reply.error.meaning == "login"
