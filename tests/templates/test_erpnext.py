"""The ERPNext mappings against the simulated ERPNext: one document each, whatever happens on the way."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bridge.demo.erp_erpnext import NO_STOCK, ErpNextErp
from bridge.demo.erp_server import Reply, Step
from connectors.protocol import Connector, Rejected, RetryLater, Throttled, Unavailable, Uncertain
from pipeline.mapping import Done
from pipeline.mapping.case_facts import Facts
from tests.templates.attempts import Delivery, change, connect, given, mapping

LOOKUPS = {
    "units": "a;b\nUN;Nos\n",
    "warehouses": "a;b\nB1;Stores - AC\n",
    "cost_centers": "a;b\nPlanta Norte;Main - AC\n",
}
ORDER = {"id": 7, "wo_folio": "OT-7", "id_status_work_order": 3, "costs_center_description": "Planta Norte"}
PART = {"id": 1, "type": 1, "code_resource": "R-1", "qty": 2, "units_code": "UN", "code_warehouse": "B1"}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "erpnext/purchase_requisition": ("public.work_orders", ORDER, {"company": "Acme"}),
    "erpnext/goods_issue": ("public.work_orders", ORDER | {"description": "Fuga"}, {"company": "Acme"}),
    "erpnext/vendor": (
        "public.third_parties",
        {"id": 5, "code": "39.373.782/0019-79", "name": "Aceros", "id_third_party_type": [3]},
        {},
    ),
    "erpnext/item": (
        "public.items",
        {"id": 6, "code": "P/7", "description": "Filtro", "active": True},
        {"item_group": "Consumable"},
    ),
}
STEPS = frozenset({"erpnext/vendor", "erpnext/item"})
"""What is looked up before it is sent."""


@pytest.fixture
async def erp() -> AsyncIterator[ErpNextErp]:
    async with ErpNextErp() as server:
        yield server


@pytest.fixture
async def connector(erp: ErpNextErp) -> AsyncIterator[Connector]:
    connection = connect("erpnext", erp)
    async with contextlib.aclosing(connection):
        yield connection


def delivery(name: str, connector: Connector, number: int = 1, /, part: Any = PART, **after: Any) -> Delivery:
    table, row, params = CASES[name]
    facts = Facts(enrich={"parts": [part]})
    return Delivery(
        mapping(name, LOOKUPS), connector, given(change(number, table, row | after), params), facts
    )


@pytest.mark.parametrize("name", CASES)
async def test_one_document_that_names_its_event(name: str, erp: ErpNextErp, connector: Connector) -> None:
    sent = delivery(name, connector)
    ended = await sent.attempt()
    assert isinstance(ended, Done)
    [effect] = erp.effects
    assert effect.action == "created"
    assert effect.body["custom_fracttal_event"] == "fracttal:0/16B3748:1"
    assert list(ended.save.values()) == [effect.key]
    assert ended.problems == ()
    again = await sent.forgotten().attempt()
    assert isinstance(again, Done)
    assert again.save == ended.save
    assert len(erp.effects) == 1


@pytest.mark.parametrize("name", CASES)
async def test_an_answer_that_is_lost_makes_no_second_document(
    name: str, erp: ErpNextErp, connector: Connector
) -> None:
    erp.script([*[Step()] * (name in STEPS), Step(cut="after")])
    sent = delivery(name, connector)
    assert isinstance(await sent.attempt(), Uncertain)
    ended = await sent.attempt()
    assert isinstance(ended, Done)
    [effect] = erp.effects
    assert list(ended.save.values()) == [effect.key]


@pytest.mark.parametrize("name", sorted(STEPS))
async def test_a_change_updates_what_is_there(name: str, erp: ErpNextErp, connector: Connector) -> None:
    first = await delivery(name, connector).attempt()
    changed = {"name": "Aceros SA", "description": "Filtro 2"}
    second = await delivery(name, connector, 2, **changed).attempt()
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert second.save == first.save
    assert [effect.action for effect in erp.effects] == ["created", "updated"]
    [document] = erp.documents.values()
    assert document["custom_fracttal_event"] == "fracttal:0/16B3748:2"
    assert document.get("supplier_name", document.get("item_name")) in changed.values()
    erp.locked.add(document["name"])
    assert isinstance(await delivery(name, connector, 3, active=False, name="x").attempt(), RetryLater)


@pytest.mark.parametrize("name", sorted(CASES.keys() - STEPS))
async def test_a_lock_passes_although_it_is_a_417(name: str, erp: ErpNextErp, connector: Connector) -> None:
    erp.locked.add("R-1")
    sent = delivery(name, connector)
    assert isinstance(await sent.attempt(), RetryLater)
    erp.locked.clear()
    assert isinstance(await sent.attempt(), Done)


async def test_what_a_person_has_to_look_at_is_rejected(erp: ErpNextErp, connector: Connector) -> None:
    nothing = delivery("erpnext/goods_issue", connector, part=PART | {"code_resource": NO_STOCK})
    ended = await nothing.attempt()
    assert isinstance(ended, Rejected)
    assert (ended.code, "NO-STOCK needed" in ended.message) == ("NegativeStockError", True)
    await delivery("erpnext/vendor", connector).attempt()
    namesake = await delivery("erpnext/vendor", connector, 2, code="other").attempt()
    assert isinstance(namesake, Rejected)
    assert namesake.code == "DuplicateEntryError"
    assert len(erp.effects) == 1


async def test_a_document_that_came_between_is_looked_up(erp: ErpNextErp, connector: Connector) -> None:
    first = delivery("erpnext/purchase_requisition", connector)
    await first.attempt()
    repeated = replace(first.forgotten(), unsure=set())
    assert isinstance(await repeated.attempt(), Uncertain)
    assert isinstance(await repeated.attempt(), Done)
    assert len(erp.effects) == 1


async def test_what_concerns_the_endpoint_is_no_matter_of_the_event(
    erp: ErpNextErp, connector: Connector
) -> None:
    erp.script([Step(Reply(429, {"exc_type": "TooManyRequestsError"})), Step(Reply(503, "maintenance"))])
    sent = delivery("erpnext/goods_issue", connector)
    assert isinstance(await sent.attempt(), Throttled)
    assert isinstance(await sent.attempt(), Unavailable)
    assert erp.effects == []


async def test_a_token_is_wanted(erp: ErpNextErp) -> None:
    erp._allowed.clear()
    async with contextlib.aclosing(connect("erpnext", erp)) as stranger:
        ended = await delivery("erpnext/item", stranger).attempt()
    assert isinstance(ended, Unavailable)
    assert ended.code == "authentication"
