"""The mappings for Odoo and Tryton, from EVENTS to their simulated ERPs: what arrives, and once, also where an answer is lost."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from bridge.demo import erp_odoo, erp_tryton
from bridge.demo.erp_odoo import OdooErp
from bridge.demo.erp_server import Call, ErpServer, Step
from bridge.demo.erp_tryton import TrytonErp
from bridge.demo.nats_server import EmbeddedNats
from bridge.shipped_files import shipped
from bridge.source_rows import SourceRowReader
from cdc.settings import SourceSettings, TableSettings
from eventbus.event import HEADER_EVENT_ID
from eventbus.wire import header_lines
from pipeline.mapping_text import MappingText
from pipeline.tenants.model import Connection, Route, RouteSource, Tenant
from tests.pipeline.delivering import QUICK, Bus, bus

TABLES = """
CREATE TABLE work_order_resources (
    id bigint PRIMARY KEY, id_company text NOT NULL, id_work_order bigint, type int, code_resource text, qty numeric(18, 4)
);
INSERT INTO work_order_resources VALUES (1, '4711', 7, 1, 'R-1', 2), (2, '4711', 7, 1, 'R-2', 1.5), (3, '99', 7, 1, 'R-3', 1);
"""
THIRD_PARTY = {
    "id": 5,
    "code": "39.373.782/0019-79",
    "name": 'Aceros "Ñandú"',
    "address": "Calle 1",
    "city": "Lima",
    "telephone_1": None,
    "email": None,
    "id_third_party_type": [3],
}
ORDER = {
    "id": 7,
    "wo_folio": "OT-7",
    "id_status_work_order": 3,
    "code": "P-100",
    "description": "Argolla de 5/8\\ { x }",
    "note": None,
    "initial_date": None,
    "creation_date": "2026-11-20T03:00:00Z",
    "final_date": "2026-11-24T03:28:19Z",
    "id_priorities": 1,
}


@dataclass(frozen=True, slots=True)
class Side:
    """erp: its server. routes: mapping names and params. loses: the methods whose first answer is lost."""

    erp: type[ErpServer]
    auth: Mapping[str, str]
    options: Mapping[str, str]
    routes: Mapping[str, Mapping[str, Any]]
    loses: tuple[str, ...]
    written: Mapping[str, int]


ODOO: Mapping[str, Mapping[str, Any]] = {
    "vendor": {},
    "item": {"storable": True},
    "purchase_requisition": {"vendor": "fracttal.third_party_5"},
    "maintenance_order": {},
    "goods_issue": {"to": "fracttal.used_up"},
}
WRITTEN = {
    "res.partner": 1,
    "product.product": 2,
    "purchase.order": 1,
    "maintenance.request": 1,
    "stock.picking": 1,
}
SIDES = [
    pytest.param(
        Side(
            OdooErp,
            {"type": "bearer", "token": erp_odoo.API_KEY},
            {"dialect": "odoo", "database": erp_odoo.DATABASE},
            {f"odoo/{name}": params for name, params in ODOO.items()},
            ("purchase.order/load", "stock.picking/load", "button_validate", "maintenance.request/load"),
            WRITTEN,
        ),
        id="odoo",
    ),
    pytest.param(
        Side(
            OdooErp,
            {"type": "login", "username": erp_odoo.USERNAME, "password": erp_odoo.API_KEY},
            {"dialect": "odoo_legacy", "database": erp_odoo.DATABASE},
            {f"odoo/{name}": params for name, params in ODOO.items()},
            ('"purchase.order"', '"stock.picking", "load"', "button_validate"),
            WRITTEN,
        ),
        id="odoo_legacy",
    ),
    pytest.param(
        Side(
            TrytonErp,
            {"type": "login", "username": erp_tryton.USERNAME, "password": erp_tryton.PASSWORD},
            {"dialect": "tryton", "database": erp_tryton.DATABASE},
            {
                "tryton/vendor": {},
                "tryton/item": {"company": 1},
                "tryton/purchase_requisition": {"company": 1, "employee": 2},
            },
            ("party.party.create", "product.template.create", "requisition.create", "requisition.wait", "requisition.approve"),
            {"party.party": 1, "product.template": 2, "purchase.requisition": 1, "purchase.request": 2},
        ),
        id="tryton",
    ),
]  # fmt: skip


@pytest.fixture
async def shop(nats_server: EmbeddedNats, namespace: str) -> AsyncIterator[Bus]:
    async with bus(nats_server.url, namespace) as found:
        yield found


def tenant(side: Side, erp: ErpServer) -> Tenant:
    routes, mappings = {}, {}
    for name, params in side.routes.items():
        text = (shipped("templates") / f"{name}.yaml").read_text()
        table = next(
            line.partition("table: ")[2].split("}")[0] for line in text.splitlines() if "source:" in line
        )
        route = name.rpartition("/")[2].replace("_", "-")
        routes[route] = Route(route, RouteSource(table), name, "erp", params=params, retry=QUICK)
        mappings[name] = MappingText(f"{name}.yaml", text)
    erp_connection = Connection(
        "erp", "jsonrpc", erp.base_url, auth=side.auth, timeout_s=5.0, options=side.options
    )
    return Tenant("acme", "4711", connections={"erp": erp_connection}, routes=routes, mappings=mappings)


async def put(shop: Bus, table: str, row: Mapping[str, Any]) -> None:
    source = {"name": "shop", "schema": "public", "table": table, "commit_ts": "2026-11-24T03:28:19Z"}
    event = {"v": 1, "id": f"shop:{table}:{row['id']}", "op": "insert", "tenant": "4711", "source": source}
    event |= {"key": {"id": row["id"]}, "before": None, "after": row}
    subject = shop.subjects.event("shop", "4711", "public", table, "insert")
    headers = header_lines({HEADER_EVENT_ID: f"shop:{table}:{row['id']}"})
    await shop.jetstream.publish(subject, json.dumps(event).encode(), headers)


def loses_answers(erp: ErpServer, methods: tuple[str, ...]) -> set[str]:
    """The first answer to each is lost; which were."""
    lost: set[str] = set()

    def step(call: Call) -> Step:
        asked = f"{call.path} {json.dumps(call.body, default=str)}"
        for method in methods:
            if method in asked and method not in lost:
                lost.add(method)
                return Step(cut="after")
        return Step()

    erp.trouble = step
    return lost


@pytest.mark.parametrize("side", SIDES)
async def test_documents_arrive_once_also_where_their_answer_is_lost(
    side: Side, shop: Bus, database: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(TABLES)
    tables = {"public.work_order_resources": TableSettings("id_company")}
    reader = SourceRowReader(lambda: {"shop": SourceSettings("shop", database, tables)})
    async with side.erp() as erp:
        lost = loses_answers(erp, side.loses)
        await shop.apply(tenant(side, erp))
        shop.route()
        shop.work(reader=reader)
        await put(shop, "third_parties", THIRD_PARTY)
        for number, code in enumerate(("R-1", "R-2"), 1):
            await put(shop, "items", {"id": number, "code": code, "description": None, "active": True})
        await shop.settled_of(3)
        await put(shop, "work_orders", ORDER)
        await shop.settled_of(len(side.routes) + 1)
        assert await shop.dead_letters() == []
        assert lost == set(side.loses)
        documents: Mapping[tuple[str, int], Mapping[str, Any]] = erp.documents  # type: ignore[attr-defined]
    found = {model: sum(1 for of, _ in documents if of == model) for model in side.written}
    assert found == side.written
    names = [
        values["name"] for (model, _), values in documents.items() if model in {"res.partner", "party.party"}
    ]
    assert names == ['Aceros "Ñandú"']
    lines = [
        values[name] for values in documents.values() for name in ("order_line", "move_ids") if name in values
    ]
    assert all(len(each) == 2 for each in lines)
    states = {model: values["state"] for (model, _), values in documents.items() if "state" in values}
    done = {"purchase.order": "draft", "stock.picking": "done"}
    done |= {"purchase.requisition": "processing", "purchase.request": "draft"}
    assert states == {model: state for model, state in done.items() if model in side.written}
