"""Siigo Nube's API: a token by `POST /auth`, third parties, products and journals, and a Partner-Id with every request.

As siigoapi.docs.apiary.io says: errors are `{"Status", "Errors": [{"Code", "Message", "Params", "Detail"}]}`; an
Idempotency-Key has letters and digits alone, 30 at most, and a journal that it made is answered again. A PUT replaces the
whole of a third party or product.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs

from bridge.demo.erp_server import Call, ErpServer, Reply

USERNAME, ACCESS_KEY = "bridge@acme.example", "siigo-erp-demo-access-key"
NO_ACCOUNT = "99999999"
"""An account that there is not."""
_PARTNER = re.compile(r"[A-Za-z0-9]{3,100}")
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9]{1,30}")
_CODE = re.compile(r"[^'\s]{1,30}")
_REQUIRED = {
    "customers": ("person_type", "id_type", "identification", "name", "address", "phones", "contacts"),
    "products": ("code", "name", "account_group"),
    "journals": ("document", "date", "items"),
}
_UNIQUE = {"customers": ("identification", "branch_office"), "products": ("code",)}


class Refused(Exception):
    """code: Siigo's own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class SiigoErp(ErpServer):
    """documents: by collection and id, as last written."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self._tokens: set[str] = set()
        self._remembered: dict[str, dict[str, Any]] = {}

    def end_sessions(self) -> None:
        """As after 24 hours: tokens are refused."""
        self._tokens.clear()

    def handle(self, call: Call) -> Reply:
        try:
            self._check_headers(call)
            return self._asked(call)
        except Refused as refused:
            error = {"Code": refused.code, "Message": str(refused), "Params": [], "Detail": ""}
            return Reply(refused.status, {"Status": refused.status, "Errors": [error]})

    def _check_headers(self, call: Call) -> None:
        partner, key = call.headers.get("partner-id", ""), call.idempotency_key
        if not partner:
            raise Refused(400, "header_required", "The header Partner-Id is required")
        if not _PARTNER.fullmatch(partner):
            raise Refused(400, "invalid_partner_id", "The Partner-Id is invalid")
        if call.path == "/auth":
            return
        if call.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            raise Refused(401, "unauthorized", "The access token is invalid or has expired")
        if call.method == "POST" and key and not _IDEMPOTENCY_KEY.fullmatch(key):
            raise Refused(400, "invalid_idempotency-key", "The Idempotency-Key is invalid")

    def _asked(self, call: Call) -> Reply:
        match call.method, call.segments:
            case "POST", ["auth"]:
                return self._token(call.body)
            case "GET", ["v1", collection] if collection in _UNIQUE:
                return self._listed(collection, parse_qs(call.query))
            case "POST", ["v1", "journals"]:
                return self._journal(call)
            case "POST", ["v1", collection] if collection in _UNIQUE:
                return Reply(201, self._write(collection, f"{len(self.documents) + 1:08}", call))
            case "PUT", ["v1", collection, name] if (collection, name) in self.documents:
                return Reply(200, self._write(collection, name, call))
        raise Refused(404, "not_found", f"{call.method} {call.path} was not found")

    def _token(self, body: Any) -> Reply:
        if body != {"username": USERNAME, "access_key": ACCESS_KEY}:
            raise Refused(401, "unauthorized", "Invalid credentials")
        token = token_urlsafe(24)
        self._tokens.add(token)
        return Reply(
            201,
            {"access_token": token, "expires_in": 86_400, "token_type": "Bearer", "scope": "SiigoAPI"},
        )

    def _listed(self, collection: str, query: Mapping[str, list[str]]) -> Reply:
        fields = _UNIQUE[collection]
        found = [
            document
            for (of, _), document in self.documents.items()
            if of == collection
            and all(str(document.get(name, 0)) == query[name][0] for name in fields if name in query)
        ]
        pages = {"page": 1, "page_size": 25, "total_results": len(found)}
        return Reply(200, {"pagination": pages, "results": found})

    def _write(self, collection: str, name: str, call: Call) -> dict[str, Any]:
        body = _checked(collection, call.body)
        if collection == "products" and not _CODE.fullmatch(str(body["code"])):
            raise Refused(
                400, "invalid_code", "The code has blanks or quotes in it, or more than 30 characters"
            )
        fields = _UNIQUE[collection]
        for (of, other), document in self.documents.items():
            if (
                of == collection
                and other != name
                and all(document.get(each) == body.get(each) for each in fields)
            ):
                raise Refused(400, "already_exists", f"The {fields[0]} {body[fields[0]]} already exists")
        known, document = self.documents.get((collection, name)), {"id": name, **body}
        if document != known:
            self.documents[collection, name] = document
            self.record("created" if known is None else "updated", collection, name, call)
        return document

    def _journal(self, call: Call) -> Reply:
        key = call.idempotency_key
        if key in self._remembered:
            return Reply(201, self._remembered[key])
        body = _checked("journals", call.body)
        balance = Decimal(0)
        for item in body["items"]:
            if item["account"]["code"] == NO_ACCOUNT:
                raise Refused(400, "invalid_account", f"The account {NO_ACCOUNT} does not exist")
            balance += item["value"] if item["account"]["movement"] == "Debit" else -item["value"]
        if balance:
            raise Refused(400, "invalid_balance", "The sum of debits and credits must be equal")
        number = 1 + sum(collection == "journals" for collection, _ in self.documents)
        name = f"CC-1-{number}"
        document = {
            "id": f"{len(self.documents) + 1:08}",
            "number": number,
            "name": name,
            "date": body["date"],
        }
        self.documents["journals", name] = body
        if key:
            self._remembered[key] = document
        self.record("created", "journals", name, call)
        return Reply(201, document)


def _checked(collection: str, body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused(400, "invalid_type", "The body is no object")
    missing = [name for name in _REQUIRED[collection] if body.get(name) in (None, "")]
    if missing:
        raise Refused(400, "parameter_required", f"The field {missing[0]} is required")
    return body
