"""The simulated ERPNext, Siigo and Protheus, asked by a plain HTTP client: they refuse what the real ones refuse."""

import json
from typing import Any

import aiohttp
import pytest

from bridge.demo import erp_erpnext, erp_protheus, erp_siigo
from bridge.demo.erp_erpnext import ErpNextErp
from bridge.demo.erp_protheus import ProtheusErp
from bridge.demo.erp_server import ErpServer, basic
from bridge.demo.erp_siigo import SiigoErp

TOKEN = {"Authorization": f"token {erp_erpnext.API_KEY}:{erp_erpnext.API_SECRET}"}
ENTRY = {"stock_entry_type": "Material Issue", "company": "A", "items": [{"item_code": "R", "qty": 1}]}
PARTNER = {"Partner-Id": "FracttalBridge"}
LOGIN = {"username": erp_siigo.USERNAME, "access_key": erp_siigo.ACCESS_KEY}
PRODUCT = {"code": "R-1", "name": "Filtro", "account_group": 1}
PROTHEUS = {
    "Authorization": basic(erp_protheus.USERNAME, erp_protheus.PASSWORD),
    "tenantId": "T1,D MG 01",
    "x-erp-module": "MNT",
}
REQUEST = {"origin": "X", "equipment": "M-1", "description": "Fuga"}


async def ask(
    erp: ErpServer, method: str, path: str, headers: dict[str, str], body: Any = None
) -> tuple[int, Any]:
    async with aiohttp.request(method, erp.base_url + path, headers=headers, json=body) as answer:
        return answer.status, await answer.json()


async def test_erpnext_takes_a_token_or_basic_and_nobody_else() -> None:
    path = "/api/resource/Item"
    async with ErpNextErp() as erp:
        for headers in (TOKEN, {"Authorization": basic(erp_erpnext.API_KEY, erp_erpnext.API_SECRET)}):
            assert await ask(erp, "GET", path, headers) == (200, {"data": []})
        for headers in ({}, {"Authorization": "token a:b"}):
            status, body = await ask(erp, "GET", path, headers)
            assert (status, body["exc_type"]) == (401, "AuthenticationError")


async def test_erpnext_lists_by_a_filter() -> None:
    async with ErpNextErp() as erp:
        for number in ("1", "2"):
            await ask(
                erp, "POST", "/api/resource/Stock Entry", TOKEN, ENTRY | {"custom_fracttal_delivery": number}
            )
        filters = json.dumps([["custom_fracttal_delivery", "=", "2"]])
        found = await ask(erp, "GET", f"/api/resource/Stock%20Entry?filters={filters}", TOKEN)
        assert found == (200, {"data": [{"name": "MAT-STE-2026-00002"}]})


@pytest.mark.parametrize(
    ("method", "path", "body", "refused"),
    [
        ("GET", "/api/resource/Item/none", None, (404, "DoesNotExistError")),
        ("PUT", "/api/resource/Item/none", {}, (404, "DoesNotExistError")),
        ("POST", "/api/resource/Item", {"item_code": "R"}, (417, "MandatoryError")),
        ("POST", "/api/resource/Stock Entry", {**ENTRY, "items": [{"qty": 1}]}, (417, "MandatoryError")),
        (
            "POST",
            "/api/resource/Stock Entry",
            {**ENTRY, "custom_fracttal_delivery": "1"},
            (417, "UniqueValidationError"),
        ),
        (
            "POST",
            "/api/resource/Supplier",
            {"supplier_name": "A", "supplier_type": "Company"},
            (409, "DuplicateEntryError"),
        ),
    ],
)
async def test_erpnext_refuses_by_name(method: str, path: str, body: Any, refused: tuple[int, str]) -> None:
    async with ErpNextErp() as erp:
        known = ENTRY | {"custom_fracttal_delivery": "1"}
        await ask(erp, "POST", "/api/resource/Stock Entry", TOKEN, known)
        supplier = {"supplier_name": "A", "supplier_type": "Company"}
        await ask(erp, "POST", "/api/resource/Supplier", TOKEN, supplier)
        status, said = await ask(erp, method, path, TOKEN, body)
        assert (status, said["exc_type"]) == refused
        assert len(erp.effects) == 2


async def siigo_session(erp: SiigoErp) -> dict[str, str]:
    status, body = await ask(erp, "POST", "/auth", PARTNER, LOGIN)
    assert (status, body["token_type"]) == (201, "Bearer")
    return PARTNER | {"Authorization": f"Bearer {body['access_token']}"}


