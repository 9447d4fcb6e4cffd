"""The Siigo mappings against the simulated Siigo: one document each, whatever happens on the way."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bridge.demo.erp_server import Reply, Step
from bridge.demo.erp_siigo import NO_ACCOUNT, SiigoErp
from connectors.protocol import Connector, Rejected, Throttled, Unavailable, Uncertain
from pipeline.mapping import Done
from pipeline.mapping.case_facts import Facts
from tests.templates.attempts import Delivery, change, connect, given, mapping

LOOKUPS = {"cities": "a;b\nBogotá;11001\n", "cost_centers": "a;b\nPlanta Norte;235\n"}
ACCOUNTS = {"inventory_account": "14350501", "expense_account": "51459501"}
ORDER = {"id": 7, "wo_folio": "OT-7", "id_status_work_order": 3, "costs_center_description": "Planta Norte"}
PART = {"id": 1, "type": 1, "code_resource": "R-1", "qty": 2, "unit_cost": 5, "total_cost": 10}
SUPPLIER = {
    "id": 5,
    "code": "900.123.456-7",
    "name": "Aceros",
    "address": "Cra. 18",
    "city": "Bogotá",
    "telephone_1": "3006003345",
    "email": "ventas@example.com",
    "id_third_party_type": [3],
}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "siigo/goods_issue": (
        "public.work_orders",
        ORDER,
        {"document": 27441, "customer": "900123456"} | ACCOUNTS,
    ),
    "siigo/vendor": ("public.third_parties", SUPPLIER, {}),
    "siigo/item": (
        "public.items",
        {"id": 6, "code": "P/7", "description": "Filtro", "active": True},
        {"account_group": 1253},
    ),
}
STEPS = frozenset({"siigo/vendor", "siigo/item"})
"""What is looked up before it is written."""


@pytest.fixture
async def erp() -> AsyncIterator[SiigoErp]:
    async with SiigoErp() as server:
        yield server


@pytest.fixture
async def connector(erp: SiigoErp) -> AsyncIterator[Connector]:
    connection = connect("siigo", erp)
    async with contextlib.aclosing(connection):
        yield connection


def delivery(name: str, connector: Connector, number: int = 1, /, **after: Any) -> Delivery:
    table, row, params = CASES[name]
    facts = Facts(enrich={"parts": [PART]})
    return Delivery(
        mapping(name, LOOKUPS), connector, given(change(number, table, row | after), params), facts
    )


@pytest.mark.parametrize("name", CASES)
async def test_one_document(name: str, erp: SiigoErp, connector: Connector) -> None:
    sent = delivery(name, connector)
    ended = await sent.attempt()
    assert isinstance(ended, Done)
    assert ended.problems == ()
    [effect] = erp.effects
    assert effect.action == "created"
    if name != "siigo/item":  # a product has no field for it
        assert "fracttal:0/16B3748:1" in effect.body.get("comments", effect.body.get("observations"))
    again = await sent.forgotten().attempt()
    assert isinstance(again, Done)
    assert again.save == ended.save
    assert len(erp.effects) == 1


@pytest.mark.parametrize("name", CASES)
async def test_an_answer_that_is_lost_makes_no_second_document(
    name: str, erp: SiigoErp, connector: Connector
) -> None:
    erp.script([*[Step()] * (1 + (name in STEPS)), Step(cut="after")])  # the login comes first
    sent = delivery(name, connector)
    assert isinstance(await sent.attempt(), Uncertain)
    assert len(erp.effects) == 1
    assert isinstance(await sent.attempt(), Done)
    assert len(erp.effects) == 1


@pytest.mark.parametrize("name", sorted(STEPS))
async def test_a_change_replaces_what_is_there(name: str, erp: SiigoErp, connector: Connector) -> None:
    await delivery(name, connector).attempt()
    assert isinstance(await delivery(name, connector, 2, name="SA", description="F").attempt(), Done)
    assert [effect.action for effect in erp.effects] == ["created", "updated"]
    [document] = erp.documents.values()
    assert document["name"] in (["SA"], "F")


async def test_what_a_person_has_to_look_at_is_rejected(erp: SiigoErp, connector: Connector) -> None:
    sent = delivery("siigo/goods_issue", connector)
    sent.given = replace(sent.given, params=sent.given.params | {"inventory_account": NO_ACCOUNT})
    ended = await sent.attempt()
    assert isinstance(ended, Rejected)
    assert (ended.code, NO_ACCOUNT in ended.message) == ("invalid_account", True)
    assert erp.effects == []


async def test_a_token_that_ended_is_renewed(erp: SiigoErp, connector: Connector) -> None:
    await delivery("siigo/item", connector).attempt()
    erp.end_sessions()
    assert isinstance(await delivery("siigo/vendor", connector).attempt(), Done)
    assert [call.path for call in erp.calls].count("/auth") == 2


async def test_what_concerns_the_endpoint_is_no_matter_of_the_event(
    erp: SiigoErp, connector: Connector
) -> None:
    errors = [{"Code": "requests_limit", "Message": "Too many requests"}]
    away = [{"Code": "general_service", "Message": "Try again in some minutes"}]
    erp.script([
        Step(),
        Step(Reply(429, {"Status": 429, "Errors": errors})),
        Step(Reply(400, {"Status": 400, "Errors": away})),
    ])  # fmt: skip
    sent = delivery("siigo/goods_issue", connector)
    assert isinstance(await sent.attempt(), Throttled)
    assert isinstance(await sent.attempt(), Unavailable)
    assert erp.effects == []
    assert isinstance(await sent.attempt(), Done)
