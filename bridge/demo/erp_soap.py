"""A SOAP ERP with a WSDL of its own: requisitions, goods issues, vendors and items; SOAP 1.1 and 1.2 at one address.

As Senior does, it wants quantities with a decimal comma and fixed decimals. As NetSuite's SOAP does, it answers too many
requests with the fault ExceededConcurrentRequestLimitFault, and knows a document again by its external id. A username
token (WS-Security) opens it; a lock that passes is a fault of the server, what it will never take one of the client.
"""

import re
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from bridge.demo.erp_locks import Locks
from bridge.demo.erp_server import Call, ErpServer, Reply, Step
from bridge.demo.erp_soap_messages import NoEnvelope, Request, fault_11, lines

USERNAME, PASSWORD = "BRIDGE", "soap-erp-demo-password"
PATH = "/erp"
CLOSED_COST_CENTER = "CC-CLOSED"
_QUANTITY = re.compile(r"-?[0-9]{1,12},[0-9]{3}")


@cache
def wsdl() -> str:
    return Path(__file__).with_suffix(".wsdl").read_text(encoding="utf-8")


class _Kind(NamedTuple):
    """What one operation makes. updates: its document may come again with other contents."""

    collection: str
    element: str
    prefix: str
    updates: bool = False


_OPERATIONS = {
    "CreateRequisition": _Kind("requisitions", "requisition", "PR"),
    "PostGoodsIssue": _Kind("goods_issues", "goodsIssue", "GI"),
    "UpsertVendor": _Kind("vendors", "vendor", "V", updates=True),
    "UpsertItem": _Kind("items", "item", "I", updates=True),
}


class SoapErp(ErpServer):
    """documents: number and contents by collection and external id. requests: those that were read, in their order."""

    def __init__(
        self,
        password: str = PASSWORD,
        locked_every: int = 0,
        closed: frozenset[str] = frozenset({CLOSED_COST_CENTER}),
        authorization: str = "",
        *,
        knows_by_key: bool = False,
    ) -> None:
        """locked_every: each such new document finds a lock at first. closed: cost centres that nothing may be booked on.
        authorization: an HTTP header that opens it, instead of a username token. knows_by_key: documents are known again by
        their Idempotency-Key, not by their external id.
        """
        super().__init__(authorization)
        self.documents: dict[tuple[str, str], tuple[str, Any]] = {}
        self.requests: list[Request] = []
        self._password = password
        self._knows_by_key = knows_by_key
        self._wants_token = not authorization
        self._closed = closed
        self._locks = Locks(locked_every)
        self._nonces: set[str] = set()

    def unauthorized(self) -> Reply:
        return Reply(401, "Unauthorized", {"WWW-Authenticate": 'Basic realm="ERP"'})

    def fate(self, call: Call) -> Step:
        """Who reads the WSDL meets no trouble."""
        return Step() if is_wsdl(call) else super().fate(call)

    def handle(self, call: Call) -> Reply:
        if is_wsdl(call):
            return Reply(200, wsdl(), {"Content-Type": "text/xml; charset=utf-8"})
        if call.method != "POST" or call.path != PATH:
            return Reply(404, f"no such resource: {call.method} {call.path}")
        try:
            request = Request(call.body if isinstance(call.body, str) else "")
        except NoEnvelope as error:
            return fault_11("Client", "", f"no SOAP envelope, but {error}")
        self.requests.append(request)
        if self._wants_token and not request.is_by(USERNAME, self._password, self._nonces):
            return fault_11("FailedAuthentication", "", "The security token could not be authenticated")
        if request.operation not in _OPERATIONS:
            return request.fault("Client", "E404", f"there is no operation {request.operation}")
        return self._do(request, call)

    def _do(self, request: Request, call: Call) -> Reply:
        kind = _OPERATIONS[request.operation]
        document = request.document(kind.element)
        if not isinstance(document, dict) or not document.get("externalId"):
            return request.fault("Client", "E001", "externalId is missing")
        for line in lines(document):
            quantity = line.get("quantity", {}).get("#text", "")
            if not _QUANTITY.fullmatch(quantity):
                return request.fault("Client", "E014", f"quantity {quantity!r} is not written as 1250,000")
            if line.get("costCenter") in self._closed:
                return request.fault("Client", "E265", f"cost center {line['costCenter']} is blocked")
        return self._book(request, kind, document, call)

    def _book(self, request: Request, kind: _Kind, document: dict[str, Any], call: Call) -> Reply:
        place = (kind.collection, call.idempotency_key if self._knows_by_key else document["externalId"])
        number, known = self.documents.get(place, ("", None))
        if known is None and self._locks.meets(place[1]):
            return request.fault("Server", "E056", f"{kind.element} is locked by user PLANNER1")
        if known is not None and (known == document or not kind.updates):
            return request.booked(number, _total(known), duplicate=True)
        number = number or f"{kind.prefix}-{len(self.documents) + 1:06}"
        self.documents[place] = number, document
        self.record(
            "created" if known is None else "updated", kind.collection, place[1], replace(call, body=document)
        )
        return request.booked(number, _total(document), duplicate=False)


def is_wsdl(call: Call) -> bool:
    return call.method == "GET" and call.path == PATH and call.query.lower() == "wsdl"


def throttled() -> Reply:
    """As NetSuite says it."""
    return fault_11(
        "Server",
        "WS_CONCUR_SESSION_DISALLWD",
        "Only one request may be made against a session at a time",
        "ExceededConcurrentRequestLimitFault",
    )


def _total(document: dict[str, Any]) -> str:
    total = sum(
        (
            Decimal(line["quantity"]["#text"].replace(",", ".")) * Decimal(line.get("price", "0"))
            for line in lines(document)
        ),
        Decimal("0.00"),
    )
    return f"{total:.2f}"
