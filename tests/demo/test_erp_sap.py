"""The simulated S/4HANA, asked by a plain HTTP client: it behaves as SAP's documentation says."""

from typing import Any

import pytest

from bridge.demo.erp_sap import CLOSED_COST_CENTER, NO_STOCK, PASSWORD, SERVICE, USERNAME, SapErp
from bridge.demo.erp_sap_services import ROOT
from bridge.demo.erp_server import basic
from tests.demo.asking import ask

REQUISITIONS = f"{SERVICE}/A_PurchaseRequisitionHeader"
PRODUCTS = f"{ROOT}/API_PRODUCT_SRV/A_Product"
ISSUES = f"{ROOT}/API_MATERIAL_DOCUMENT_SRV/A_MaterialDocumentHeader"
SAP_AUTH = {"Authorization": basic(USERNAME, PASSWORD)}


async def sap_session(sap: SapErp) -> dict[str, str]:
    _, headers, _ = await ask(sap, "GET", f"{SERVICE}/", SAP_AUTH | {"x-csrf-token": "Fetch"})
    cookies = "; ".join(line.split(";")[0] for line in headers.getall("Set-Cookie"))
    return SAP_AUTH | {"x-csrf-token": headers["x-csrf-token"], "Cookie": cookies}


def requisition(cost_center: str = "CC-1") -> dict[str, Any]:
    item = {
        "Plant": "CL01",
        "RequestedQuantity": "1",
        "to_PurchaseReqnAcctAssgmt": [{"CostCenter": cost_center}],
    }
    return {"PurchaseRequisitionType": "NB", "PurReqnDescription": "#1 x", "to_PurchaseReqnItem": [item]}


async def test_sap_wants_credentials_then_a_token_with_all_its_cookies() -> None:
    async with SapErp() as sap:
        assert (await ask(sap, "GET", f"{SERVICE}/", {}))[0] == 401
        status, headers, _ = await ask(sap, "POST", REQUISITIONS, SAP_AUTH, requisition())
        assert (status, headers["x-csrf-token"]) == (403, "Required")
        session = await sap_session(sap)
        for name in ("sap-usercontext", "SAP_SESSIONID_S4H_100"):
            kept = [pair for pair in session["Cookie"].split("; ") if not pair.startswith(name)]
            partial = session | {"Cookie": "; ".join(kept)}
            assert (await ask(sap, "POST", REQUISITIONS, partial, requisition()))[0] == 403
        assert sap.effects == []
        status, _, body = await ask(sap, "POST", REQUISITIONS, session, requisition())
        assert status == 201
        assert ("A_PurchaseRequisitionHeader", (body["d"]["PurchaseRequisition"],)) in sap.documents


async def test_sap_ends_a_session_after_its_uses() -> None:
    async with SapErp(token_uses=2) as sap:
        session = await sap_session(sap)
        seen = [(await ask(sap, "POST", REQUISITIONS, session, requisition()))[0] for _ in range(3)]
        assert seen == [201, 201, 403]


REPEATABLE = {"RequestID": "BF07B0D2A4FA503EAAF32D46DFAD35A2", "RepeatabilityCreation": "2026-11-24T03:28:20"}


async def test_sap_executes_a_repeatable_request_once_and_forgets_its_answer_some_day() -> None:
    async with SapErp() as sap:
        headers = await sap_session(sap) | REPEATABLE
        first = await ask(sap, "POST", REQUISITIONS, headers, requisition())
        second = await ask(sap, "POST", REQUISITIONS, headers, requisition())
        assert first[2] == second[2]
        assert first[1]["RepeatabilityResult"] == "accepted"
        sap.forget_answers()
        status, _, body = await ask(sap, "POST", REQUISITIONS, headers, requisition())
        assert (status, body["error"]["code"]) == (400, "/IWBEP/CM_COS/005")
        assert len(sap.effects) == 1


async def test_sap_wants_both_headers_to_know_a_repeat() -> None:
    async with SapErp() as sap:
        headers = await sap_session(sap) | {"RequestID": REPEATABLE["RequestID"]}
        for _ in range(2):
            assert (await ask(sap, "POST", REQUISITIONS, headers, requisition()))[0] == 201
        assert len(sap.effects) == 2


