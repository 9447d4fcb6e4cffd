"""From a change to a SOAP server that we did not write: spyne, with its own WSDL, read back by zeep's own client."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zeep

from pipeline.dlq.advice import advice
from pipeline.dlq.stored_letter import read_letter
from pipeline.mapping_text import MappingText
from pipeline.tenants.model import BreakerPolicy, Connection, Route, RouteSource, Tenant
from tests.pipeline.delivering import QUICK, Bus, eventually

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("spyne") is None and "CI" not in os.environ,
    reason="spyne is not installed; it is a test's dependency below Python 3.12",
)
MAPPING = """
source: {table: public.orders, operations: [insert, update]}
connector: soap
request:
  operation: store
  headers: {Session: {company: 7}}
  arguments:
    order:
      event: "{{ event.id }}"
      id: "{{ key.id }}"
      text: "{{ after.text }}"
      cost: "{{ after.cost }}"
      day: "{{ after.at | date_format('%Y-%m-%d') }}"
      at: "{{ after.at }}"
      urgent: "{{ after.urgent }}"
      priority: "{{ 'high' if after.urgent else 'low' }}"
      note: "{{ nil }}"
      lines:
        Line:
          $for: part in after.parts
          quantity: {"@unit": "{{ part.unit }}", "#text": "{{ part.qty }}"}
          code: "{{ part.code }}"
repeat: upsert
response:
  reject: body.fault.subcodes[0] == 'ClosedPeriod'
  save: {order: "{{ body.storeResult.number }}", total: "{{ body.storeResult.total }}"}
"""
ROW = {
    "text": 'Argolla de 5/8\\ "Ñandú" { <PPC> & }',
    "cost": 1273.10,
    "at": "2026-11-24T03:28:19.832462Z",
    "urgent": True,
    "parts": [{"code": "R-1", "qty": 2.5, "unit": "kg"}, {"code": "R-2", "qty": 1, "unit": "ea"}],
}


@pytest.fixture
async def spyne() -> AsyncIterator[str]:
    """Its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", str(Path(__file__).with_name("spyne_erp.py"))),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        port = int(await asyncio.wait_for(process.stdout.readline(), 30))
        yield f"http://127.0.0.1:{port}/soap"
    finally:
        process.kill()
        await process.wait()


def tenant(url: str) -> Tenant:
    endpoint = Connection(
        "erp",
        "soap",
        url,
        timeout_s=10.0,
        breaker=BreakerPolicy(failures=3, window_s=60, open_s=0.3),
        options={"wsdl": f"{url}?wsdl"},
    )
    return Tenant(
        "acme",
        "4711",
        connections={"erp": endpoint},
        routes={"orders": Route("orders", RouteSource("public.orders"), "order", "erp", retry=QUICK)},
        mappings={"order": MappingText("mappings/order.yaml", MAPPING)},
    )


async def put(bus: Bus, key: int, **row: Any) -> None:
    await bus.change(key, 0, after={"id": key, **ROW, **row})


async def stored(url: str) -> list[Any]:
    def ask() -> list[Any]:
        client = zeep.Client(f"{url}?wsdl")
        return list(client.service.stored() or [])

    return await asyncio.to_thread(ask)


async def test_what_changed_is_what_that_server_has(shop: Bus, spyne: str) -> None:
    await shop.apply(tenant(spyne))
    shop.route()
    shop.work()
    await put(shop, 1)
    await put(shop, 2, text="locked")
    await put(shop, 3, text="refuse")
    await put(shop, 4, parts=[{"code": "x" * 21, "qty": 1, "unit": "ea"}])
    await put(shop, 5, parts=[{"code": "R-1", "qty": "two", "unit": "ea"}])
    letters = await eventually(shop.dead_letters, lambda found: len(found) == 3)
    await shop.settled_of(5)
    first, second = sorted(await stored(spyne), key=lambda order: order.id)
    assert (first.id, second.id, second.text) == (1, 2, "locked")
    assert first.text == ROW["text"]
    assert first.cost == Decimal("1273.1")
    assert first.day == date(2026, 11, 24)
    assert first.at.astimezone(UTC) == datetime(2026, 11, 24, 3, 28, 19, 832462, tzinfo=UTC)
    assert (first.urgent, first.priority, first.note) == (True, "high", None)
    lines = [(line.code, line.quantity.unit, line.quantity._value_1) for line in first.lines.Line]
    assert lines == [("R-1", "kg", Decimal("2.5")), ("R-2", "ea", Decimal(1))]
    told = {letter["event"]["key"]["id"]: letter["error"]["message"] for letter in letters}
    assert told[3].startswith("SOAP fault Client: the period is closed")
    assert "{urn:spyne:erp}code" in told[4]
    assert "allowed maximum length of '20'" in told[4]
    assert told[5].startswith(
        "request.arguments.order.lines.Line[0].quantity must be a number, this is 'two'"
    )
    misfit = next(
        read_letter(json.dumps(letter).encode()) for letter in letters if letter["event"]["key"] == {"id": 5}
    )
    assert "does not fit the ERP's WSDL, the message says where: mend the mapping" in advice("a/b/1", misfit)
