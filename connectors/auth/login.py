"""A session: one login request, whose cookies or token every request then carries. Pure.

SAP Business One Service Layer: `POST /b1s/v1/Login` with CompanyDB, UserName and Password gives the cookies B1SESSION and
ROUTEID, and 401 with code 301 says that the session has ended. Siigo: `POST /auth` gives `access_token`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

from connectors.auth.fixed import basic
from connectors.auth.members import seconds
from connectors.auth.oauth2 import carrier, seconds_of
from connectors.auth.passes import (
    IssuerAnswer,
    Moment,
    NotGranted,
    Pass,
    PassRequest,
    cookie_secrets,
    is_sendable,
    origin_and_target,
)
from connectors.http_request import json_payload


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Where the login's answer has a token, a header or a path into its JSON, and which header then carries it."""

    path: tuple[str, ...]
    answer_header: str
    header: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Login:
    """An Issuer. sent: the request; the same each time."""

    url: str
    sent: PassRequest
    cookies: bool
    token: TokenPlace | None
    lasts_s: float | None
    ended: frozenset[int]
    what: str = "session"
    replaceable: str = ""

    def request(self, at: Moment) -> PassRequest:  # noqa: ARG002  an Issuer's
        return self.sent

    def granted(self, answer: IssuerAnswer) -> Pass:
        cookies = list(answer.cookies) if self.cookies else []
        headers = {"cookie": "; ".join(cookies)} if cookies else {}
        secrets = cookie_secrets(cookies)
        if self.token is not None:
            token = _token(self.token, answer)
            headers[self.token.header] = self.token.prefix + token
            secrets.append(token)
        if not headers:
            raise NotGranted("no cookie in its answer; where it gives a token, write auth.token")
        said = (
            seconds_of(answer.body.get("expires_in"))
            if isinstance(answer.body, Mapping) and self.token
            else None
        )
        return Pass(headers, said if self.lasts_s is None else self.lasts_s, secrets=secrets)

    def after(self, granted: Pass) -> Self:  # noqa: ARG002  an Issuer's
        return self


def _token(place: TokenPlace, answer: IssuerAnswer) -> str:
    if place.answer_header:
        token: Any = answer.headers.get(place.answer_header)
        where = f"in its header {place.answer_header}"
    else:
        token = answer.body
        for name in place.path:
            token = token.get(name) if isinstance(token, Mapping) else None
        where = f"at {'.'.join(place.path)} in its JSON answer"
    if not is_sendable(token):
        raise NotGranted(f"no token {where}")
    return token


def login(auth: Mapping[str, Any], base_url: str) -> Login:
    """Of checked auth."""
    url, target = origin_and_target(auth["url"] if "url" in auth else base_url.rstrip("/") + auth["path"])
    if "query" in auth:
        target += ("&" if "?" in target else "?") + urlencode(auth["query"])
    content, kind = _content(auth)
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "fracttal-bridge",
        **({"Content-Type": kind} if kind else {}),
        **auth.get("headers", {}),
    }
    secrets = []
    if "username" in auth:
        headers["Authorization"] = basic(auth["username"], auth["password"])
        secrets.append(headers["Authorization"].partition(" ")[2])
    sent = PassRequest(auth.get("method", "POST"), target, headers, content, secrets)
    lasts = seconds(auth["lifetime"]) if "lifetime" in auth else None
    ended = frozenset(auth.get("ended", (401,)))
    return Login(url, sent, auth.get("cookies", True), _place(auth), lasts, ended)


def _content(auth: Mapping[str, Any]) -> tuple[bytes, str]:
    if "body" in auth:
        return json_payload(auth["body"]), "application/json"
    if "form" in auth:
        return urlencode(auth["form"]).encode(), "application/x-www-form-urlencoded"
    return b"", ""


def _place(auth: Mapping[str, Any]) -> TokenPlace | None:
    if not {"token", "token_header"} & set(auth):
        return None
    path = tuple(auth.get("token", "").split("."))
    return TokenPlace(path, auth.get("token_header", "").lower(), *carrier(auth))
