"""One connection's requests with its credentials, and its answers without them: what a kind that speaks HTTP is built on."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from connectors.answers import read_answer
from connectors.auth.fixed import fixed
from connectors.auth.kinds import secret_texts
from connectors.auth.login import login
from connectors.auth.oauth1 import Signature, form_of
from connectors.auth.oauth2 import token_endpoint
from connectors.auth.passes import Issuer, Moment
from connectors.auth.renewal import open_renewal
from connectors.http_client import HttpClient, NoAnswer, Received
from connectors.http_request import header_value
from connectors.protocol import Answer, ConnectionSettings, Outcome
from connectors.redaction import Redactor


class ErpClient:
    """Opens no connection before the first exchange. Raises SettingsInvalid for a private key that is none."""

    def __init__(
        self,
        settings: ConnectionSettings,
        ended: Callable[[Answer], bool] | None = None,
        issuer: Issuer | None = None,
    ) -> None:
        """ended: whether an answer says, as a 401 does, that the credentials have ended and nothing was processed.

        issuer: of passes that only the connection's kind knows of.
        """
        self._client = HttpClient(settings)
        own = fixed(settings.auth)
        self._headers = {"Accept-Encoding": "identity", **own.headers}
        self._query = own.query
        authorization = own.headers.get("Authorization", "")
        self._redact = Redactor(
            secret_texts(settings.auth, settings.hidden) | {authorization.partition(" ")[2]}
        )
        # what a mapping's headers must not cover
        self._ours = frozenset(name.lower() for name in own.headers) - {"authorization"}
        self._signature = Signature(settings.auth) if settings.auth.get("type") == "oauth1" else None
        issuer = issuer or _issuer(settings)
        self._renewal = open_renewal(settings, issuer, self._redact) if issuer else None
        self._ended = ended
        self._simple = not (self._query or self._ours or self._signature or self._renewal)

    async def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes,
        permit: Callable[[], None] = lambda: None,
    ) -> Received:
        """As HttpClient.exchange, with what `auth` adds. Each request it takes has the connection's timeout: a login or a
        token's before it, and after a 401 one more of each; a 401 says that nothing was processed.

        Raises NoAnswer, and what `permit` raises.
        """
        try:
            if self._simple:
                return await self._client.exchange(
                    method, target, {**self._headers, **headers}, content, permit
                )
            return await self._exchange(method, target, headers, content, permit)
        except NoAnswer as error:
            outcome = error.outcome
            raise NoAnswer(replace(outcome, message=self._redact.text(outcome.message))) from None

    async def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes, permit: Callable[[], None]
    ) -> Received:
        if self._query:
            target += ("&" if "?" in target else "?") + self._query
        sent = {**self._headers, **headers}
        if self._ours:
            kept = {name: value for name, value in headers.items() if name.lower() not in self._ours}
            sent = {**self._headers, **kept}
        if self._signature is not None:
            sent["Authorization"] = self._signed(self._signature, method, target, sent, content)
        if self._renewal is None:
            return await self._client.exchange(method, target, sent, content, permit)
        granted = await self._renewal.current()
        received = await self._client.exchange(
            method, target, _carrying(sent, granted.headers), content, permit
        )
        if received.status not in self._renewal.ended and not self._has_ended(received):
            return received
        granted = await self._renewal.instead_of(granted)
        return await self._client.exchange(method, target, _carrying(sent, granted.headers), content, permit)

    def _has_ended(self, received: Received) -> bool:
        return self._ended is not None and self._ended(self.answer(received))

    def _signed(
        self, signature: Signature, method: str, target: str, headers: Mapping[str, str], content: bytes
    ) -> str:
        kind = header_value(headers, "content-type")
        at = Moment(time.time(), secrets.token_hex(16))
        return signature.header(method, self._client.url(target), form_of(kind, content), at)

    def answer(self, received: Received) -> Answer:
        """What may be shown and kept of it: unpacked, parsed, with no secret of the connection in it."""
        read = received.unpacked()
        answer = read_answer(read.status, read.headers, read.content, truncated=not read.complete)
        return self._redact.answer(answer, read.content)

    def readable(self, received: Received) -> Received:
        """The same unpacked, with no secret of the connection in its content, as far as that is UTF-8 and unescaped: who
        parses it masks what comes out (`shown`). complete: whether that is all of it.
        """
        read = received.unpacked()
        headers = self._redact.headers(received.headers)
        return replace(read, headers=headers, content=self._redact(read.content))

    def shown(self, outcome: Outcome) -> Outcome:
        """An outcome with no secret of the connection in it."""
        return self._redact.outcome(outcome)

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on these are in no answer, either: what the ERP handed out to the connection's kind."""
        self._redact.hide(secrets, "kind")

    async def aclose(self) -> None:
        if self._renewal is not None:
            await self._renewal.aclose()
        await self._client.aclose()


def _issuer(settings: ConnectionSettings) -> Issuer | None:
    match settings.auth.get("type"):
        case "oauth2_client_credentials" | "oauth2_refresh_token" | "oauth2_jwt_bearer":
            return token_endpoint(settings.auth)
        case "session":
            return login(settings.auth, settings.base_url)
        case _:
            return None


def _carrying(headers: Mapping[str, str], granted: Mapping[str, str]) -> dict[str, str]:
    """A pass over the other headers; a CSRF session's cookies stand beside those of the login."""
    names = {name.lower() for name in granted}
    carried = {**headers, **granted}
    for name, value in headers.items():
        if (lower := name.lower()) in names:
            if name not in granted:
                del carried[name]
            if lower == "cookie":
                place = next(each for each in granted if each.lower() == lower)
                carried[place] = f"{granted[place]}; {value}"
    return carried
