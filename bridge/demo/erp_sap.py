"""An SAP S/4HANA-like server of OData 2 services: a CSRF token with two cookies, ETags, locks, repeatable requests.

As SAP does: a missing or ended token is 403 with `x-csrf-token: Required`; a change wants If-Match, 428 without and
412 where somebody was faster; a lock is HTTP 400 with code 56/393, and passes; what its $metadata does not know, or is
too long, is HTTP 400 for good. A request with RequestID and RepeatabilityCreation is executed once (SAP Gateway,
"Defining Settings for Idempotent Services"): a repeat gets the first answer, or, once that is forgotten, 400
/IWBEP/CM_COS/005. Simpler than SAP: no Atom, no $expand, and a `$filter` knows `eq` and `and` alone.
"""

from collections.abc import Iterator, Mapping
from secrets import token_urlsafe
from typing import Any
from urllib.parse import unquote

from bridge.demo.erp_entities import Flaw, first_flaw
from bridge.demo.erp_locks import Locks
from bridge.demo.erp_odata import NotUnderstood, matches, read_address, read_filter
from bridge.demo.erp_sap_services import ENTITY_SETS, ROOT, EntitySet, values_of
from bridge.demo.erp_server import Call, ErpServer, Reply, basic

USERNAME, PASSWORD = "BRIDGE", "sap-erp-demo-password"
SERVICE = f"{ROOT}/API_PURCHASEREQ_PROCESS_SRV"
CLOSED_COST_CENTER = "CC-CLOSED"
NO_STOCK = "SOLD-OUT"
_SETS = {f"{each.service}/{each.name}": each for each in ENTITY_SETS}
_SERVICES = frozenset(each.service for each in ENTITY_SETS)
Key = tuple[str, ...]