async def test_sap_s_lock_passes_and_its_closed_cost_center_does_not() -> None:
    async with SapErp(locked_every=1) as sap:
        headers = await sap_session(sap) | {"Idempotency-Key": "k1"}
        status, _, body = await ask(sap, "POST", REQUISITIONS, headers, requisition())
        assert (status, body["error"]["code"]) == (400, "56/393")
        assert (await ask(sap, "POST", REQUISITIONS, headers, requisition()))[0] == 201
        headers |= {"Idempotency-Key": "k2"}
        for _ in range(2):
            status, _, body = await ask(sap, "POST", REQUISITIONS, headers, requisition(CLOSED_COST_CENTER))
            assert (status, body["error"]["code"]) == (400, "KI/265")
        assert len(sap.effects) == 1


async def test_sap_changes_what_was_not_changed_since_it_was_read() -> None:
    async with SapErp() as sap:
        headers = await sap_session(sap)
        product = {
            "Product": "A'1",
            "ProductType": "ERSA",
            "BaseUnit": "EA",
            "to_Description": [{"Language": "ES", "ProductDescription": "x"}],
        }
        assert (await ask(sap, "POST", PRODUCTS, headers, product))[0] == 201
        assert (await ask(sap, "POST", PRODUCTS, headers, product))[0] == 400
        one = f"{PRODUCTS}('A''1')"
        _, read, body = await ask(sap, "GET", one, SAP_AUTH)
        assert body["d"]["__metadata"]["etag"] == read["ETag"]
        mark = {"IsMarkedForDeletion": True}
        assert (await ask(sap, "PATCH", one, headers, mark))[0] == 428
        assert (await ask(sap, "PATCH", one, headers | {"If-Match": read["ETag"]}, mark))[0] == 204
        assert (await ask(sap, "PATCH", one, headers | {"If-Match": read["ETag"]}, mark))[0] == 412
        text = f"{ROOT}/API_PRODUCT_SRV/A_ProductDescription(Product='A''1',Language='ES')"
        assert (await ask(sap, "PATCH", text, headers | {"If-Match": "*"}, {"ProductDescription": "y"}))[
            0
        ] == 204
        assert [effect.action for effect in sap.effects] == ["created", "updated", "updated"]


async def test_sap_finds_what_a_filter_names() -> None:
    issue = {
        "GoodsMovementCode": "03",
        "PostingDate": "/Date(1795490899832)/",
        "ReferenceDocument": "R'1",
        "to_MaterialDocumentItem": [goods()],
    }
    async with SapErp() as sap:
        assert (await ask(sap, "POST", ISSUES, await sap_session(sap), issue))[0] == 201
        for reference, found in (("R''1", 1), ("R''2", 0)):
            path = f"{ISSUES}?$filter=ReferenceDocument%20eq%20'{reference}'&$format=json"
            assert len((await ask(sap, "GET", path, SAP_AUTH))[2]["d"]["results"]) == found


def goods(**more: str) -> dict[str, str]:
    item = {"Material": "M-1", "Plant": "CL01", "GoodsMovementType": "201", "CostCenter": "CC-1"}
    return item | {"EntryUnit": "EA", "QuantityInEntryUnit": "2.000"} | more


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (goods(Materiál="M-1"), "Property 'Materiál' is invalid"),
        (goods(Plant="CL0123"), "Property 'Plant' has invalid value 'CL0123'"),
        (goods(QuantityInEntryUnit="2,5"), "Property 'QuantityInEntryUnit' has invalid value '2,5'"),
        (goods(EntryUnit=""), "Enter to_MaterialDocumentItem[0].EntryUnit"),
        (goods(GoodsMovementType="261"), "Enter ManufacturingOrder"),
        (goods(Material=NO_STOCK), f"Deficit of SL Unrestricted-use 2.000 : {NO_STOCK}"),
    ],
)
async def test_sap_refuses_what_its_metadata_does_not_allow(item: dict[str, str], says: str) -> None:
    issue = {
        "GoodsMovementCode": "03",
        "PostingDate": "/Date(1795490899832)/",
        "to_MaterialDocumentItem": [item],
    }
    async with SapErp() as sap:
        status, _, body = await ask(sap, "POST", ISSUES, await sap_session(sap), issue)
        assert (status, body["error"]["message"]["value"]) == (400, says)
        assert sap.effects == []
