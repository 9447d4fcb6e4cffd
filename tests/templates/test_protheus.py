"""The Protheus mapping against the simulated Protheus, which tells no repeat from a new request."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bridge.demo.erp_protheus import NO_EQUIPMENT, ProtheusErp
from bridge.demo.erp_server import Reply, Step
from connectors.protocol import Connector, Rejected, Throttled, Unavailable, Uncertain
from pipeline.mapping import Done, Rendered
from tests.templates.attempts import Delivery, change, connect, given, mapping

LOOKUPS = {"cost_centers": "a;b\nPlanta Norte;000000401\n", "priorities": "a;b\n1;A\n"}
ORDER = {
    "id": 7,
    "wo_folio": "OT-7",
    "id_status_work_order": 1,
    "code": "BOMBA-01",
    "description": "Fuga",
    "costs_center_description": "Planta Norte",
    "id_priorities": 1,
}
PARAMS = {"company": "T1", "branch": "D MG 01"}


@pytest.fixture
async def erp() -> AsyncIterator[ProtheusErp]:
    async with ProtheusErp() as server:
        yield server


@pytest.fixture
async def connector(erp: ProtheusErp) -> AsyncIterator[Connector]:
    connection = connect("protheus", erp)
    async with contextlib.aclosing(connection):
        yield connection


def delivery(connector: Connector, **after: Any) -> Delivery:
    name = "totvs_protheus/maintenance_order"
    event = change(1, "public.work_orders", ORDER | after)
    return Delivery(mapping(name, LOOKUPS), connector, given(event, PARAMS))


async def test_one_service_request(erp: ProtheusErp, connector: Connector) -> None:
    ended = await delivery(connector).attempt()
    assert isinstance(ended, Done)
    assert ended.save == {"service_request": "000001"}
    [effect] = erp.effects
    assert effect.body == {
        "origin": "FRACTTAL",
        "equipment": "BOMBA-01",
        "description": "OT OT-7 Fuga",
        "costCenter": "000000401",
        "priority": "A",
        "dateTime": "20261124 08:28",
    }


@pytest.mark.parametrize("step", [Step(cut="after"), Step(Reply(500, {"errorMessage": "Internal error"}))])
async def test_what_nobody_knows_is_for_a_person(step: Step, erp: ProtheusErp, connector: Connector) -> None:
    erp.script([step])
    sent = delivery(connector)
    rendered = sent.mapping.render(sent.given)
    assert isinstance(rendered, Rendered)
    assert not rendered.safe
    outcome = await connector.send(connector.prepare(rendered.request, "k"))
    assert isinstance(sent.mapping.classify(outcome, sent.given, rendered), Uncertain)


async def test_an_asset_that_protheus_does_not_know_is_rejected(
    erp: ProtheusErp, connector: Connector
) -> None:
    ended = await delivery(connector, code=NO_EQUIPMENT).attempt()
    assert isinstance(ended, Rejected)
    assert f"Bem não cadastrado: {NO_EQUIPMENT}" in ended.message
    assert erp.effects == []


async def test_what_concerns_the_endpoint_is_no_matter_of_the_event(
    erp: ProtheusErp, connector: Connector
) -> None:
    erp.script([Step(Reply(429)), Step(Reply(503))])
    sent = delivery(connector)
    assert isinstance(await sent.attempt(), Throttled)
    assert isinstance(await sent.attempt(), Unavailable)
    assert isinstance(await sent.attempt(), Done)


async def test_it_wants_its_headers(erp: ProtheusErp, connector: Connector) -> None:
    sent = delivery(connector)
    sent.given = replace(sent.given, params={"company": "T1, D", "branch": "MG 01"})
    ended = await sent.attempt()
    assert isinstance(ended, Rejected)
    assert "tenantId" in ended.message
