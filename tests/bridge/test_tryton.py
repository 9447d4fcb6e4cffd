"""Changes of Fracttal's tables arrive in a real Tryton 8, by `bridge up` and the mappings that ship."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from bridge.demo.postgres_server import EmbeddedPostgres
from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Connector, Delivered, Outcome, Rejected, Unavailable
from tests.bridge.tryton_server import DATABASE, PASSWORD, USER, Tryton, tryton_server
from tests.cdc.capturing import eventually
from tests.cdc.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]
LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
TABLES = Path(__file__).parents[2] / "bridge/demo/sample_tables.sql"
BRIDGE = """\
sources:
  fracttal:
    dsn: ${BRIDGE_SOURCE_DSN}
    slot: SLOT
    tenant_column: id_company
    tables: {public.work_orders: {}, public.work_order_resources: {}, public.third_parties: {}, public.items: {}}
nats: {embedded: data}
egress: {allow: [127.0.0.0/8]}
"""
TENANT = """\
key: "4711"
connections:
  tryton:
    connector: jsonrpc
    dialect: tryton
    base_url: http://127.0.0.1:PORT
    database: tryton
    auth: {type: login, username: bridge, password: "${secret:tryton_password}"}
routes:
  vendors: {mapping: tryton/vendor, connection: tryton}
  items: {mapping: tryton/item, connection: tryton, params: {company: COMPANY}}
  requisitions:
    mapping: tryton/purchase_requisition
    connection: tryton
    params: {company: COMPANY, employee: EMPLOYEE}
    retry: {initial: 200ms}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tryton(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Tryton]:
    async with tryton_server(postgres, tmp_path_factory.mktemp("tryton")) as server:
        yield server


@pytest.fixture
async def connector(tryton: Tryton) -> AsyncIterator[Connector]:
    found = opened(tryton)
    yield found
    await found.aclose()


def opened(tryton: Tryton, password: str = PASSWORD) -> Connector:
    settings = ConnectionSettings(
        f"http://127.0.0.1:{tryton.port}",
        {"type": "login", "username": USER, "password": password},
        options={"dialect": "tryton", "database": DATABASE},
        egress=LOOPBACK,
    )
    return registry.open_connector("jsonrpc", settings)


async def call(connector: Connector, method: str, *params: Any) -> Outcome:
    request = {"method": method, "params": list(params)}
    return await connector.send(connector.prepare(request, "fracttal:0/1:1/acme/x"))


async def test_changes_become_vendors_products_and_purchase_requests(
    tryton: Tryton, database: str, tmp_path: Path
) -> None:
    async with (
        Proxy(tryton.port) as proxy,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as fracttal,
    ):
        await fracttal.execute(TABLES.read_text())
        await fracttal.execute("ALTER TABLE work_orders REPLICA IDENTITY FULL")
        up = await bridge_up(tmp_path, database, tryton, proxy.port)
        log = asyncio.create_task(up.communicate())
        try:
            await set_secret(tmp_path)
            await fracttal.execute(
                "INSERT INTO third_parties (id, id_company, code, name, email, id_third_party_type)"
                " VALUES (5, '4711', '39.373.782/0019-79', 'Aceros \"Ñandú\"', 'ventas@example.com', '{3}')"
            )
            await fracttal.execute(
                "INSERT INTO items (id, id_company, code, description)"
                " VALUES (1, '4711', 'R-1', 'Rodamiento 5/8\\ { x }'), (2, '4711', 'R-2', 'Sello')"
            )
            [party] = await one(tryton, "party.party", ("code", "=", "39.373.782/0019-79"))
            assert party.name == 'Aceros "Ñandú"'
            assert await tryton.find("party.contact_mechanism", ("value", "=", "ventas@example.com"))
            [product] = await one(tryton, "product.product", ("code", "=", "R-1"))
            assert product.name == "Rodamiento 5/8\\ { x }"
            await one(tryton, "product.product", ("code", "=", "R-2"))
            await fracttal.execute("UPDATE third_parties SET name = 'Aceros SA' WHERE id = 5")
            await one(tryton, "party.party", ("code", "=", party.code), ("name", "=", "Aceros SA"))
            await close_order(fracttal, 7)
            requests = await eventually(
                lambda: tryton.find("purchase.request"), lambda found: len(found) == 2, 60
            )
            assert sorted((each.product.code, each.quantity) for each in requests) == [
                ("R-1", 2.0),
                ("R-2", 3.0),
            ]
            await without_an_answer(proxy, b"purchase.requisition.create", close_order(fracttal, 8))
            await eventually(lambda: tryton.find("purchase.request"), lambda found: len(found) == 4, 60)
            done = await tryton.find("purchase.requisition")
            assert sorted(each.description.split()[1] for each in done) == ["OT-7", "OT-8"]
            assert {each.description.split()[2].split(":")[0] for each in done} == {"fracttal"}
        finally:
            up.terminate()
            sys.stderr.write((await log)[1].decode())


