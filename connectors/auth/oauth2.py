"""Access tokens of OAuth 2.0: client credentials and refresh tokens (RFC 6749), JWT grants (RFC 7523). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Self
from urllib.parse import quote_plus, urlencode

from connectors.auth.assertion import Signer, signer
from connectors.auth.fixed import basic
from connectors.auth.passes import (
    LONGEST,
    IssuerAnswer,
    Moment,
    NotGranted,
    Pass,
    PassRequest,
    is_sendable,
    origin_and_target,
)

UNSAID_S = 600.0
"""How long a token is used of which the server does not say how long it lasts (RFC 6749, 5.1, only recommends it)."""
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_JWT_CLIENT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_GRANTS = {
    "oauth2_client_credentials": "client_credentials",
    "oauth2_refresh_token": "refresh_token",
    "oauth2_jwt_bearer": _JWT_GRANT,
}


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """An Issuer. form: what each request says; carrier: the header that a token goes into, and what stands before it;
    signer: where a request is signed.
    """

    url: str
    target: str
    form: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    carrier: tuple[str, str] = ("Authorization", "Bearer ")
    signer: Signer | None = None
    what: str = "access token"
    ended: frozenset[int] = frozenset({401})
    replaceable: str = ""

    def request(self, at: Moment) -> PassRequest:
        form, secrets = dict(self.form), [self.headers.get("Authorization", "").partition(" ")[2]]
        if self.signer is not None:
            signed = self.signer.assertion(at)
            secrets.append(signed)
            if form["grant_type"] == _JWT_GRANT:
                form["assertion"] = signed
            else:
                form |= {"client_assertion_type": _JWT_CLIENT, "client_assertion": signed}
        return PassRequest("POST", self.target, self.headers, urlencode(form).encode(), secrets)

    def granted(self, answer: IssuerAnswer) -> Pass:
        body = answer.body if isinstance(answer.body, Mapping) else {}
        token = body.get("access_token")
        if not is_sendable(token):
            raise NotGranted("no access_token in its answer")
        kind = str(body.get("token_type") or "Bearer")
        if not kind.strip().lower().startswith("bearer"):  # some say BearerToken
            raise NotGranted(f"its access_token is of the type {kind[:40]!r}; only Bearer can be used")
        before = self.form.get("refresh_token", "") if self.replaceable else ""
        fresh = body.get("refresh_token")
        secrets = [text for text in (token, fresh, body.get("id_token")) if isinstance(text, str)]
        if max(map(len, secrets)) > LONGEST:
            raise NotGranted(f"a token in it is longer than {LONGEST} characters")
        lasts = seconds_of(body.get("expires_in"))
        return Pass(
            {self.carrier[0]: self.carrier[1] + token},
            UNSAID_S if lasts is None else lasts,
            predecessor=before,
            successor=fresh if before and isinstance(fresh, str) and fresh != before else "",
            secrets=secrets,
        )

    def after(self, granted: Pass) -> Self:
        if not granted.successor:
            return self
        return replace(self, form={**self.form, "refresh_token": granted.successor})


def token_endpoint(auth: Mapping[str, Any]) -> TokenEndpoint:
    """Of checked auth. Raises SettingsInvalid for a private key that is none."""
    kind = auth["type"]
    url, target = origin_and_target(auth["token_url"])
    form: dict[str, str] = {"grant_type": _GRANTS[kind], **auth.get("params", {})}
    form |= {"scope": auth["scope"]} if "scope" in auth else {}
    form |= {"refresh_token": auth["refresh_token"]} if kind == "oauth2_refresh_token" else {}
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "fracttal-bridge",
        **auth.get("headers", {}),
    }
    client, authorization = _client(auth)
    return TokenEndpoint(
        url,
        target,
        form | client,
        headers | authorization,
        carrier(auth),
        signer(auth) if "assertion" in auth else None,
        replaceable="refresh_token" if kind == "oauth2_refresh_token" else "",
    )


def _client(auth: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """How the client says who it is (RFC 6749, 2.3.1), as a form's members and headers."""
    if "client_id" not in auth:
        return {}, {}
    client, secret = auth["client_id"], auth.get("client_secret")
    way = auth.get("client_auth", "client_secret_basic" if secret else "none")
    if way == "client_secret_basic":
        # each form-encoded before they are joined: that is what the RFC says
        return {}, {"Authorization": basic(quote_plus(client), quote_plus(secret or ""))}
    form = {"client_id": client}
    return (form | {"client_secret": secret} if way == "client_secret_post" and secret else form), {}


def carrier(auth: Mapping[str, Any]) -> tuple[str, str]:
    """The header that a granted token goes into, and what stands before it."""
    header = auth.get("header", "Authorization")
    return header, auth.get("prefix", "Bearer " if header.lower() == "authorization" else "")


def seconds_of(value: Any) -> float | None:
    """`expires_in`, which some servers send as text; None for what is no number of seconds above zero."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:12])
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 < value < 10**9:
        return None
    return float(value)
