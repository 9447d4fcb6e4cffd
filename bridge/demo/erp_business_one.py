"""A SAP Business One-like Service Layer: a login whose cookies every request carries, user-defined fields, OData 3 and 4.

As the Service Layer's guide ("Working with SAP Business One Service Layer") and its clients say: `POST /b1s/v1/Login`
answers with the cookies B1SESSION and ROUTEID; a session that ended is 401 with code 301; names are case-sensitive; the
date that a purchase request is needed is `RequriedDate`; version 1 writes an error's code as a number and its message
as an object, version 2 both as texts. Nothing is remembered of a request: who repeats one gets a second document.
Simpler: a `$filter` knows `eq` and `and` alone, and no master data is looked up.
"""

import secrets
from typing import Any
from urllib.parse import unquote

from bridge.demo.erp_business_one_entities import ENTITIES, EVENT_FIELD, B1Entity
from bridge.demo.erp_entities import Flaw, first_flaw
from bridge.demo.erp_locks import Locks
from bridge.demo.erp_odata import NotUnderstood, matches, read_address, read_filter
from bridge.demo.erp_server import Call, ErpServer, Reply

COMPANY, USERNAME, PASSWORD = "SBODemoCL", "bridge", "business-one-erp-demo-password"
NO_STOCK = "SOLD-OUT"
_VERSIONS = frozenset({"v1", "v2"})
_LOGIN_FAILED = 100000027
_NO_MATCH = -2028
_EXISTS = -2035
_CHANGED = -2039
_INVALID = -1000
_TOO_LONG = -1004
_OBJECTION = -5002


