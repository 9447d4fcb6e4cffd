"""An Oracle NetSuite-like record service: external ids, sublists that grow, few requests at once, 429 beyond them.

As "SuiteTalk REST Web Services" says: `PUT /services/rest/record/v1/{type}/eid:{externalId}` creates or updates, and
adds lines to sublists that `?replace=` does not name; POST with an externalId that is taken is 400; an external id has
letters, digits, `_` and `-`; unknown names are refused with X-NetSuite-PropertyNameValidation: Error, dropped without.
X-NetSuite-Idempotency-Key counts with `Prefer: respond-async` alone: a duplicate is 400 IDEMPOTENCY_ERROR with the
first one's Location. A token comes from the OAuth 2.0 machine-to-machine flow; one stands from the start. Simpler: an
asynchronous request is done at once, and nothing is looked up by its internal id.
"""

import re
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from bridge.demo.erp_entities import Flaw, first_flaw
from bridge.demo.erp_netsuite_records import RECORDS, merged
from bridge.demo.erp_server import Call, ErpServer, Reply
from bridge.demo.erp_throttle import Throttle
from bridge.demo.erp_tokens import Grants, TokenEndpoint

TOKEN = "netsuite-erp-demo-token"  # noqa: S105  the simulator's own, for this machine alone
TOKEN_PATH = "/services/rest/auth/oauth2/v1/token"  # noqa: S105 — an address
NO_STOCK = "SOLD-OUT"
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9_-]+")


class NetSuiteErp(ErpServer):
    """documents: records by type and external id (without one: the internal id), as they are now."""

    def __init__(self, rate: int = 0, concurrency: int = 0, grants: Grants | None = None) -> None:
        """rate: requests it takes within a second; concurrency: at once, in the whole account; 0: any number. grants: who
        gets a token; left out: nobody, and TOKEN alone is good.
        """
        super().__init__()
        self.tokens = TokenEndpoint(TOKEN_PATH, grants or (lambda _call, _form: False), TOKEN)
        self.documents: dict[tuple[str, str], Any] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._jobs: dict[str, str] = {}
        self._throttle = Throttle(rate)
        self._concurrency = concurrency
        self._under_way = 0

    async def answer(self, call: Call, request: web.BaseRequest) -> web.StreamResponse:
        """Counts what is under way, however long it takes."""
        self._under_way += 1
        try:
            return await super().answer(call, request)
        finally:
            self._under_way -= 1

    def handle(self, call: Call) -> Reply:
        if call.path == TOKEN_PATH:
            return self.tokens.answer(call)
        if not self.tokens.knows(call):
            return _error(401, "Unauthorized", "INVALID_LOGIN", "Invalid login attempt.")
        if (self._concurrency and self._under_way > self._concurrency) or self._throttle.refuses():
            text = "Request limit exceeded. Try again later."
            return Reply(
                429,
                _error(429, "Too Many Requests", "CONCURRENCY_LIMIT_EXCEEDED", text).body,
                {"Retry-After": "1"},
            )
        match call.method, call.segments:
            case method, ["services", "rest", "record", "v1", record, *rest] if record in RECORDS:
                external = rest[0].removeprefix("eid:") if rest and rest[0].startswith("eid:") else ""
                if external and not _EXTERNAL_ID.fullmatch(external):
                    return _error(400, "Bad Request", "USER_ERROR", f"Invalid external ID {external}.")
                return self._on_record(method, record, external, call)
            case _:
                return _missing(call.path)

    def _on_record(self, method: str, record: str, external: str, call: Call) -> Reply:
        match method:
            case "GET" if external:
                known = self.documents.get((record, external))
                return (
                    Reply(200, {"id": str(self._numbers[record, external]), "externalId": external, **known})
                    if known
                    else _missing(call.path)
                )
            case "PUT" if external:
                return self._write(record, external, call)
            case "POST" if not external:
                return self._create(record, call)
            case _:
                return _missing(call.path)

    def _create(self, record: str, call: Call) -> Reply:
        job = (
            call.headers.get("x-netsuite-idempotency-key", "")
            if "respond-async" in call.headers.get("prefer", "")
            else ""
        )
        if job in self._jobs:
            duplicate = _error(
                400, "Bad Request", "IDEMPOTENCY_ERROR", "A request with this idempotency key was made."
            )
            return Reply(400, duplicate.body, {"Location": self._jobs[job]})
        external = str(call.body.get("externalId", "")) if isinstance(call.body, dict) else ""
        if external and not _EXTERNAL_ID.fullmatch(external):
            return _error(400, "Bad Request", "USER_ERROR", f"Invalid external ID {external}.")
        if (record, external) in self.documents:
            taken = "Error while accessing a resource. This record already exists."
            return _error(400, "Bad Request", "USER_ERROR", taken)
        reply = self._write(record, external, call)
        if not job or reply.status >= 300:
            return reply
        self._jobs[job] = f"{self.base_url}/services/rest/async/v1/job/{len(self._jobs) + 1}"
        return Reply(202, None, {"Location": self._jobs[job]})

    def _write(self, record: str, external: str, call: Call) -> Reply:
        if not isinstance(call.body, dict):
            return _error(400, "Bad Request", "INVALID_CONTENT", "The request body is not a record.")
        body = {name: value for name, value in call.body.items() if name != "externalId"}
        flaw = first_flaw(RECORDS[record], body, new=(record, external) not in self.documents)
        strict = call.headers.get("x-netsuite-propertynamevalidation", "") == "Error"
        if flaw is not None and (strict or flaw.what != "unknown"):
            return _flawed(record, flaw)
        email = body.get("email")
        if email is not None and "@" not in str(email):
            return _error(400, "Bad Request", "INVALID_EMAIL", f"Invalid email address {email}.")
        for line in body.get("inventory", {}).get("items", ()):
            if line["item"].get("externalId") == NO_STOCK:
                return _error(400, "Bad Request", "USER_ERROR", f"Not enough of {NO_STOCK} on hand.")
        number = 1 + len(self._numbers)
        place = (record, external or str(number))
        self._numbers.setdefault(place, number)
        known = self.documents.get(place)
        replaced = frozenset(parse_qs(call.query).get("replace", [""])[0].split(","))
        after = merged(record, known or {}, body, replaced)
        if known != after:
            self.documents[place] = after
            self.record("created" if known is None else "updated", record, place[1], call)
        location = f"{self.base_url}/services/rest/record/v1/{record}/{self._numbers[place]}"
        return Reply(204, None, {"Location": location})


def _flawed(record: str, flaw: Flaw) -> Reply:
    match flaw.what:
        case "unknown":
            return _error(400, "Bad Request", "INVALID_CONTENT", f"Unknown property {flaw.path} in {record}.")
        case "long":
            text = f"The field {flaw.name} contained more than the maximum number ( {flaw.most} ) of characters allowed."
            return _error(400, "Bad Request", "USER_ERROR", text)
        case "missing":
            return _error(400, "Bad Request", "USER_ERROR", f"Please enter value(s) for: {flaw.path}.")
        case _:
            return _error(400, "Bad Request", "INVALID_CONTENT", f"Invalid value of {flaw.path}.")


def _missing(path: str) -> Reply:
    return _error(404, "Not Found", "NONEXISTENT_ID", f"The record instance {path} does not exist.")


def _error(status: int, title: str, code: str, detail: str) -> Reply:
    kind = f"https://www.rfc-editor.org/rfc/rfc9110.html#status.{status}"
    details = [{"detail": detail, "o:errorCode": code}]
    return Reply(status, {"type": kind, "title": title, "status": status, "o:errorDetails": details})
