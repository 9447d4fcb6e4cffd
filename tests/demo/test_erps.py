"""The simulated ERPs, asked by a plain HTTP client: they behave as documented and log what they did."""

import asyncio
from typing import Any

import aiohttp
import pytest

from bridge.demo import erp_netsuite, erp_plain, erp_sap
from bridge.demo.erp_netsuite import NetSuiteErp
from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_sap import CLOSED_COST_CENTER, SERVICE, SapErp
from bridge.demo.erp_server import ErpServer, Reply, Step, basic

REQUISITIONS = f"{SERVICE}/A_PurchaseRequisitionHeader"
SAP_AUTH = {"Authorization": basic(erp_sap.USERNAME, erp_sap.PASSWORD)}
NETSUITE_AUTH = {"Authorization": f"Bearer {erp_netsuite.TOKEN}"}
PLAIN_AUTH = {"Authorization": f"Bearer {erp_plain.TOKEN}"}


async def ask(
    erp: ErpServer, method: str, path: str, headers: dict[str, str], body: Any = None
) -> tuple[int, Any, Any]:
    """Status, headers, JSON body or text."""
    async with aiohttp.request(method, erp.base_url + path, headers=headers, json=body) as answer:
        is_json = answer.content_type == "application/json"
        return answer.status, answer.headers, await (answer.json() if is_json else answer.text())


async def sap_session(sap: SapErp) -> dict[str, str]:
    _, headers, _ = await ask(sap, "GET", f"{SERVICE}/", SAP_AUTH | {"x-csrf-token": "Fetch"})
    cookies = "; ".join(line.split(";")[0] for line in headers.getall("Set-Cookie"))
    return SAP_AUTH | {"x-csrf-token": headers["x-csrf-token"], "Cookie": cookies}


def requisition(cost_center: str = "CC-1") -> dict[str, Any]:
    accounts = [{"CostCenter": cost_center}]
    return {"PurReqnDescription": "#1 x", "to_PurchaseReqnItem": [{"to_PurchaseReqnAcctAssgmt": accounts}]}


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
        assert body["d"]["PurchaseRequisition"] in sap.documents


async def test_sap_ends_a_session_after_its_uses() -> None:
    async with SapErp(token_uses=2) as sap:
        session = await sap_session(sap)
        seen = [(await ask(sap, "POST", REQUISITIONS, session, requisition()))[0] for _ in range(3)]
        assert seen == [201, 201, 403]


async def test_sap_remembers_the_idempotency_key() -> None:
    async with SapErp() as sap:
        headers = await sap_session(sap) | {"Idempotency-Key": "k1"}
        first = await ask(sap, "POST", REQUISITIONS, headers, requisition())
        second = await ask(sap, "POST", REQUISITIONS, headers, requisition())
        assert first[2] == second[2]
        assert [effect.idempotency_key for effect in sap.effects] == ["k1"]


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


async def test_netsuite_upserts_by_external_id_and_logs_only_changes() -> None:
    path = "/services/rest/record/v1/vendor/eid:39.373.782%2F0019-79"
    async with NetSuiteErp() as netsuite:
        for name in ("A", "A", "B"):
            status, headers, _ = await ask(netsuite, "PUT", path, NETSUITE_AUTH, {"companyName": name})
            assert (status, headers["Location"]) == (204, netsuite.base_url + path)
        assert [(effect.action, effect.key, effect.body["companyName"]) for effect in netsuite.effects] == [
            ("created", "39.373.782/0019-79", "A"),
            ("updated", "39.373.782/0019-79", "B"),
        ]


async def test_netsuite_rejects_an_email_that_is_none_and_who_it_does_not_know() -> None:
    path = "/services/rest/record/v1/vendor/eid:1"
    async with NetSuiteErp() as netsuite:
        status, _, body = await ask(netsuite, "PUT", path, NETSUITE_AUTH, {"email": "not-an-address"})
        assert (status, body["o:errorDetails"][0]["o:errorCode"]) == (400, "INVALID_EMAIL")
        assert (await ask(netsuite, "PUT", path, {}, {}))[0] == 401
        assert (await ask(netsuite, "POST", path, NETSUITE_AUTH, {}))[0] == 404
        assert netsuite.effects == []


async def test_netsuite_throttles_beyond_its_rate() -> None:
    async with NetSuiteErp(rate=2) as netsuite:
        path = "/services/rest/record/v1/vendor/eid:1"
        answers = [await ask(netsuite, "PUT", path, NETSUITE_AUTH, {"n": n}) for n in range(3)]
        assert [status for status, _, _ in answers] == [204, 204, 429]
        assert answers[2][1]["Retry-After"] == "1"


async def test_plain_remembers_the_key_even_of_an_answer_that_was_lost() -> None:
    headers = PLAIN_AUTH | {"Idempotency-Key": "k1"}
    async with PlainErp(cut_every=1) as plain:
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(plain, "POST", "/api/requests", headers, {"text": "#1 x"})
        status, answered, body = await ask(plain, "POST", "/api/requests", headers, {"text": "#1 x"})
        assert (status, answered["Idempotent-Replayed"]) == (201, "true")
        assert [effect.key for effect in plain.effects] == [body["id"]]


async def test_plain_puts_by_key_and_refuses_what_is_no_document() -> None:
    async with PlainErp() as plain:
        statuses = [
            (await ask(plain, "PUT", "/api/things/a%2Fb", PLAIN_AUTH, body))[0]
            for body in ({"n": 1}, {"n": 2}, {"n": 2}, [1])
        ]
        assert statuses == [201, 200, 200, 422]
        assert [(effect.action, effect.key) for effect in plain.effects] == [
            ("created", "a/b"),
            ("updated", "a/b"),
        ]


async def test_plain_deletes_once() -> None:
    async with PlainErp() as plain:
        await ask(plain, "PUT", "/api/things/1", PLAIN_AUTH, {"n": 1})
        assert [(await ask(plain, "DELETE", "/api/things/1", PLAIN_AUTH))[0] for _ in range(2)] == [204, 204]
        assert [effect.action for effect in plain.effects] == ["created", "deleted"]


async def test_down_refuses_and_up_listens_on_the_same_port() -> None:
    async with PlainErp() as plain:
        port = plain.port
        await plain.down()
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(plain, "POST", "/api/things", PLAIN_AUTH, {})
        await plain.up()
        assert plain.port == port
        plain.unavailable()
        status, headers, _ = await ask(plain, "POST", "/api/things", PLAIN_AUTH, {})
        assert (status, headers["Retry-After"]) == (503, "1")
        await plain.up()
        assert (await ask(plain, "POST", "/api/things", PLAIN_AUTH, {}))[0] == 201


async def test_a_script_is_played_one_step_a_request() -> None:
    async with PlainErp() as plain:
        let_go = asyncio.Event()
        plain.script([Step(reply=Reply(500, "broken")), Step(hold=let_go), Step(cut="before")])
        assert (await ask(plain, "POST", "/api/things", PLAIN_AUTH, {}))[::2] == (500, "broken")
        held = asyncio.create_task(ask(plain, "POST", "/api/things", PLAIN_AUTH, {}))
        await plain.until(lambda: len(plain.calls) == 2)
        assert plain.effects == []
        let_go.set()
        assert (await held)[0] == 201
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(plain, "POST", "/api/things", PLAIN_AUTH, {})
        assert len(plain.effects) == 1


async def test_until_gives_up() -> None:
    async with PlainErp() as plain:
        with pytest.raises(TimeoutError):
            await plain.until(lambda: False, timeout_s=0.01)