class SapErp(ErpServer):
    """documents: by entity set and key. closed: cost centres that nothing may be booked on."""

    def __init__(
        self,
        locked_every: int = 0,
        token_uses: int = 200,
        closed: frozenset[str] = frozenset({CLOSED_COST_CENTER}),
    ) -> None:
        """locked_every: each such new document finds a lock at first. token_uses: writes a session lives for."""
        super().__init__(basic(USERNAME, PASSWORD))
        self.documents: dict[tuple[str, Key], Any] = {}
        self._versions: dict[tuple[str, Key], int] = {}
        self._closed = closed
        self._locks = Locks(locked_every)
        self._token_uses = token_uses
        self._sessions: dict[str, int] = {}
        self._executed: dict[str, Reply | None] = {}

    def unauthorized(self) -> Reply:
        return Reply(401, "Logon failed", {"WWW-Authenticate": 'Basic realm="SAP"'})

    def end_sessions(self) -> None:
        """As when SAP forgets them: the next write is refused for its token."""
        self._sessions.clear()

    def forget_answers(self) -> None:
        """As when SAP's housekeeping has run: it knows which requests it has executed, and no longer their answers."""
        self._executed = dict.fromkeys(self._executed)

    def handle(self, call: Call) -> Reply:
        service, _, last = unquote(call.path).removeprefix(f"{ROOT}/").partition("/")
        if not call.path.startswith(f"{ROOT}/") or service not in _SERVICES:
            return _error(404, "/IWFND/MED/170", f"No service found for {call.path}")
        if call.method == "GET" and last in {"", "$metadata"}:
            return self._with_token(
                call, Reply(200, {"d": {"EntitySets": [each.name for each in ENTITY_SETS]}})
            )
        if call.method != "GET" and not self._spend_token(call):
            return Reply(403, "CSRF token validation failed", {"x-csrf-token": "Required"})
        try:
            address = read_address(last)
            entity_set = _SETS[f"{service}/{address.name}"]
            key = _key(entity_set, address.key)
            return self._with_token(call, self._dispatch(call, entity_set, key))
        except (NotUnderstood, KeyError) as error:
            return _error(404, "005056A509B11EE1B9A8FEC11C21578E", f"Resource not found: {error}")

    def _dispatch(self, call: Call, entity_set: EntitySet, key: Key) -> Reply:
        match call.method:
            case "GET":
                return self._read(entity_set, key, call.query)
            case "POST" if entity_set.creates and not key:
                return self._repeatable(call, entity_set)
            case "PATCH" | "MERGE" if entity_set.updates and key:
                return self._update(call, entity_set, key)
            case _:
                return _error(405, "/IWFND/CM_MGW/096", f"{call.method} is not allowed on {entity_set.name}")

    def _with_token(self, call: Call, reply: Reply) -> Reply:
        if call.method != "GET" or call.headers.get("x-csrf-token", "").lower() != "fetch":
            return reply
        token = token_urlsafe(16) + "=="
        self._sessions[token] = self._token_uses
        cookies = [f"{name}={value}; path=/; HttpOnly" for name, value in _cookies(token).items()]
        return Reply(reply.status, reply.body, {**reply.headers, "x-csrf-token": token}, cookies)

    def _spend_token(self, call: Call) -> bool:
        token = call.headers.get("x-csrf-token", "")
        sent = call.headers.get("cookie", "").split("; ")
        if not self._sessions.get(token) or any(
            f"{name}={value}" not in sent for name, value in _cookies(token).items()
        ):
            return False
        self._sessions[token] -= 1
        return True

    def _read(self, entity_set: EntitySet, key: Key, query: str) -> Reply:
        if key:
            if (entity_set.name, key) not in self.documents:
                return _error(404, "/IWBEP/CM_MGW_RT/020", "Resource not found for segment")
            entity = self._shown(entity_set, key)
            return Reply(200, {"d": entity}, {"ETag": entity["__metadata"]["etag"]})
        wanted = read_filter(query)
        places = [place for name, place in self.documents if name == entity_set.name]
        shown = (self._shown(entity_set, place) for place in places)
        return Reply(200, {"d": {"results": [entity for entity in shown if matches(entity, wanted)]}})

    def _shown(self, entity_set: EntitySet, key: Key) -> dict[str, Any]:
        place = (entity_set.name, key)
        uri = f"{self.base_url}{entity_set.path}({_predicate(entity_set, key)})"
        etag = f"W/\"datetimeoffset'{self._versions[place]:06}'\""
        named = dict(zip(entity_set.key, key, strict=True))
        own = {name: value for name, value in self.documents[place].items() if not name.startswith("to_")}
        return {"__metadata": {"uri": uri, "etag": etag}} | own | named

    def _repeatable(self, call: Call, entity_set: EntitySet) -> Reply:
        """Executes a request once, where it says that it may be repeated."""
        request = call.headers.get("requestid", "")
        if not request or "repeatabilitycreation" not in call.headers:
            return self._insert(call, entity_set)
        if len(request) != 32:
            return _error(400, "/IWBEP/CM_COS/003", "RequestID is not a GUID of 32 characters")
        if request in self._executed:
            known = self._executed[request]
            outdated = _error(400, "/IWBEP/CM_COS/005", "Idempotent Service Framework: RequestID is outdated")
            return known or outdated
        reply = self._insert(call, entity_set)
        if reply.status < 300:
            reply = Reply(reply.status, reply.body, {**reply.headers, "RepeatabilityResult": "accepted"})
            self._executed[request] = reply
        return reply

    def _insert(self, call: Call, entity_set: EntitySet) -> Reply:
        flaw = first_flaw(entity_set.entity, call.body)
        if flaw is not None:
            return _flawed(flaw)
        for code, message in self._objections(call.body):
            return _error(400, code, message)
        if self._locks.meets(call.headers.get("requestid") or call.idempotency_key):
            return _error(400, "56/393", "The document is blocked by user PLANNER1")
        key = self._new_key(entity_set, call.body)
        if (entity_set.name, key) in self.documents:
            return _error(400, "M3/020", f"The material {'/'.join(key)} already exists")
        self._store(entity_set, key, call.body)
        self.record("created", entity_set.name, "/".join(key), call)
        entity = self._shown(entity_set, key)
        return Reply(201, {"d": entity}, {"ETag": entity["__metadata"]["etag"]})

    def _new_key(self, entity_set: EntitySet, body: Mapping[str, Any]) -> Key:
        if not entity_set.first:
            return tuple(str(body[name]) for name in entity_set.key)
        taken = sum(1 for name, _ in self.documents if name == entity_set.name)
        number = str(body.get(entity_set.key[-1]) or entity_set.first + taken)
        # a material document's year comes first; here it is always this one
        return ("2026", number) if len(entity_set.key) > 1 else (number,)

    def _store(self, entity_set: EntitySet, key: Key, body: Mapping[str, Any]) -> None:
        place = (entity_set.name, key)
        self.documents[place] = {**self.documents.get(place, entity_set.defaults), **body}
        self._versions[place] = self._versions.get(place, 0) + 1
        for navigation, name in entity_set.kept.items():
            for child in body.get(navigation, ()):
                kept = _SETS[f"{entity_set.service}/{name}"]
                self._store(kept, (*key, child[kept.key[-1]]), child)

    def _update(self, call: Call, entity_set: EntitySet, key: Key) -> Reply:
        place = (entity_set.name, key)
        if place not in self.documents:
            return _error(404, "/IWBEP/CM_MGW_RT/020", "Resource not found for segment")
        condition = call.headers.get("if-match", "")
        if not condition:
            return _error(428, "/IWFND/CM_MGW/088", "Precondition required: send the ETag in If-Match")
        if condition not in {"*", self._shown(entity_set, key)["__metadata"]["etag"]}:
            return _error(412, "/IWBEP/CM_MGW_RT/092", "Precondition failed: ETag mismatch")
        flaw = first_flaw(entity_set.entity, call.body, new=False)
        if flaw is not None:
            return _flawed(flaw)
        if self._locks.meets(call.idempotency_key):
            return _error(400, "56/393", "The document is blocked by user PLANNER1")
        before = self.documents[place]
        if {**before, **call.body} != before:
            self._store(entity_set, key, call.body)
            self.record("updated", entity_set.name, "/".join(key), call)
        return Reply(204)

    def _objections(self, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for center in values_of("CostCenter", body):
            if center in self._closed:
                yield "KI/265", f"Cost center 1000/{center} is blocked against direct postings"
        for item in body.get("to_MaterialDocumentItem", ()):
            if item["Material"] == NO_STOCK:
                yield "M7/021", f"Deficit of SL Unrestricted-use {item['QuantityInEntryUnit']} : {NO_STOCK}"
            account = {"201": "CostCenter", "261": "ManufacturingOrder"}.get(item["GoodsMovementType"])
            if account and not item.get(account):
                yield "M7/018", f"Enter {account}"


def _key(entity_set: EntitySet, written: Mapping[str, str]) -> Key:
    """Raises KeyError."""
    if not written:
        return ()
    if set(written) == {""} and len(entity_set.key) == 1:
        return (written[""],)
    return tuple(written[name] for name in entity_set.key)


def _predicate(entity_set: EntitySet, key: Key) -> str:
    texts = [value.replace("'", "''") for value in key]
    if len(texts) == 1:
        return f"'{texts[0]}'"
    return ",".join(f"{name}='{text}'" for name, text in zip(entity_set.key, texts, strict=True))


def _cookies(token: str) -> dict[str, str]:
    return {"sap-usercontext": "sap-client=100", "SAP_SESSIONID_S4H_100": token[::-1].strip("=")}


def _flawed(flaw: Flaw) -> Reply:
    match flaw.what:
        case "unknown":
            message = f"Property '{flaw.name}' is invalid"
        case "missing":
            message = f"Enter {flaw.path}"
        case _:
            message = f"Property '{flaw.name}' has invalid value '{flaw.value}'"
    return _error(400, "005056A509B11EE1B9A8FEC11C21D78E", message)


def _error(status: int, code: str, message: str) -> Reply:
    detail = {"code": code, "message": message, "severity": "error"}
    inner = {"transactionid": "5B1D4E2A8F6C0E10E0068F5C4A3B2C1D", "errordetails": [detail]}
    return Reply(
        status, {"error": {"code": code, "message": {"lang": "en", "value": message}, "innererror": inner}}
    )
