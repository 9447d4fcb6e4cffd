"""The kind `graphql` on real HTTP: where it posts, persisted queries, and what the simulated ERP makes of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import pytest

from bridge.demo.erp_graphql import INACTIVE_SUPPLIER, PATH, TOKEN, GraphqlErp
from bridge.demo.erp_server import Call, ErpServer, Reply, Step
from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import (
    ConnectionSettings,
    Connector,
    Delivered,
    Rejected,
    Throttled,
    Unavailable,
    Uncertain,
)

POST = """
mutation Post($request: ExecuteOutboundStockPostingCommandRequestInput!) {
  ExecuteOutboundStockPosting(request: $request) { totalQuantity }
}"""
ORDER = """
mutation Order($request: CreatePurchaseOrderCommandRequestInput!) {
  CreatePurchaseOrder(request: $request) { purchaseOrderId }
}"""
HEADERS = {"X-Tenant-ID": "T-1"}


@pytest.fixture
async def erp() -> AsyncIterator[GraphqlErp]:
    async with GraphqlErp() as server:
        yield server


@asynccontextmanager
async def connected(
    base_url: str, token: str = TOKEN, auth: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Connector]:
    egress = EgressPolicy((ip_network("127.0.0.0/8"),))
    auth = auth or {"type": "bearer", "token": token}
    connector = registry.open_connector(
        "graphql", ConnectionSettings(base_url, auth, options=options, egress=egress)
    )
    try:
        yield connector
    finally:
        await connector.aclose()


def posting(quantity: Any = Decimal("2.5"), item: str = "I-1") -> Mapping[str, Any]:
    request = {"itemId": item, "warehouseId": "W-1", "quantity": quantity}
    return {"query": POST, "variables": {"request": request}, "headers": HEADERS}


async def sent(connector: Connector, request: Mapping[str, Any], key: str = "event/acme/parts") -> Any:
    return await connector.send(connector.prepare(request, key))


@pytest.mark.parametrize(
    ("below", "path", "posted"),
    [("/graphql", None, "/graphql"), ("/graphql/", None, "/graphql/"), ("", None, "/"), ("/", None, "/"), ("/v2", "/graphql/", "/v2/graphql/")],
)  # fmt: skip
async def test_base_url_is_the_endpoint_unless_a_path_is_written(
    erp: GraphqlErp, below: str, path: str | None, posted: str
) -> None:
    async with connected(erp.base_url + below) as connector:
        await sent(connector, dict(posting()) | ({} if path is None else {"path": path}))
    [call] = erp.calls
    assert (call.method, call.path) == ("POST", posted)
    assert call.headers["content-type"] == "application/json"
    assert call.headers["accept"] == "application/graphql-response+json, application/json"
    assert call.headers["idempotency-key"] == "event/acme/parts"


async def test_the_same_key_is_answered_with_what_was_done(erp: GraphqlErp) -> None:
    async with connected(erp.base_url + PATH) as connector:
        first, second = await sent(connector, posting()), await sent(connector, posting())
    assert isinstance(first, Delivered)
    assert isinstance(second, Delivered)
    assert "done it before" in second.message
    assert first.answer
    assert first.answer.body == {"data": {"ExecuteOutboundStockPosting": {"totalQuantity": Decimal("997.5")}}}
    assert len(erp.effects) == 1


async def test_what_the_erp_refuses_and_why(erp: GraphqlErp) -> None:
    order = {"supplierId": INACTIVE_SUPPLIER, "requestedDeliveryDate": "2026-11-24T03:28:19Z", "items": []}
    line = {"itemId": "I-1", "quantity": 1, "netPurchasePriceAmount": 1, "vatRatePercentage": 19}
    asked = {
        "ITEM_NOT_FOUND": posting(item="none"),
        "VALIDATION_ERROR": posting(Decimal(1001)),
        "GRAPHQL_VALIDATION_FAILED": dict(posting()) | {"query": POST.replace("totalQuantity", "total")},
        "PURCHASE_ORDER_LINE_ITEMS_REQUIRED": {"query": ORDER, "variables": {"request": order}, "headers": HEADERS},
        "SUPPLIER_INACTIVE": {"query": ORDER, "variables": {"request": order | {"items": [line]}}, "headers": HEADERS},
    }  # fmt: skip
    async with connected(erp.base_url + PATH) as connector:
        for code, request in asked.items():
            outcome = await sent(connector, request)
            assert isinstance(outcome, Rejected)
            assert outcome.code == code
    assert erp.effects == []


async def test_without_the_tenant_or_with_an_ended_token_nothing_is_delivered(erp: GraphqlErp) -> None:
    async with connected(erp.base_url + PATH) as connector:
        outcome = await sent(connector, dict(posting()) | {"headers": {}})
    assert isinstance(outcome, Unavailable)
    assert "X-Tenant-ID" in outcome.message
    async with connected(erp.base_url + PATH, "ended-token") as connector:
        outcome = await sent(connector, posting())
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"


class _TokenDesk(ErpServer):
    """Gives token-1, token-2, …"""

    def handle(self, call: Call) -> Reply:
        assert call.path == "/token"
        return Reply(200, {"access_token": f"token-{len(self.calls)}", "token_type": "Bearer"})


async def test_a_token_that_ended_with_a_200_is_renewed_and_the_event_sent_again(erp: GraphqlErp) -> None:
    ended = {"errors": [{"message": "expired", "extensions": {"code": "UNAUTHENTICATED"}}]}
    in_part = ended | {"data": {"ExecuteOutboundStockPosting": {"totalQuantity": 1}}}
    async with _TokenDesk() as desk:
        auth = {
            "type": "oauth2_client_credentials",
            "token_url": f"{desk.base_url}/token",
            "client_id": "bridge",
        }
        async with connected(erp.base_url + PATH, auth={**auth, "client_secret": "secret"}) as connector:
            erp.accept("Bearer token-2")
            erp.script([Step(reply=Reply(200, ended))])
            assert isinstance(await sent(connector, posting()), Delivered)
            assert len(desk.calls) == 2
            erp.script([Step(reply=Reply(200, ended)), Step(reply=Reply(200, ended))])
            refused = await sent(connector, posting())
            assert isinstance(refused, Unavailable)
            assert refused.code == "authentication"
            asked = len(desk.calls)
            erp.script([Step(reply=Reply(200, in_part))])
            assert isinstance(await sent(connector, posting()), Uncertain)
            assert len(desk.calls) == asked


async def test_beyond_its_rate_it_says_for_how_long() -> None:
    async with GraphqlErp(rate=1) as erp, connected(erp.base_url + PATH) as connector:
        assert isinstance(await sent(connector, posting()), Delivered)
        outcome = await sent(connector, posting(), "another")
    assert isinstance(outcome, Throttled)
    assert outcome.after is not None
    assert 0 < outcome.after <= 60


async def test_apq_sends_the_document_once_and_its_hash_from_then_on(erp: GraphqlErp) -> None:
    async with connected(erp.base_url + PATH, persisted_queries="apq") as connector:
        outcomes = [await sent(connector, posting(), key) for key in ("a", "b", "c")]
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert ["query" in call.body for call in erp.calls] == [False, True, False, False]
    hashes = {call.body["extensions"]["persistedQuery"]["sha256Hash"] for call in erp.calls}
    assert len(hashes) == 1
    assert [effect.idempotency_key for effect in erp.effects] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "error",
    [
        {"message": "PersistedQueryNotSupported"},
        {"message": "no", "extensions": {"code": "PERSISTED_QUERY_NOT_SUPPORTED"}},
    ],
)
async def test_apq_is_given_up_where_the_server_has_none(erp: GraphqlErp, error: Any) -> None:
    erp.script([Step(reply=Reply(200, {"errors": [error]}))])
    async with connected(erp.base_url + PATH, persisted_queries="apq") as connector:
        assert isinstance(await sent(connector, posting(), "a"), Delivered)
        assert isinstance(await sent(connector, posting(), "b"), Delivered)
    assert ["extensions" in call.body for call in erp.calls] == [True, False, False]


@pytest.mark.parametrize("missed", [{"errors": [{"message": "Must provide query string."}]}, "no query"])
async def test_apq_is_given_up_where_the_server_only_misses_the_query(erp: GraphqlErp, missed: Any) -> None:
    erp.script([Step(reply=Reply(400, missed)), Step(), Step(reply=Reply(400, missed))])
    async with connected(erp.base_url + PATH, persisted_queries="apq") as connector:
        together = [connector.prepare(posting(), key) for key in ("a", "b")]
        outcomes = [await connector.send(each) for each in together]
        assert [type(outcome) for outcome in outcomes] == [Delivered, Delivered]
        assert isinstance(await sent(connector, posting(), "c"), Delivered)
    assert ["extensions" in call.body for call in erp.calls] == [True, False, True, False, False]


async def test_apq_is_kept_where_the_event_is_wrong(erp: GraphqlErp) -> None:
    wrong = Reply(400, {"errors": [{"message": "no", "extensions": {"code": "BAD_USER_INPUT"}}]})
    erp.script([Step(reply=wrong), Step(reply=wrong)])
    async with connected(erp.base_url + PATH, persisted_queries="apq") as connector:
        assert isinstance(await sent(connector, posting(), "a"), Rejected)
        assert isinstance(await sent(connector, posting(), "b"), Delivered)
    assert ["query" in call.body for call in erp.calls] == [False, True, False, True]


async def test_apq_asks_no_more_than_once(erp: GraphqlErp) -> None:
    unknown = Reply(200, {"errors": [{"message": "PersistedQueryNotFound"}]})
    erp.script([Step(reply=unknown), Step(reply=unknown)])
    async with connected(erp.base_url + PATH, persisted_queries="apq") as connector:
        outcome = await sent(connector, posting())
    assert isinstance(outcome, Rejected)
    assert len(erp.calls) == 2


async def test_the_answer_to_the_document_itself_may_be_cut(erp: GraphqlErp) -> None:
    unknown = Reply(200, {"errors": [{"message": "PersistedQueryNotFound"}]})
    erp.script([Step(reply=unknown), Step(cut="after")])
    permits = []
    async with connected(erp.base_url + PATH, persisted_queries="apq") as connector:
        outcome = await connector.send(connector.prepare(posting(), "k"), lambda: permits.append(1))
    assert isinstance(outcome, Uncertain)
    assert len(erp.effects) == 1
    assert permits == [1, 1]


async def test_trusted_documents_are_known_by_their_hash(erp: GraphqlErp) -> None:
    async with connected(erp.base_url + PATH, persisted_queries="document_id") as connector:
        refused = await sent(connector, posting())
        erp.trust(POST)
        taken = await sent(connector, posting())
    assert isinstance(refused, Rejected)
    assert isinstance(taken, Delivered)
    assert [sorted(call.body) for call in erp.calls] == [["documentId", "variables"]] * 2
    assert erp.calls[0].body["documentId"].startswith("sha256:")


async def test_an_operation_known_by_its_id_alone_may_have_changed_something(erp: GraphqlErp) -> None:
    timeout = {"data": None, "errors": [{"message": "late", "extensions": {"code": "TIMEOUT"}}]}
    erp.script([Step(reply=Reply(200, timeout))])
    async with connected(erp.base_url + PATH) as connector:
        outcome = await sent(connector, {"document_id": "post-parts", "headers": HEADERS})
    assert isinstance(outcome, Uncertain)


async def test_a_permit_that_is_refused_sends_nothing(erp: GraphqlErp) -> None:
    def refuse() -> None:
        raise asyncio.CancelledError

    async with connected(erp.base_url + PATH) as connector:
        with pytest.raises(asyncio.CancelledError):
            await connector.send(connector.prepare(posting(), "k"), refuse)
    assert erp.calls == []
