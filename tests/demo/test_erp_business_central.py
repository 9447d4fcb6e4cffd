"""The simulated Business Central, asked by a plain HTTP client: it behaves as Microsoft's reference says."""

from typing import Any

import aiohttp
import pytest

from bridge.demo.erp_business_central import (
    CLIENT,
    CLIENT_SECRET,
    COMPANY,
    PATH,
    SCOPE,
    TOKEN_PATH,
    BusinessCentralErp,
)
from bridge.demo.erp_server import basic
from tests.demo.asking import ask

GRANT = {"grant_type": "client_credentials", "scope": SCOPE}
ROOT = f"{PATH}/companies({COMPANY})"
VENDORS, ORDERS = f"{ROOT}/vendors", f"{ROOT}/purchaseOrders"
VENDOR = {"number": "V-1", "displayName": "Aceros"}


async def authorized(
    bc: BusinessCentralErp, headers: dict[str, str] | None = None, **form: str
) -> dict[str, str]:
    """The header of a token, asked for with the secret in the form unless told otherwise."""
    shown = {"client_id": CLIENT, "client_secret": CLIENT_SECRET} if headers is None else {}
    async with aiohttp.request(
        "POST", bc.base_url + TOKEN_PATH, headers=headers, data=GRANT | shown | form
    ) as answer:
        body = await answer.json()
        return {"Authorization": f"Bearer {body['access_token']}"} if answer.status == 200 else body


def order(**line: Any) -> dict[str, Any]:
    lines = [
        {"lineType": "Comment", "description": "f:0/1"},
        {"lineType": "Item", "lineObjectNumber": "A", "quantity": 2} | line,
    ]
    return {"number": "OT-1", "vendorNumber": "V-1", "purchaseOrderLines": lines}


async def test_a_number_is_taken_once_and_found() -> None:
    async with BusinessCentralErp() as bc:
        auth = await authorized(bc)
        assert (await ask(bc, "POST", VENDORS, auth, VENDOR))[0] == 201
        status, _, body = await ask(bc, "POST", VENDORS, auth, VENDOR)
        assert (status, body["error"]["code"]) == (400, "Internal_EntityWithSameKeyExists")
        _, _, found = await ask(bc, "GET", f"{VENDORS}?$filter=number%20eq%20'V-1'", auth)
        assert [each["displayName"] for each in found["value"]] == ["Aceros"]
        assert len(bc.effects) == 1


async def test_a_series_that_takes_no_numbers_says_so() -> None:
    async with BusinessCentralErp(manual_numbers=False) as bc:
        auth = await authorized(bc)
        status, _, body = await ask(bc, "POST", VENDORS, auth, VENDOR)
        assert (status, body["error"]["code"]) == (400, "Application_DialogException")
        assert (await ask(bc, "POST", VENDORS, auth, {"displayName": "x"}))[2]["number"]


async def test_a_change_wants_the_state_it_was_made_for() -> None:
    async with BusinessCentralErp() as bc:
        auth = await authorized(bc)
        _, _, made = await ask(bc, "POST", VENDORS, auth, VENDOR)
        one, name = f"{VENDORS}({made['id']})", {"displayName": "B"}
        assert (await ask(bc, "PATCH", one, auth, name))[2]["error"]["code"] == "BadRequest_InvalidToken"
        fresh = auth | {"If-Match": made["@odata.etag"]}
        assert (await ask(bc, "PATCH", one, fresh, name))[2]["displayName"] == "B"
        status, _, body = await ask(bc, "PATCH", one, fresh, name)
        assert (status, body["error"]["code"]) == (409, "Request_EntityChanged")
        assert (await ask(bc, "GET", one, auth))[2]["displayName"] == "B"
        assert [effect.action for effect in bc.effects] == ["created", "updated"]


async def test_an_order_shows_its_lines_where_they_are_asked_for() -> None:
    async with BusinessCentralErp() as bc:
        auth = await authorized(bc)
        assert "purchaseOrderLines" not in (await ask(bc, "POST", ORDERS, auth, order()))[2]
        path = f"{ORDERS}?$filter=number%20eq%20'OT-1'&$expand=purchaseOrderLines"
        [found] = (await ask(bc, "GET", path, auth))[2]["value"]
        assert found["purchaseOrderLines"][0]["description"] == "f:0/1"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (order() | {"vendorNo": "V-1"}, "BadRequest"),
        (order(quantity="2"), "BadRequest"),
        (order(lineType="Material"), "BadRequest"),
        (order() | {"number": "123456789012345678901"}, "Application_StringExceededLength"),
        ({"number": "OT-1"}, "BadRequest_RequiredParamNotProvided"),
    ],
)
async def test_it_refuses_what_its_reference_does_not_allow(body: Any, code: str) -> None:
    async with BusinessCentralErp() as bc:
        auth = await authorized(bc)
        status, _, answer = await ask(bc, "POST", ORDERS, auth, body)
        assert (status, answer["error"]["code"]) == (400, code)
        assert bc.effects == []


async def test_it_grants_a_token_to_one_client_and_takes_it_until_it_is_ended() -> None:
    async with BusinessCentralErp() as bc:
        assert "Authorization" in await authorized(bc, {"Authorization": basic(CLIENT, CLIENT_SECRET)})
        assert await authorized(bc, {"Authorization": basic(CLIENT, "x")}) == {
            "error": "invalid_client",
            "error_description": "The client is not known here.",
        }
        assert "error" in await authorized(bc, scope="https://graph.microsoft.com/.default")
        assert "error" in await authorized(bc, grant_type="password")
        auth = await authorized(bc)
        assert (await ask(bc, "GET", VENDORS, auth))[0] == 200
        bc.tokens.end_all()
        assert (await ask(bc, "GET", VENDORS, auth))[0] == 401


async def test_it_throttles_beyond_its_rate() -> None:
    async with BusinessCentralErp(rate=1) as bc:
        auth = await authorized(bc)
        assert [(await ask(bc, "GET", VENDORS, auth))[0] for _ in range(2)] == [200, 429]


async def test_it_knows_one_company() -> None:
    async with BusinessCentralErp() as bc:
        auth = await authorized(bc)
        assert (await ask(bc, "GET", VENDORS, {}))[0] == 401
        other = VENDORS.replace(COMPANY, "00000000-0000-0000-0000-000000000000")
        assert (await ask(bc, "GET", other, auth))[2]["error"]["code"] == "Internal_CompanyNotFound"
        assert (await ask(bc, "GET", f"{ROOT}/itemJournals", auth))[0] == 404
