"""The logins of Tryton and of Odoo's old interface, as issuers of passes (`connectors.auth.passes`). Pure.

Tryton (trytond.protocols.dispatcher): `common.db.login` gives the user's id and a session's key, which go into the
Authorization header; an ended session is answered 401, before anything was done. Odoo (External RPC API):
`common.authenticate` gives the user's id, which goes with database and password into the arguments of each call.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from connectors.auth.passes import (
    IssuerAnswer,
    Moment,
    NotGranted,
    Pass,
    PassRequest,
    is_sendable,
    origin_and_target,
)
from connectors.http_request import json_payload
from connectors.jsonrpc_dialect import ODOO_TARGET, tryton_target
from connectors.jsonrpc_errors import odoo_error
from connectors.protocol import ConnectionSettings

_ID = "login"
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "fracttal-bridge",
}


@dataclass(frozen=True, slots=True)
class OdooPass(Pass):
    """credentials: the first three arguments of a call, as JSON without brackets."""

    credentials: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class _Login:
    """url, target: where it logs in. auth: username and password."""

    url: str
    target: str
    database: str
    auth: Mapping[str, Any] = field(repr=False)
    what: str = "login"
    ended: frozenset[int] = frozenset({401})
    replaceable: str = ""

    def _request(self, call: Mapping[str, Any]) -> PassRequest:
        return PassRequest("POST", self.target, _HEADERS, json_payload(call))

    def after(self, granted: Pass) -> Self:  # noqa: ARG002  an Issuer's
        return self


class TrytonLogin(_Login):
    """An Issuer."""

    def request(self, at: Moment) -> PassRequest:  # noqa: ARG002  an Issuer's
        params = [self.auth["username"], {"password": self.auth["password"]}]
        return self._request({"id": _ID, "method": "common.db.login", "params": params})

    def granted(self, answer: IssuerAnswer) -> Pass:
        match _result(answer):
            case [int() as user, str() as key, *_]:
                session = f"{self.auth['username']}:{user}:{key}".encode()
                token = base64.b64encode(session).decode()
                if not is_sendable(token):
                    raise NotGranted("a session's key that is too long for a header")
                return Pass({"Authorization": f"Session {token}"}, secrets=(key, token))
            case _:
                raise NotGranted("no session in its answer")


class OdooLogin(_Login):
    """An Issuer of OdooPass."""

    def request(self, at: Moment) -> PassRequest:  # noqa: ARG002  an Issuer's
        arguments = [self.database, self.auth["username"], self.auth["password"], {}]
        params = {"service": "common", "method": "authenticate", "args": arguments}
        return self._request({"jsonrpc": "2.0", "method": "call", "params": params, "id": _ID})

    def granted(self, answer: IssuerAnswer) -> Pass:
        result = _result(answer)
        if isinstance(result, int) and not isinstance(result, bool):
            first = json_payload([self.database, result, self.auth["password"]])
            return OdooPass({}, credentials=first[1:-1])
        error = answer.body.get("error") if isinstance(answer.body, Mapping) else None
        if error is not None:
            raise NotGranted(f"an error {odoo_error(error).code}; is there a database {self.database!r}?")
        raise NotGranted("no user of that name and password")


def tryton_login(settings: ConnectionSettings, path: str) -> TrytonLogin:
    """path: another than the dialect's, or ""."""
    database = str(settings.options["database"])
    where = origin_and_target(settings.base_url.rstrip("/") + (path or tryton_target(database)))
    return TrytonLogin(*where, database, settings.auth)


def odoo_login(settings: ConnectionSettings, path: str) -> OdooLogin:
    """path: another than the dialect's, or ""."""
    where = origin_and_target(settings.base_url.rstrip("/") + (path or ODOO_TARGET))
    return OdooLogin(*where, str(settings.options["database"]), settings.auth)


def _result(answer: IssuerAnswer) -> Any:
    body = answer.body
    return body.get("result") if isinstance(body, Mapping) and body.get("id") == _ID else None
