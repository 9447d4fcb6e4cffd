"""The mappings that ship for a GraphQL ERP, sent to the simulated one: its engine validates every document."""

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from bridge.demo.erp_graphql import PATH, TOKEN, GraphqlErp
from bridge.shipped_files import shipped
from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Connector, Delivered
from pipeline.mapping import Known, Mapping, RenderInput, compile_mapping
from pipeline.mapping.case_facts import rows_of
from pipeline.mapping.cases import Case, input_of, read_cases
from pipeline.mapping.lookups import parse_lookup
from pipeline.mapping.results import Done, Rendered
from pipeline.mapping.walk import heard

FOLDER = shipped("templates") / "graphql_erp"
NAMES = ["purchase_requisition", "goods_issue", "vendor", "item"]


@pytest.fixture
async def erp() -> AsyncIterator[GraphqlErp]:
    async with GraphqlErp(tenant="T-1") as server:
        yield server


@pytest.fixture
async def connector(erp: GraphqlErp) -> AsyncIterator[Connector]:
    settings = ConnectionSettings(
        erp.base_url + PATH,
        {"type": "bearer", "token": TOKEN},
        egress=EgressPolicy((ip_network("127.0.0.0/8"),)),
    )
    opened = registry.open_connector("graphql", settings)
    yield opened
    await opened.aclose()


def first_case(name: str) -> tuple[Mapping, RenderInput]:
    """A shipped mapping with its first case, whose answers the simulated ERP gives here."""
    [case, *_] = read_cases((FOLDER / f"{name}.cases.yaml").read_text(), name)
    tables = {table: parse_lookup(text, name, table) for table, text in case.lookups.items()}
    text = (FOLDER / f"{name}.yaml").read_text()
    mapping = compile_mapping(text, file=name, name=name, lookups=tables)
    return mapping, input_of(case, mapping.source.table)


def known_of(name: str) -> Known:
    case: Case = read_cases((FOLDER / f"{name}.cases.yaml").read_text(), name)[0]
    return Known(rows={each: rows_of(value) for each, value in case.facts.enrich.items()})


async def delivered(name: str, connector: Connector, key: str) -> dict[str, Any]:
    """The whole way of a mapping's first case. What it saves."""
    (mapping, given), known = first_case(name), known_of(name)
    while True:
        result = mapping.render(replace(given, known=known, delivery_id=key))
        if isinstance(result, Done):
            assert result.problems == ()
            return result.save
        assert isinstance(result, Rendered)
        outcome = await connector.send(connector.prepare(result.request, result.delivery_id))
        assert isinstance(outcome, Delivered)
        assert outcome.answer is not None
        known = heard(known, result, outcome.answer)


@pytest.mark.parametrize("name", NAMES)
async def test_shipped_mappings_are_taken_and_a_repeat_changes_nothing(
    name: str, erp: GraphqlErp, connector: Connector
) -> None:
    saved = await delivered(name, connector, "k")
    assert len(saved) == 1
    [effect] = erp.effects
    assert effect.action == "created"
    if name in {"purchase_requisition", "goods_issue"}:
        assert await delivered(name, connector, "k") == saved
        assert len(erp.effects) == 1


@pytest.mark.parametrize("name", ["vendor", "item"])
async def test_what_is_there_is_updated(name: str, erp: GraphqlErp, connector: Connector) -> None:
    created = await delivered(name, connector, "k")
    updated = await delivered(name, connector, "l")
    assert created == updated
    assert [effect.action for effect in erp.effects] == ["created", "updated"]