async def without_an_answer(proxy: Proxy, asked: bytes, doing: Any) -> None:
    """The answer to the call of this name is lost on its way."""
    lost = asyncio.Event()

    def answered(_: bytes) -> None:
        proxy.down.hold()
        lost.set()

    def sent(data: bytes) -> None:
        if asked in data:
            proxy.down.seen = answered

    proxy.up.seen = sent
    await doing
    async with asyncio.timeout(60):
        await lost.wait()
    await proxy.cut()
    await proxy.mend()


async def one(tryton: Tryton, model: str, *domain: Any) -> list[Any]:
    return await eventually(lambda: tryton.find(model, *domain), lambda found: len(found) == 1, 60)


async def close_order(fracttal: psycopg.AsyncConnection[Any], number: int) -> None:
    async with fracttal.transaction():
        await fracttal.execute(
            "INSERT INTO work_orders (id, id_company, wo_folio, id_status_work_order) VALUES (%s, '4711', %s, 2)",
            [number, f"OT-{number}"],
        )
        for line, (code, quantity) in enumerate([("R-1", 2), ("R-2", 3)]):
            await fracttal.execute(
                "INSERT INTO work_order_resources (id, id_company, id_work_order, type, code_resource, qty)"
                " VALUES (%s, '4711', %s, 1, %s, %s)",
                [10 * number + line, number, code, quantity],
            )
    await fracttal.execute(
        "UPDATE work_orders SET id_status_work_order = 3, final_date = now() WHERE id = %s", [number]
    )


async def bridge_up(folder: Path, dsn: str, tryton: Tryton, port: int) -> asyncio.subprocess.Process:
    tenant = TENANT.replace("PORT", str(port)).replace("COMPANY", str(tryton.company))
    (folder / "tenants/acme").mkdir(parents=True)
    (folder / "tenants/acme/tenant.yaml").write_text(tenant.replace("EMPLOYEE", str(tryton.employee)))
    (folder / "bridge.yaml").write_text(BRIDGE.replace("SLOT", f"tryton_{os.getpid()}"))
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("bridge"), "up", "--setup"),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"BRIDGE_SOURCE_DSN": dsn, "BRIDGE_LOG_FORMAT": "text"},
    )
    assert process.stderr is not None
    said: list[str] = []
    async with asyncio.timeout(60):
        while "ready: capture" not in (said or [""])[-1]:
            said.append((await process.stderr.readline()).decode())
            assert said[-1], "".join(said)
    return process


async def set_secret(folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("bridge"), "secret", "set", "acme", "tryton_password"),
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        env=os.environ | {"BRIDGE_SOURCE_DSN": ""},
    )
    await process.communicate(PASSWORD.encode())
    assert process.returncode == 0


async def test_an_ended_session_is_renewed(tryton: Tryton, connector: Connector) -> None:
    assert isinstance(await call(connector, "model.party.party.search_count", [], {}), Delivered)
    await tryton.end_sessions()
    assert isinstance(await call(connector, "model.party.party.search_count", [], {}), Delivered)


async def test_a_wrong_password_is_the_connections_trouble(tryton: Tryton) -> None:
    connector = opened(tryton, "wrong-horse-battery")
    outcome = await call(connector, "model.party.party.search_count", [], {})
    await connector.aclose()
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"


async def test_what_tryton_refuses_is_told_in_its_words(connector: Connector) -> None:
    party = {"name": "Twice", "code": "T-1"}
    assert isinstance(await call(connector, "model.party.party.create", [party], {}), Delivered)
    again = await call(connector, "model.party.party.create", [party], {})
    assert isinstance(again, Rejected)
    assert again.message == "UserError: The code on party must be unique."
    nobody = await call(connector, "model.party.party.write", [999_999], {"name": "x"}, {})
    assert isinstance(nobody, Rejected)
    no_context = await call(connector, "model.party.party.write", "x")
    assert isinstance(no_context, Rejected)
    assert "Missing context argument" in no_context.message
