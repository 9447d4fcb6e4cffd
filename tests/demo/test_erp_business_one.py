"""The simulated Service Layer, asked by a plain HTTP client: it behaves as its guide says."""

from typing import Any

import pytest

from bridge.demo.erp_business_one import COMPANY, NO_STOCK, PASSWORD, USERNAME, BusinessOneErp
from tests.demo.asking import ask

LOGIN = {"CompanyDB": COMPANY, "UserName": USERNAME, "Password": PASSWORD}
EXITS, ITEMS = "/b1s/v1/InventoryGenExits", "/b1s/v1/Items"


async def session(b1: BusinessOneErp) -> dict[str, str]:
    status, headers, body = await ask(b1, "POST", "/b1s/v1/Login", {}, LOGIN)
    assert (status, body["SessionTimeout"]) == (200, 30)
    return {"Cookie": "; ".join(line.split(";")[0] for line in headers.getall("Set-Cookie"))}


def exit_of(**line: Any) -> dict[str, Any]:
    return {
        "DocDate": "2026-11-24",
        "U_BridgeEvent": "f:0/1'1",
        "DocumentLines": [{"ItemCode": "A", "Quantity": 2} | line],
    }


async def test_it_wants_a_login_and_both_its_cookies() -> None:
    async with BusinessOneErp() as b1:
        status, _, body = await ask(b1, "POST", EXITS, {}, exit_of())
        assert (status, body["error"]["code"]) == (401, 301)
        cookies = (await session(b1))["Cookie"].split("; ")
        for kept in cookies:
            assert (await ask(b1, "POST", EXITS, {"Cookie": kept}, exit_of()))[0] == 401
        assert (await ask(b1, "POST", EXITS, {"Cookie": "; ".join(cookies)}, exit_of()))[0] == 201
        assert (await ask(b1, "POST", "/b1s/v1/Login", {}, LOGIN | {"Password": "x"}))[0] == 401


async def test_a_session_ends() -> None:
    async with BusinessOneErp(session_uses=2) as b1:
        cookies = await session(b1)
        assert [(await ask(b1, "GET", EXITS, cookies))[0] for _ in range(3)] == [200, 200, 401]
        cookies = await session(b1)
        b1.end_sessions()
        assert (await ask(b1, "GET", EXITS, cookies))[0] == 401


async def test_a_repeat_is_a_second_document_that_its_own_field_finds() -> None:
    async with BusinessOneErp() as b1:
        cookies = await session(b1)
        numbers = [(await ask(b1, "POST", EXITS, cookies, exit_of()))[2]["DocEntry"] for _ in range(2)]
        assert numbers == [1, 2]
        path = f"{EXITS}?$filter=U_BridgeEvent%20eq%20'f:0/1''1'"
        assert [each["DocEntry"] for each in (await ask(b1, "GET", path, cookies))[2]["value"]] == [1, 2]
        assert (await ask(b1, "GET", path.replace("f:0", "g:0"), cookies))[2] == {"value": []}


async def test_an_item_is_created_once_and_changed_by_its_code() -> None:
    item = {"ItemCode": "A/'1", "ItemName": "x"}
    async with BusinessOneErp() as b1:
        cookies = await session(b1)
        one = f"{ITEMS}('A%2F''1')"
        assert (await ask(b1, "GET", one, cookies))[2]["error"]["code"] == -2028
        assert (await ask(b1, "PATCH", one, cookies, {"ItemName": "y"}))[0] == 404
        assert (await ask(b1, "POST", ITEMS, cookies, item))[0] == 201
        assert (await ask(b1, "POST", ITEMS, cookies, item))[2]["error"]["code"] == -2035
        for name in ("y", "y"):
            assert (await ask(b1, "PATCH", one, cookies, {"ItemName": name, "U_BridgeEvent": name}))[0] == 204
        assert (await ask(b1, "GET", one, cookies))[2]["ItemName"] == "y"
        assert [effect.action for effect in b1.effects] == ["created", "updated"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (EXITS, exit_of() | {"U_Unknown": "x"}, -1000),
        (EXITS, exit_of(Quantity="2"), -1000),
        (EXITS, exit_of(WarehouseCode="123456789"), -1004),
        (EXITS, {"DocDate": "2026-11-24"}, -5002),
        ("/b1s/v1/PurchaseRequests", exit_of(), -5002),
        ("/b1s/v1/inventoryGenExits", exit_of(), -1),
        (EXITS, exit_of(ItemCode=NO_STOCK), -10),
    ],
)
async def test_it_refuses_what_its_guide_does_not_allow(path: str, body: Any, code: int) -> None:
    async with BusinessOneErp() as b1:
        cookies = await session(b1)
        assert (await ask(b1, "POST", path, cookies, body))[2]["error"]["code"] == code
        _, _, answer = await ask(b1, "POST", path.replace("v1", "v2"), cookies, body)
        assert answer["error"]["code"] == str(code)
        assert isinstance(answer["error"]["message"], str)
        assert b1.effects == []


async def test_what_somebody_else_changes_at_this_moment_passes() -> None:
    async with BusinessOneErp(locked_every=1) as b1:
        cookies = await session(b1)
        status, _, body = await ask(b1, "POST", EXITS, cookies, exit_of())
        assert (status, body["error"]["code"]) == (400, -2039)
        assert (await ask(b1, "POST", EXITS, cookies, exit_of()))[0] == 201
