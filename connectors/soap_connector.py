"""One open connection of the kind `soap` (`connectors.soap`)."""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from connectors.erp_client import ErpClient
from connectors.http_client import NoAnswer
from connectors.http_request import endpoint_target, query_target, query_texts
from connectors.protocol import ConnectionSettings, Outcome, Prepared, Rejected, RequestInvalid
from connectors.soap import prepare
from connectors.soap_service import Heard, SoapService
from connectors.wsdl_documents import WsdlInvalid
from connectors.wsdl_loading import WsdlLoader, unusable
from connectors.wsdl_model import choose_binding
from connectors.wsse import open_wsse


class SoapConnector:
    """One connection of the kind `soap`."""

    kind: ClassVar[str] = "soap"

    def __init__(self, settings: ConnectionSettings) -> None:
        self._client = ErpClient(settings)
        self._options = settings.options
        query = query_target(query_texts(settings.options.get("query")))
        self._target = endpoint_target(settings.base_url) + query
        self._address = settings.base_url + query
        self._secure = open_wsse(settings.auth)
        self._wsdl = WsdlLoader(settings, self._client)
        self._service: SoapService | None = None

    def prepare(self, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
        """See Connector.prepare."""
        return prepare(request, idempotency_key)

    async def send(self, prepared: Prepared, permit: Callable[[], None] = lambda: None) -> Outcome:
        """See Connector.send. The first one loads the WSDL; each request that takes has the connection's timeout."""
        try:
            service = self._service or await self._opened()
            message = service.message(prepared.parts)
            if self._secure is not None:
                self._secure(message.envelope, datetime.now(UTC), secrets.token_bytes(16))
            content = message.content()
            received = await self._client.exchange("POST", self._target, message.headers, content, permit)
        except RequestInvalid as error:
            return Rejected(f"{error}; nothing was sent", code="wsdl")
        except NoAnswer as error:
            return error.outcome
        read = self._client.readable(received)
        heard = Heard(read.status, read.headers, read.content, read.complete)
        return self._client.shown(service.outcome(message.operation, heard, datetime.now(UTC)))

    async def _opened(self) -> SoapService:
        """Raises NoAnswer."""
        document = await self._wsdl.document()
        try:
            binding = choose_binding(document, self._options.get("service"), self._options.get("port"))
        except WsdlInvalid as error:
            raise unusable(str(error)) from None
        address = self._address if self._options.get("addressing") else None
        self._service = SoapService(document, binding, address)
        return self._service

    async def aclose(self) -> None:
        await self._client.aclose()
