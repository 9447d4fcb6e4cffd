"""`bridge mapping preview --last`: what real events would become, with real rows; nothing is sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from bridge.cli.main import main
from bridge.demo.nats_server import EmbeddedNats
from eventbus.buckets import Bucket
from pipeline.delivery.saved_values import SavedValues
from pipeline.mapping.known import saved_key
from tests.pipeline.delivering import Bus, bus

MAPPING = """
source: {table: public.orders}
enrich:
  parts: {table: public.parts, where: {wo: "{{ key.id }}"}, many: true}
connector: rest
steps:
  create:
    request:
      method: POST
      path: /orders
      body:
        n: "{{ after.n }}"
        parts: "{{ parts | map(attribute='code') | list }}"
        vendor: "{{ saved('vendors', 5, 'id') }}"
  release:
    request: {method: PUT, path: "/releases/{{ steps.create.body.id }}"}
"""
TENANT = """
key: "4711"
connections: {erp: {connector: rest, base_url: https://erp.example}}
routes:
  orders: {mapping: order, connection: erp}
  vendors: {mapping: order, connection: erp}
"""
TABLES = """
CREATE TABLE orders (id int PRIMARY KEY, company int);
CREATE TABLE parts (id int PRIMARY KEY, company int, wo int, code text);
INSERT INTO parts VALUES (1, 4711, 1, 'A'), (2, 99, 1, 'not yours'), (3, 4711, 2, 'B');
"""


@pytest.fixture
async def shop(nats_server: EmbeddedNats, namespace: str) -> AsyncIterator[Bus]:
    async with bus(nats_server.url, namespace) as shop:
        yield shop


@pytest.fixture
async def folder(tmp_path: Path, shop: Bus, database: str) -> Path:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(TABLES)
    mappings = tmp_path / "tenants" / "acme" / "mappings"
    mappings.mkdir(parents=True)
    (mappings.parent / "tenant.yaml").write_text(TENANT)
    (mappings / "order.yaml").write_text(MAPPING)
    tables = {name: {"tenant_column": "company"} for name in ("public.orders", "public.parts")}
    small = {"max_bytes": "64MB"}
    settings = {
        "sources": {"shop": {"dsn": database, "tables": tables}},
        "nats": {
            "servers": list(shop.nats.servers),
            "namespace": shop.nats.namespace,
            "lanes": shop.nats.lanes,
        },
        "streams": {
            "events": small,
            "deliveries": small,
            "attempts": {"max_bytes": "16MB"},
            "dlq": {"max_bytes": "16MB"},
        },
    }
    (tmp_path / "bridge.yaml").write_text(json.dumps(settings))
    return tmp_path


async def preview(folder: Path, *arguments: str) -> Result:
    command = [
        "mapping",
        "preview",
        "--route",
        "acme/orders",
        "--config",
        str(folder / "bridge.yaml"),
        *arguments,
    ]
    return await asyncio.to_thread(CliRunner().invoke, main, command)


async def test_the_last_events_with_the_rows_of_now(shop: Bus, folder: Path) -> None:
    for n in (1, 2, 3):
        await shop.change(n, 10 + n)
    await shop.change(1, 20, tenant="99")
    values = SavedValues(Bucket(shop.jetstream, shop.subjects.bucket("SAVED")))
    await values.save("acme", "vendors", saved_key(5), 1, {"id": "V-5"})
    await values.save("globex", "vendors", saved_key(5), 1, {"id": "not yours"})
    result = await preview(folder, "--last", "2", "--json")
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["event_id"], each["steps"][0]["body"]) for each in found] == [
        ("shop:0/2:1", {"n": 12, "parts": ["B"], "vendor": "V-5"}),
        ("shop:0/3:1", {"n": 13, "parts": [], "vendor": "V-5"}),
    ]
    assert found[0]["steps"][0]["headers"]["Idempotency-Key"] == "shop:0/2:1/acme/orders/create"
    (folder / "given.yaml").write_text(
        "{enrich: {parts: [{code: Z}]}, answers: {create: {status: 201, body: {id: 7}}}}"
    )
    result = await preview(folder, "--last", "1", "--given", str(folder / "given.yaml"))
    assert result.exit_code == 0, result.output
    assert '"Z"' in result.stdout
    assert "PUT /releases/7" in result.stdout
    assert await shop.stored("DELIVERIES", "deliveries.>") == []


async def test_what_cannot_be_read_is_told_for_each_event(shop: Bus, folder: Path) -> None:
    result = await preview(folder, "--last", "5")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "EVENTS holds no event that route acme/orders asks for" in result.stderr
    config = folder / "bridge.yaml"
    settings = json.loads(config.read_text())
    settings["sources"]["shop"]["read_dsn"] = "postgresql://u:geheim@127.0.0.1:1/x"
    config.write_text(json.dumps(settings))
    await shop.change(1, 1)
    await shop.change(2, 2)
    result = await preview(folder, "--last", "5", "--json")
    assert result.exit_code == 1
    errors = [json.loads(line)["error"] for line in result.stdout.splitlines()]
    assert [error["class"] for error in errors] == ["needs", "needs"]
    assert "--given" in errors[0]["message"]
    assert "geheim" not in result.output


async def test_which_events_has_to_be_said(folder: Path) -> None:
    for arguments in ([], ["--last", "1", "--event", "x.json"], ["--last", "0"]):
        assert (await preview(folder, *arguments)).exit_code == 2
    alone = CliRunner().invoke(main, ["mapping", "preview", "sap", "--last", "1"])
    assert alone.exit_code == 2
    assert "--route" in alone.output
