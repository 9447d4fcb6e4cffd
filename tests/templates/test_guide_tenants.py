"""The tenants of docs/erps.md as they stand there, through router and worker, to the simulated ERP: each event once.

Each first request to a place in the ERP is done, and its answer lost. The parts come from a real PostgreSQL.
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from joserfc.jwk import RSAKey

import bridge.demo
from bridge.demo import erp_business_central, erp_business_one, erp_netsuite, erp_sap
from bridge.demo.erp_server import Call, ErpServer, Step
from bridge.demo.erp_tokens import client_assertion
from bridge.demo.nats_server import EmbeddedNats
from bridge.shipped_files import shipped
from bridge.source_rows import SourceRowReader
from cdc.settings import SourceSettings, TableSettings
from eventbus.event import HEADER_EVENT_ID
from eventbus.wire import header_lines
from pipeline.jail.renderer import Renderer
from pipeline.tenants.folder import load_tenants
from pipeline.tenants.model import BreakerPolicy, Tenant
from tests.pipeline.delivering import QUICK, Bus, bus
from tests.templates.test_erps_guide import SECTIONS

SAMPLE_TABLES = Path(bridge.demo.__file__).with_name("sample_tables.sql").read_text()
LOOKUPS = {
    "cost_centers": "Planta Norte;0401",
    "warehouses": "BOD-01;0001",
    "units": "UND;EA",
    "priorities": "1;2",
    "countries": "Chile;CL",
}
ORDER = {
    "wo_folio": "OT-7/1",
    "id_status_work_order": 1,
    "id_priorities": 1,
    "description": 'Argolla de 5/8\\ con lado plano { PPC.TH.AR2.346 } "x"',
    "code": "PUMP-7",
    "creation_date": "2026-11-20T12:00:00Z",
    "initial_date": None,
    "final_date": None,
    "costs_center_description": "Planta Norte",
}
VENDOR = {
    "code": "39.373.782/0019",
    "name": ' Aceros "Ñandú" 🔩 ',
    "address": "Av. Siempre Viva 742",
    "city": "Antofagasta",
    "country": "Chile",
    "telephone_1": "+56 2 555",
    "email": "ventas@example.com",
    "id_third_party_type": [3],
}
ITEM = {"code": "ppc.th/ar'2", "description": "Argolla de 5/8\\", "active": True}
KEY = RSAKey.generate_key(2048)


@dataclass(frozen=True, slots=True)
class Guide:
    """One section. erp: what stands in the ERP's place; made: how many documents of which kind the events come to."""

    title: str
    erp: Callable[[], ErpServer]
    secrets: Mapping[str, str]
    made: Mapping[str, int]


GUIDES = [
    Guide(
        "SAP S/4HANA",
        erp_sap.SapErp,
        {"sap_password": erp_sap.PASSWORD},
        {"A_PurchaseRequisitionHeader": 1, "MaintenanceOrder": 2, "A_MaterialDocumentHeader": 1, "A_BusinessPartner": 1, "A_Product": 1},
    ),
    Guide(
        "SAP Business One",
        erp_business_one.BusinessOneErp,
        {"b1_password": erp_business_one.PASSWORD},
        {"PurchaseRequests": 1, "InventoryGenExits": 1, "BusinessPartners": 1, "Items": 1},
    ),
    Guide(
        "Oracle NetSuite",
        lambda: erp_netsuite.NetSuiteErp(
            grants=client_assertion(
                "9a5068b1c4e98e8b85c302f22867f3502a0fc60758040",
                "rFhzD2jv2JqTYLPLpjFWuWYw3GdYrW0vTqCjxU0A6hM",
                KEY,
                "rest_webservices",
            )
        ),
        {"netsuite_private_key": KEY.as_pem(private=True).decode()},
        {"purchaseRequisition": 1, "inventoryAdjustment": 1, "vendor": 1, "inventoryItem": 1},
    ),
    Guide(
        "Dynamics 365 Business Central",
        erp_business_central.BusinessCentralErp,
        {"bc_secret": erp_business_central.CLIENT_SECRET},
        {"purchaseOrders": 1, "vendors": 1, "items": 1},
    ),
]  # fmt: skip


@pytest.fixture
async def shop(nats_server: EmbeddedNats, namespace: str) -> AsyncIterator[Bus]:
    async with bus(nats_server.url, namespace) as shop:
        yield shop


@pytest.fixture
async def sources(database: str) -> Mapping[str, SourceSettings]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(SAMPLE_TABLES)
    tables = ("work_orders", "work_order_resources", "third_parties", "items")
    settings = {f"public.{table}": TableSettings("id_company") for table in tables}
    return {"fracttal": SourceSettings("fracttal", database, settings)}