async def test_siigo_wants_a_partner_a_token_and_a_key_that_it_likes() -> None:
    async with SiigoErp() as erp:
        session = await siigo_session(erp)
        for method, path, headers, body, refused in (
            ("POST", "/auth", {}, LOGIN, (400, "header_required")),
            ("POST", "/auth", {"Partner-Id": "a b"}, LOGIN, (400, "invalid_partner_id")),
            ("POST", "/auth", PARTNER, LOGIN | {"access_key": "x"}, (401, "unauthorized")),
            ("GET", "/v1/products", PARTNER, None, (401, "unauthorized")),
            (
                "POST",
                "/v1/products",
                session | {"Idempotency-Key": "a/b"},
                PRODUCT,
                (400, "invalid_idempotency-key"),
            ),
            ("POST", "/v1/products", session, {"code": "R-1"}, (400, "parameter_required")),
            ("POST", "/v1/products", session, PRODUCT | {"code": "R 1"}, (400, "invalid_code")),
            ("PUT", "/v1/products/none", session, PRODUCT, (404, "not_found")),
        ):
            status, said = await ask(erp, method, path, headers, body)
            assert (status, said["Errors"][0]["Code"]) == refused
        assert erp.effects == []


async def test_siigo_replaces_by_id_and_takes_a_code_once() -> None:
    async with SiigoErp() as erp:
        session = await siigo_session(erp)
        _, made = await ask(erp, "POST", "/v1/products", session, PRODUCT | {"unit": "94"})
        status, said = await ask(erp, "POST", "/v1/products", session, PRODUCT)
        assert (status, said["Errors"][0]["Code"]) == (400, "already_exists")
        assert (await ask(erp, "PUT", f"/v1/products/{made['id']}", session, PRODUCT))[0] == 200
        _, listed = await ask(erp, "GET", "/v1/products?code=R-1", session)
        assert listed["results"] == [{"id": made["id"], **PRODUCT}]


async def test_siigo_remembers_the_key_of_a_journal_that_balances() -> None:
    debit = {"account": {"code": "5", "movement": "Debit"}, "value": 10.5}
    journal = {"document": {"id": 1}, "date": "2026-11-24", "items": [debit]}
    async with SiigoErp() as erp:
        session = await siigo_session(erp) | {"Idempotency-Key": "k1"}
        status, said = await ask(erp, "POST", "/v1/journals", session, journal)
        assert (status, said["Errors"][0]["Code"]) == (400, "invalid_balance")
        credit = {"account": {"code": "1", "movement": "Credit"}, "value": 10.5}
        journal["items"] = [debit, credit]
        answers = [await ask(erp, "POST", "/v1/journals", session, journal) for _ in range(2)]
        assert answers[0] == answers[1]
        assert answers[0][1]["name"] == "CC-1-1"
        assert len(erp.effects) == 1


@pytest.mark.parametrize(
    ("headers", "body", "refused"),
    [
        ({}, REQUEST, (401, "Usuário não autenticado")),
        (PROTHEUS | {"tenantId": "T1, D MG 01"}, REQUEST, (400, "tenantId inválido")),
        (PROTHEUS | {"x-erp-module": "SIGAMNT"}, REQUEST, (400, "x-erp-module inválido")),
        (PROTHEUS, {"origin": "X"}, (400, "Campo obrigatório não informado: equipment")),
        (PROTHEUS, REQUEST | {"equipment": "M" * 17}, (400, "Tamanho máximo excedido: equipment")),
        (PROTHEUS, REQUEST | {"dateTime": "2026-11-24"}, (400, "Data inválida: dateTime")),
        (PROTHEUS, [], (400, "Corpo inválido")),
    ],
)
async def test_protheus_says_what_it_does_not_take(
    headers: dict[str, str], body: Any, refused: tuple[int, str]
) -> None:
    async with ProtheusErp() as erp:
        status, said = await ask(erp, "POST", "/rest/mntsrws/api/v1/request", headers, body)
        assert (status, said["errorMessage"]) == refused
        assert erp.effects == []


async def test_protheus_takes_a_repeat_for_another_request() -> None:
    async with ProtheusErp() as erp:
        answers = [
            await ask(erp, "POST", "/rest/mntsrws/api/v1/request", PROTHEUS, REQUEST) for _ in range(2)
        ]
        assert answers == [(201, {"serviceRequest": "000001"}), (201, {"serviceRequest": "000002"})]
        assert (await ask(erp, "GET", "/rest/other", PROTHEUS))[0] == 404
