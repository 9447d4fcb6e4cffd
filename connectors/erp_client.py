"""One connection's requests with its credentials, and its answers without them: what a kind that speaks HTTP is built on."""

from collections.abc import Callable, Mapping

from connectors.answers import decompressed, read_answer
from connectors.auth import authorization
from connectors.http_client import LARGEST_ANSWER, HttpClient, Received
from connectors.protocol import Answer, ConnectionSettings
from connectors.redaction import Redactor


class ErpClient:
    """Opens no connection before the first exchange."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._client = HttpClient(settings)
        self._redact = Redactor(settings.auth, settings.hidden)
        header = authorization(settings.auth)
        self._headers = {"Accept-Encoding": "identity"}
        if header is not None:
            self._headers["Authorization"] = header

    async def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes,
        permit: Callable[[], None] = lambda: None,
    ) -> Received:
        """As HttpClient.exchange, with what `auth` adds to the headers. Each request has the connection's timeout.

        Raises NoAnswer, and what `permit` raises.
        """
        return await self._client.exchange(method, target, {**self._headers, **headers}, content, permit)

    def answer(self, received: Received) -> Answer:
        """What may be shown and kept of it: unpacked, parsed, with no secret of the connection in it."""
        content, whole = decompressed(received.content, received.header("content-encoding"), LARGEST_ANSWER)
        truncated = not (received.complete and whole)
        return read_answer(received.status, received.headers, self._redact(content), truncated=truncated)

    async def aclose(self) -> None:
        await self._client.aclose()