class BusinessOneErp(ErpServer):
    """documents: by entity and key (a document's DocEntry as text)."""

    def __init__(self, locked_every: int = 0, session_uses: int = 0) -> None:
        """locked_every: each such new document is changed by somebody else at that moment, at first. session_uses:
        requests that a session lives for, 0: any number.
        """
        super().__init__()
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self._sessions: dict[str, int] = {}
        self._session_uses = session_uses
        self._locks = Locks(locked_every)

    def end_sessions(self) -> None:
        """As when their 30 minutes are over."""
        self._sessions.clear()

    def handle(self, call: Call) -> Reply:
        version, _, last = unquote(call.path).removeprefix("/b1s/").partition("/")
        if not call.path.startswith("/b1s/") or version not in _VERSIONS:
            return _error(version, 404, -1, "Unrecognized resource path.")
        if (call.method, last) == ("POST", "Login"):
            return self._login(version, call.body)
        if not self._spend_session(call):
            return _error(version, 401, 301, "Invalid session or session already timeout.")
        try:
            address = read_address(last)
            entity = ENTITIES[address.name]
        except (NotUnderstood, KeyError):
            return _error(version, 404, -1, "Unrecognized resource path.")
        key = address.key.get("", "")
        match call.method:
            case "GET" if key:
                found = self.documents.get((entity.name, key))
                return (
                    Reply(200, found)
                    if found
                    else _error(version, 404, _NO_MATCH, "No matching records found (ODBC -2028)")
                )
            case "GET":
                return self._list(entity, call.query)
            case "POST" if not key:
                return self._create(version, entity, call)
            case "PATCH" if key:
                return self._update(version, entity, key, call)
            case _:
                return _error(version, 405, -1, "Method not allowed.")

    def _login(self, version: str, body: Any) -> Reply:
        if body != {"CompanyDB": COMPANY, "UserName": USERNAME, "Password": PASSWORD}:
            return _error(version, 401, _LOGIN_FAILED, "Login failed")
        session = secrets.token_hex(16)
        self._sessions[session] = self._session_uses
        cookies = [f"B1SESSION={session}; path=/b1s; HttpOnly", "ROUTEID=.node1; path=/b1s"]
        return Reply(200, {"SessionId": session, "Version": "1000191", "SessionTimeout": 30}, cookies=cookies)

    def _spend_session(self, call: Call) -> bool:
        """Both cookies are wanted: without ROUTEID a load balancer sends the request to a node that does not know it."""
        pairs = [pair.partition("=") for pair in call.headers.get("cookie", "").split("; ")]
        sent = {name: value for name, _, value in pairs}
        session = sent.get("B1SESSION", "")
        if session not in self._sessions or sent.get("ROUTEID") != ".node1":
            return False
        if self._session_uses:
            self._sessions[session] -= 1
            if not self._sessions[session]:
                del self._sessions[session]
        return True

    def _list(self, entity: B1Entity, query: str) -> Reply:
        try:
            wanted = read_filter(query)
        except NotUnderstood as error:
            return _error("v1", 400, _INVALID, f"Query string error: {error}")
        known = (document for (name, _), document in self.documents.items() if name == entity.name)
        return Reply(200, {"value": [document for document in known if matches(document, wanted)]})

    def _create(self, version: str, entity: B1Entity, call: Call) -> Reply:
        objection = self._objection(version, entity, call, new=True)
        if objection is not None:
            return objection
        key = str(call.body[entity.key]) if entity.key else str(1 + self._taken(entity))
        if (entity.name, key) in self.documents:
            return _error(
                version, 400, _EXISTS, "This entry already exists in the following tables (ODBC -2035)"
            )
        numbers = {} if entity.key else {"DocEntry": int(key), "DocNum": 1000 + int(key)}
        self.documents[entity.name, key] = {**entity.defaults, **call.body, **numbers}
        self.record("created", entity.name, key, call)
        return Reply(201, self.documents[entity.name, key])

    def _taken(self, entity: B1Entity) -> int:
        return sum(1 for name, _ in self.documents if name == entity.name)

    def _update(self, version: str, entity: B1Entity, key: str, call: Call) -> Reply:
        before = self.documents.get((entity.name, key))
        if before is None:
            return _error(version, 404, _NO_MATCH, "No matching records found (ODBC -2028)")
        objection = self._objection(version, entity, call, new=False)
        if objection is not None:
            return objection
        # an event's id alone is no change of the record that somebody looks at
        seen = {name: value for name, value in call.body.items() if name != EVENT_FIELD}
        self.documents[entity.name, key] = {**before, **call.body}
        if {**before, **seen} != before:
            self.record("updated", entity.name, key, call)
        return Reply(204)

    def _objection(self, version: str, entity: B1Entity, call: Call, *, new: bool) -> Reply | None:
        flaw = first_flaw(entity.fields, call.body, new=new)
        if flaw is not None:
            return _flawed(version, entity, flaw)
        for line in call.body.get("DocumentLines", ()) if entity.name == "InventoryGenExits" else ():
            if line["ItemCode"] == NO_STOCK:
                return _error(
                    version, 400, -10, "Quantity falls into negative inventory  [IGE1.ItemCode][line: 1]"
                )
        if self._locks.meets(call.idempotency_key):
            changed = "Another user or another operation modified data; to continue, open the window again (ODBC -2039)"
            return _error(version, 400, _CHANGED, changed)
        return None


def _flawed(version: str, entity: B1Entity, flaw: Flaw) -> Reply:
    match flaw.what:
        case "unknown":
            return _error(version, 400, _INVALID, f"Property '{flaw.name}' of '{entity.kind}' is invalid")
        case "long":
            return _error(
                version, 400, _TOO_LONG, f"(1) Value too long in property '{flaw.name}' of '{entity.kind}'"
            )
        case "missing":
            return _error(version, 400, _OBJECTION, f"Enter {flaw.path}")
        case _:
            return _error(
                version, 400, _INVALID, f"Cannot convert the value of '{flaw.path}' of '{entity.kind}'"
            )


def _error(version: str, status: int, code: int, message: str) -> Reply:
    if version == "v2":
        return Reply(status, {"error": {"code": str(code), "message": message}})
    return Reply(status, {"error": {"code": code, "message": {"lang": "en-us", "value": message}}})
