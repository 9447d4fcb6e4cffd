"""An SAP S/4HANA-like OData service: purchase requisitions by deep insert, basic auth, a CSRF token with two cookies.

As SAP does: a missing or ended token is 403 with `x-csrf-token: Required`; a lock is HTTP 400 with code 56/393 and
passes; a cost centre that is closed is HTTP 400 for good. Simpler than SAP: it remembers the Idempotency-Key, where
SAP wants RequestID and RepeatabilityCreation.
"""

from collections.abc import Iterator
from secrets import token_urlsafe
from typing import Any

from bridge.demo.erp_server import Call, ErpServer, Reply, basic

USERNAME, PASSWORD = "BRIDGE", "sap-erp-demo-password"
SERVICE = "/sap/opu/odata/sap/API_PURCHASEREQ_PROCESS_SRV"
CLOSED_COST_CENTER = "CC-CLOSED"


class SapErp(ErpServer):
    """documents: purchase requisitions by number. closed: cost centres that nothing may be booked on."""

    def __init__(
        self,
        locked_every: int = 0,
        token_uses: int = 200,
        closed: frozenset[str] = frozenset({CLOSED_COST_CENTER}),
    ) -> None:
        """locked_every: each such new document finds a lock at first. token_uses: writes a session lives for."""
        super().__init__(basic(USERNAME, PASSWORD))
        self.documents: dict[str, Any] = {}
        self._closed = closed
        self._locked_every = locked_every
        self._was_locked: set[str] = set()
        self._first_tries = 0
        self._token_uses = token_uses
        self._sessions: dict[str, int] = {}
        self._remembered: dict[str, str] = {}

    def unauthorized(self) -> Reply:
        return Reply(401, "Logon failed", {"WWW-Authenticate": 'Basic realm="SAP"'})

    def handle(self, call: Call) -> Reply:
        if not call.path.startswith(SERVICE + "/"):
            return _error(404, "/IWFND/MED/170", f"No service found for {call.path}")
        if call.method == "GET":
            return self._read(call)
        if not self._spend_token(call):
            return Reply(403, "CSRF token validation failed", {"x-csrf-token": "Required"})
        if call.method != "POST" or call.path != f"{SERVICE}/A_PurchaseRequisitionHeader":
            return _error(404, "005056A509B11EE1B9A8FEC11C21578E", f"Resource not found: {call.path}")
        return self._insert(call)

    def end_sessions(self) -> None:
        """As when SAP forgets them: the next write is refused for its token."""
        self._sessions.clear()

    def _read(self, call: Call) -> Reply:
        entity_sets = {"d": {"EntitySets": ["A_PurchaseRequisitionHeader"]}}
        if call.headers.get("x-csrf-token", "").lower() != "fetch":
            return Reply(200, entity_sets)
        token = token_urlsafe(16) + "=="
        self._sessions[token] = self._token_uses
        cookies = [f"{name}={value}; path=/; HttpOnly" for name, value in _cookies(token).items()]
        return Reply(200, entity_sets, {"x-csrf-token": token}, cookies)

    def _spend_token(self, call: Call) -> bool:
        token = call.headers.get("x-csrf-token", "")
        sent = call.headers.get("cookie", "").split("; ")
        if not self._sessions.get(token) or any(
            f"{name}={value}" not in sent for name, value in _cookies(token).items()
        ):
            return False
        self._sessions[token] -= 1
        return True

    def _insert(self, call: Call) -> Reply:
        key = call.idempotency_key
        if key in self._remembered:
            return _created(self._remembered[key], call.body)
        if not isinstance(call.body, dict) or not call.body.get("to_PurchaseReqnItem"):
            return _error(400, "MEREQ/006", "Purchase requisition has no items")
        for center in _cost_centers(call.body):
            if center in self._closed:
                return _error(400, "KI/265", f"Cost center 1000/{center} is blocked against direct postings")
        if self._finds_lock(key):
            return _error(400, "56/393", "Purchase requisition is blocked by user PLANNER1")
        number = str(10_000_000 + len(self.documents) + 1)
        self.documents[number] = call.body
        if key:
            self._remembered[key] = number
        self.record("created", "A_PurchaseRequisitionHeader", number, call)
        return _created(number, call.body)

    def _finds_lock(self, key: str) -> bool:
        if not self._locked_every or key in self._was_locked:
            return False
        self._first_tries += 1
        if self._first_tries % self._locked_every:
            return False
        self._was_locked.add(key)
        return True


def _cookies(token: str) -> dict[str, str]:
    return {"sap-usercontext": "sap-client=100", "SAP_SESSIONID_S4H_100": token[::-1].strip("=")}


def _cost_centers(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("CostCenter"), str):
            yield value["CostCenter"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _cost_centers(item)


def _created(number: str, body: Any) -> Reply:
    described = body.get("PurReqnDescription", "") if isinstance(body, dict) else ""
    return Reply(201, {"d": {"PurchaseRequisition": number, "PurReqnDescription": described}})


def _error(status: int, code: str, message: str) -> Reply:
    detail = {"code": code, "message": message, "severity": "error"}
    inner = {"transactionid": "5B1D4E2A8F6C0E10E0068F5C4A3B2C1D", "errordetails": [detail]}
    return Reply(
        status, {"error": {"code": code, "message": {"lang": "en", "value": message}, "innererror": inner}}
    )