async def tenant_of(guide: Guide, erp: ErpServer, folder: Path) -> Tenant:
    """The section's tenant, at the simulator instead of the ERP, and quick to try again."""
    [section] = [text for text in SECTIONS if text.startswith(guide.title + "\n")]
    [text] = re.findall(r"```yaml tenant\n(.*?)```", section, re.DOTALL)
    (folder / "acme/lookups").mkdir(parents=True)
    for name, row in LOOKUPS.items():
        (folder / f"acme/lookups/{name}.csv").write_text(f"fracttal;erp\n{row}\n")
    (folder / "acme/tenant.yaml").write_text(at_simulator(text, erp))
    async with aclosing(Renderer()) as renderer:
        found = await load_tenants(folder, shipped("templates"), renderer)
    assert found.problems == ()
    [tenant] = found.tenants
    routes = {name: replace(route, retry=QUICK) for name, route in tenant.routes.items()}
    connections = {
        name: replace(each, auth=opened(each.auth, guide.secrets), breaker=BreakerPolicy(open_s=0.3))
        for name, each in tenant.connections.items()
    }
    return replace(tenant, routes=routes, connections=connections)


def at_simulator(text: str, erp: ErpServer) -> str:
    """The guide's tenant.yaml with what stands elsewhere here."""
    text = re.sub(r"(base_url|token_url): https://[^/\s]+", rf"\1: {erp.base_url}", text)
    text = text.replace("/v2.0/acme.example/production/", "/v2.0/production/")
    return text.replace("CompanyDB: SBO_ACME", f"CompanyDB: {erp_business_one.COMPANY}")


def opened(auth: Mapping[str, Any], secrets: Mapping[str, str]) -> Any:
    text = json.dumps(auth)
    for name, value in secrets.items():
        text = text.replace(f'"${{secret:{name}}}"', json.dumps(value))
    return json.loads(text)


class Source:
    """Puts events as capture does, of one tenant."""

    def __init__(self, shop: Bus, tenant: str, dsn: str) -> None:
        self._shop = shop
        self._tenant = tenant
        self._dsn = dsn
        self._number = 0

    async def part(self, order: int) -> None:
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
            await connection.execute(
                "INSERT INTO work_order_resources (id, id_company, id_work_order, type, code_resource, code_warehouse,"
                " qty, unit_cost, units_code) VALUES (1, %s, %s, 1, 'ppc.th-1', 'BOD-01', 2.5, 10.25, 'UND')",
                (self._tenant, order),
            )

    async def put(
        self, table: str, after: Mapping[str, Any], before: Mapping[str, Any] | None = None
    ) -> None:
        self._number += 1
        op = "insert" if before is None else "update"
        event = {
            "v": 1,
            "id": f"fracttal:0/{self._number:X}:1",
            "op": op,
            "tenant": self._tenant,
            "source": {
                "name": "fracttal",
                "schema": "public",
                "table": table,
                "commit_ts": "2026-11-24T03:28:19.5Z",
            },
            "key": {"id": after["id"]},
            "before": before,
            "after": after,
        }
        subject = self._shop.subjects.event("fracttal", self._tenant, "public", table, op)
        headers = header_lines({HEADER_EVENT_ID: str(event["id"])})
        await self._shop.jetstream.publish(subject, json.dumps(event).encode(), headers)


def each_first_answer_lost() -> Callable[[Call], Step]:
    met: set[str] = set()

    def happens(call: Call) -> Step:
        place = call.path.partition("eid:")[0]
        if call.method == "GET" or place in met or re.search("token|Login$", place):
            return Step()
        met.add(place)
        return Step(cut="after")

    return happens


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.title)
async def test_what_the_guide_shows_makes_each_document_once_though_answers_are_lost(
    guide: Guide, shop: Bus, sources: Mapping[str, SourceSettings], tmp_path: Path
) -> None:
    async with guide.erp() as erp:
        erp.trouble = each_first_answer_lost()
        tenant = await tenant_of(guide, erp, tmp_path)
        await shop.apply(tenant)
        shop.route()
        shop.work(reader=SourceRowReader(lambda: sources))
        source = Source(shop, tenant.key, sources["fracttal"].dsn)
        await source.part(7)
        await source.put("third_parties", {"id": 5, **VENDOR})
        await source.put("items", {"id": 6, **ITEM})
        order = {"id": 7, **ORDER}
        closed = {**order, "id_status_work_order": 3, "final_date": "2026-11-24T03:28:19Z"}
        await source.put("work_orders", order)
        await source.put("work_orders", {"id": 8, **ORDER})
        await source.put("work_orders", closed, {"id": 7, "id_status_work_order": 1})
        await erp.until(lambda: len(erp.effects) >= sum(guide.made.values()), timeout_s=30)
        await shop.settled()
        assert [letter["error"] for letter in await shop.dead_letters()] == []
    created = [effect.collection for effect in erp.effects if effect.action == "created"]
    assert {name: created.count(name) for name in created} == guide.made
