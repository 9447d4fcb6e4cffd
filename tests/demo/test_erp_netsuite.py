"""The simulated NetSuite, asked by a plain HTTP client: it behaves as its documentation says."""

import asyncio
import time
from typing import Any

import aiohttp
from joserfc import jwt
from joserfc.jwk import ECKey

from bridge.demo.erp_netsuite import TOKEN, TOKEN_PATH, NetSuiteErp
from bridge.demo.erp_server import Step
from bridge.demo.erp_tokens import client_assertion
from tests.demo.asking import ask

AUTH = {"Authorization": f"Bearer {TOKEN}"}
RECORDS = "/services/rest/record/v1"
VENDOR = f"{RECORDS}/vendor/eid:39_2E373_2F0019"
STRICT = AUTH | {"X-NetSuite-PropertyNameValidation": "Error"}


def vendor(name: str = "A", **more: Any) -> dict[str, Any]:
    return {"companyName": name, "subsidiary": {"id": "1"}} | more


def adjustment(**more: Any) -> dict[str, Any]:
    line = {"item": {"externalId": "A-1"}, "location": {"id": "2"}, "adjustQtyBy": -2}
    return {"externalId": "e-1", "account": {"id": "9"}, "inventory": {"items": [line]}} | more


async def test_it_upserts_by_external_id_and_logs_only_changes() -> None:
    async with NetSuiteErp() as netsuite:
        for name in ("A", "A", "B"):
            status, headers, _ = await ask(netsuite, "PUT", VENDOR, AUTH, vendor(name))
            assert (status, headers["Location"]) == (204, f"{netsuite.base_url}{RECORDS}/vendor/1")
        assert [(effect.action, effect.key, effect.body["companyName"]) for effect in netsuite.effects] == [
            ("created", "39_2E373_2F0019", "A"),
            ("updated", "39_2E373_2F0019", "B"),
        ]
        assert (await ask(netsuite, "GET", VENDOR, AUTH))[2]["companyName"] == "B"


async def test_a_sublist_grows_unless_it_is_replaced() -> None:
    book: dict[str, Any] = {"addressBook": {"items": [{"addressBookAddress": {"addr1": "x"}}]}}
    async with NetSuiteErp() as netsuite:
        for _ in range(2):
            await ask(netsuite, "PUT", VENDOR, AUTH, vendor(**book))
        assert len(netsuite.documents["vendor", "39_2E373_2F0019"]["addressBook"]["items"]) == 2
        await ask(netsuite, "PUT", f"{VENDOR}?replace=addressBook", AUTH, vendor(**book))
        assert len(netsuite.documents["vendor", "39_2E373_2F0019"]["addressBook"]["items"]) == 1


async def test_an_external_id_is_taken_once_and_has_few_letters() -> None:
    path = f"{RECORDS}/inventoryAdjustment"
    async with NetSuiteErp() as netsuite:
        assert (await ask(netsuite, "GET", f"{path}/eid:e-1", AUTH))[0] == 404
        statuses = [(await ask(netsuite, "POST", path, AUTH, adjustment()))[0] for _ in range(2)]
        assert statuses == [204, 400]
        assert (await ask(netsuite, "GET", f"{path}/eid:e-1", AUTH))[2]["externalId"] == "e-1"
        assert (await ask(netsuite, "POST", path, AUTH, adjustment(externalId="f:0/1")))[0] == 400
        assert len(netsuite.effects) == 1


async def test_it_rejects_what_is_wrong_and_who_it_does_not_know() -> None:
    wrong = {
        "INVALID_EMAIL": vendor(email="not-an-address"),
        "INVALID_CONTENT": vendor(companyname="x"),
        "USER_ERROR": vendor("x" * 84),
    }
    async with NetSuiteErp() as netsuite:
        for code, body in wrong.items():
            status, _, answer = await ask(netsuite, "PUT", VENDOR, STRICT, body)
            assert (status, answer["o:errorDetails"][0]["o:errorCode"]) == (400, code)
        assert (await ask(netsuite, "PUT", VENDOR, STRICT, {"companyName": "no subsidiary"}))[0] == 400
        assert (await ask(netsuite, "PUT", VENDOR, {}, {}))[0] == 401
        assert (await ask(netsuite, "POST", VENDOR, AUTH, {}))[0] == 404
        assert netsuite.effects == []
        assert (await ask(netsuite, "PUT", VENDOR, AUTH, vendor(companyname="x")))[0] == 204


async def test_it_throttles_beyond_its_rate() -> None:
    async with NetSuiteErp(rate=2) as netsuite:
        answers = [await ask(netsuite, "PUT", VENDOR, AUTH, vendor(str(n))) for n in range(3)]
        assert [status for status, _, _ in answers] == [204, 204, 429]
        assert answers[2][1]["Retry-After"] == "1"


async def test_it_takes_few_at_once() -> None:
    async with NetSuiteErp(concurrency=1) as netsuite:
        let_go = asyncio.Event()
        netsuite.script([Step(hold=let_go)])
        held = asyncio.create_task(ask(netsuite, "PUT", VENDOR, AUTH, vendor()))
        await netsuite.until(lambda: len(netsuite.calls) == 1)
        assert (await ask(netsuite, "PUT", VENDOR, AUTH, vendor("B")))[0] == 429
        let_go.set()
        assert (await held)[0] == 204


async def test_an_idempotency_key_counts_where_the_answer_may_come_later() -> None:
    path, key = f"{RECORDS}/inventoryAdjustment", {"X-NetSuite-Idempotency-Key": "k1"}
    async with NetSuiteErp() as netsuite:
        later = AUTH | key | {"Prefer": "respond-async"}
        status, headers, _ = await ask(netsuite, "POST", path, later, adjustment())
        again = await ask(netsuite, "POST", path, later, adjustment())
        assert (status, again[0], again[1]["Location"]) == (202, 400, headers["Location"])
        assert again[2]["o:errorDetails"][0]["o:errorCode"] == "IDEMPOTENCY_ERROR"
        assert (await ask(netsuite, "POST", path, AUTH | key, adjustment(externalId="e-2")))[0] == 204
        assert len(netsuite.effects) == 2


async def test_a_token_comes_for_an_assertion_that_its_certificate_signed() -> None:
    key, now = ECKey.generate_key("P-256"), int(time.time())
    async with NetSuiteErp(grants=client_assertion("client", "cert", key, "rest_webservices")) as netsuite:
        url = netsuite.base_url + TOKEN_PATH
        good = {"iss": "client", "aud": url, "scope": "rest_webservices", "iat": now, "exp": now + 300}

        async def token(claims: dict[str, Any], kid: str = "cert", signer: ECKey = key) -> Any:
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": jwt.encode({"alg": "ES256", "kid": kid}, claims, signer),
            }
            async with aiohttp.request("POST", url, data=form) as answer:
                return (await answer.json()).get("access_token")

        granted = await token(good)
        assert (await ask(netsuite, "PUT", VENDOR, {"Authorization": f"Bearer {granted}"}, vendor()))[
            0
        ] == 204
        for wrong in (
            {"iss": "x"},
            {"scope": "restlets"},
            {"aud": "https://x.example"},
            {"exp": now - 1},
            {"exp": now + 7200},
        ):
            assert await token(good | wrong) is None
        assert await token(good, kid="another") is None
        assert await token(good, signer=ECKey.generate_key("P-256")) is None
