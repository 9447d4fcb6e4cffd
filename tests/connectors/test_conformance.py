"""Every connector kind passes the conformance suite on its simulated ERP. A new kind adds a row to KINDS."""

from typing import Any

import pytest

from bridge.conformance import CHECKS, PASSWORD, Check, Kind, Said
from bridge.demo.erp_graphql import PATH, GraphqlErp
from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Reply
from connectors import registry
from connectors.auth.kinds import secret_texts
from connectors.redaction import Redactor
from tests.connectors.jsonrpc_rows import JSONRPC, ODOO, ODOO_LEGACY
from tests.connectors.soap_kind import SOAP

ORDER = """
mutation Order($request: CreatePurchaseOrderCommandRequestInput!) {
  CreatePurchaseOrder(request: $request) { purchaseOrderId }
}"""
LINE = {"itemId": "I-1", "quantity": 1, "netPurchasePriceAmount": 10, "vatRatePercentage": 19}


def graphql_order(text: str) -> dict[str, Any]:
    order = {
        "supplierId": "S-1",
        "requestedDeliveryDate": "2026-11-24",
        "items": [LINE],
        "internalComment": text,
    }
    return {"query": ORDER, "variables": {"request": order}, "headers": {"X-Tenant-ID": "T-1"}}


def graphql_error(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


REST = Kind(
    "rest",
    lambda: PlainErp(PASSWORD),
    lambda text: {"method": "POST", "path": "/api/work_orders", "body": {"text": text}},
    rejected=Said(Reply(422, {"error": {"code": "E7", "message": "no such\nplant"}}), "E7", "no such plant"),
    throttled=Said(Reply(429, {"message": "slow down"}, {"Retry-After": "7"}), after=7.0),
    unavailable=Said(Reply(503, None, {"Retry-After": "9"}), after=9.0),
    read_back=lambda effect: effect.body["text"],
)
GRAPHQL = Kind(
    "graphql",
    lambda: GraphqlErp(PASSWORD),
    graphql_order,
    rejected=Said(Reply(200, graphql_error("E7", "no such\nplant")), "E7", "no such plant"),
    throttled=Said(
        Reply(200, graphql_error("THROTTLED", "slow down"), {"X-RateLimit-Reset": "7"}), after=7.0
    ),
    unavailable=Said(Reply(503, None, {"Retry-After": "9"}), after=9.0),
    read_back=lambda effect: effect.body["variables"]["request"]["internalComment"],
    base=PATH,
    echoes=lambda text: [
        Reply(200, graphql_error(text, text)),
        Reply(200, {"data": {"a": text}} | graphql_error(text, text)),
    ],
    large="Uncertain",
)
KINDS = [REST, GRAPHQL, JSONRPC, ODOO, ODOO_LEGACY, SOAP]


@pytest.mark.parametrize("check", CHECKS, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_it_conforms(kind: Kind, check: Check) -> None:
    if why := check.skipped_by(kind):
        pytest.skip(why)
    await check(kind)


def test_every_kind_of_ours_has_a_row() -> None:
    assert {kind.name for kind in KINDS} == set(registry._KINDS)


def test_a_row_skips_checks_that_there_are() -> None:
    names = {check.name for check in CHECKS}
    assert [name for kind in KINDS for name in kind.skips if name not in names] == []


def test_a_username_is_masked_where_it_is_a_secret() -> None:
    auth = {"type": "basic", "username": "api-key-4711", "password": "unused"}
    assert Redactor(secret_texts(auth))(b"no api-key-4711") == b"no api-key-4711"
    assert Redactor(secret_texts(auth, frozenset({"username"})))(b"no api-key-4711") == b"no ***"
