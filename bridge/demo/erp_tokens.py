"""The token endpoints of simulated ERPs: OAuth 2.0 client credentials, with a secret or a signed assertion.

RFC 6749, 4.4 (client_secret_basic and client_secret_post) and RFC 7523, 2.2 (`client_assertion`), as Microsoft Entra and
Oracle NetSuite have them. A token is refused once it was ended; nothing ends by itself.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from bridge.demo.erp_server import Call, Reply

Grants = Callable[[Call, Mapping[str, str]], bool]
"""Whether a token request, with its form, comes from who may have one."""


@dataclass(slots=True)
class TokenEndpoint:
    """path: where it is asked. standing: a token that is good from the start, and stays so. lifetime_s: as it says."""

    path: str
    grants: Grants
    standing: str = field(default="", repr=False)
    lifetime_s: int = 3600
    _given: set[str] = field(default_factory=set, repr=False)

    def answer(self, call: Call) -> Reply:
        form = dict(parse_qsl(call.body)) if isinstance(call.body, str) else {}
        if form.get("grant_type") != "client_credentials":
            return Reply(400, {"error": "unsupported_grant_type"})
        if not self.grants(call, form):
            return Reply(
                401, {"error": "invalid_client", "error_description": "The client is not known here."}
            )
        token = token_urlsafe(24)
        self._given.add(token)
        return Reply(200, {"access_token": token, "token_type": "bearer", "expires_in": self.lifetime_s})

    def knows(self, call: Call) -> bool:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        return scheme == "Bearer" and (
            token in self._given or (bool(self.standing) and token == self.standing)
        )

    def end_all(self) -> None:
        """As when an administrator revokes them."""
        self._given.clear()


def client_secret(client: str, secret: str, scope: str) -> Grants:
    """Who shows this client's secret, in the header or in the form, and wants this scope."""

    def grants(call: Call, form: Mapping[str, str]) -> bool:
        shown = _basic(call) or (form.get("client_id", ""), form.get("client_secret", ""))
        return shown == (client, secret) and form.get("scope", "") == scope

    return grants


def client_assertion(client: str, certificate: str, public_key: Any, scope: str) -> Grants:
    """Who signs with the private half of `public_key` (of joserfc), as NetSuite's "The Request Token Structure" says.

    certificate: its id, which the assertion's header names as `kid`.
    """

    def grants(call: Call, form: Mapping[str, str]) -> bool:
        from joserfc import jwt  # noqa: PLC0415 — who uses no such token need not load it
        from joserfc.errors import JoseError  # noqa: PLC0415

        if form.get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
            return False
        try:
            token = jwt.decode(form.get("client_assertion", ""), public_key, algorithms=["PS256", "ES256"])
        except (JoseError, ValueError):
            return False
        claims, now = token.claims, call.at
        return (
            token.header.get("kid") == certificate
            and claims.get("iss") == client
            and str(claims.get("aud", "")).endswith(call.path)
            and scope in str(claims.get("scope", "")).split(",")
            and now - 60 < claims.get("iat", 0) <= claims.get("exp", 0) < claims.get("iat", 0) + 3600
            and claims.get("exp", 0) > now
        )

    return grants


def _basic(call: Call) -> tuple[str, str] | None:
    scheme, _, shown = call.headers.get("authorization", "").partition(" ")
    if scheme != "Basic":
        return None
    try:
        client, _, secret = base64.b64decode(shown).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return unquote_plus(client), unquote_plus(secret)
