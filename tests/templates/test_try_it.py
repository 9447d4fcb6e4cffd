"""A shipped mapping tried as the guides say: a simulated ERP that loses answers, `bridge up`, and work orders that are closed."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

BRIDGE = (sys.executable, "-P", "-m", "bridge")
TABLES = """
CREATE TABLE work_orders (
  id int PRIMARY KEY, id_company text NOT NULL, wo_folio text, id_status_work_order int NOT NULL,
  description text, final_date timestamptz, costs_center_description text);
CREATE TABLE work_order_resources (
  id int PRIMARY KEY, id_company text NOT NULL, id_work_order int, type int,
  code_resource text, code_warehouse text, units_code text, qty numeric);
CREATE UNIQUE INDEX told ON work_orders (id_company, id, id_status_work_order);
ALTER TABLE work_orders REPLICA IDENTITY USING INDEX told;
"""
CONFIG = """
sources:
  fracttal:
    dsn: ${BRIDGE_SOURCE_DSN}
    slot: SLOT
    tenant_column: id_company
    tables: {public.work_orders: {}, public.work_order_resources: {}}
nats: {embedded: ./nats}
tenants: tenants/
egress: {allow: [127.0.0.0/8]}
"""
ROUTES = """
routes:
  goods-issues:
    mapping: erpnext/goods_issue
    connection: erpnext
    params: {company: Acme}
    retry: {max_attempts: 8, initial: 200ms, factor: 1.5, max: 2s, jitter: 0.2}
"""
LOOKUPS = {"warehouses": "B1;Stores - AC", "cost_centers": "Norte;Main - AC", "units": "UN;Nos"}
ORDERS = 8


@contextlib.asynccontextmanager
async def started(folder: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    with (folder / f"{words[0]}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(*BRIDGE, *words), cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        await process.communicate()


async def said(folder: Path, *words: str, stdin: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *(*BRIDGE, *words), cwd=folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(stdin.encode())
    assert process.returncode == 0
    return output.decode()


async def line_of(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    return json.loads(await asyncio.wait_for(process.stdout.readline(), 60))


@pytest.fixture
async def folder(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRIDGE_SOURCE_DSN", database)
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute(TABLES)
    (tmp_path / "bridge.yaml").write_text(CONFIG.replace("SLOT", f"try_{os.getpid()}"))
    (tmp_path / "tenants/acme/lookups").mkdir(parents=True)
    for name, row in LOOKUPS.items():
        (tmp_path / f"tenants/acme/lookups/{name}.csv").write_text(f"fracttal;erpnext\n{row}\n")
    return tmp_path


async def close_orders(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        for number in range(1, ORDERS + 1):
            await connection.execute(
                "INSERT INTO work_order_resources VALUES (%s, '4711', %s, 1, 'R-1', 'B1', 'UN', 2.5)",
                (number, number),
            )
            await connection.execute(
                "INSERT INTO work_orders VALUES (%s, '4711', %s, 2, 'Fuga', now(), 'Norte')",
                (number, f"OT-{number}"),
            )
        await connection.execute("UPDATE work_orders SET id_status_work_order = 3")


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_each_closed_order_is_booked_once_although_answers_are_lost(
    folder: Path, database: str
) -> None:
    async with started(folder, "demo", "erp", "erpnext", "--json", "--trouble", "cut") as erp:
        printed = await line_of(erp)
        connections = json.dumps(printed["connections"])
        tenant = f'key: "4711"\ntimezone: America/Santiago\nconnections: {connections}\n{ROUTES}'
        (folder / "tenants/acme/tenant.yaml").write_text(tenant)
        async with started(folder, "up", "--setup"):
            await until_ready(folder)
            for name, value in printed["secrets"].items():
                await said(folder, "secret", "set", "acme", name, stdin=value)
            await close_orders(database)
            booked = await booked_by(erp)
            assert await said(folder, "dlq", "list") == "no open dead letter\n"
    assert sorted(each["body"]["remarks"] for each in booked) == [
        f"OT OT-{n} Fuga" for n in range(1, ORDERS + 1)
    ]
    assert {each["body"]["items"][0]["s_warehouse"] for each in booked} == {"Stores - AC"}


async def booked_by(erp: asyncio.subprocess.Process) -> list[Any]:
    """What it made, once all is booked and each request whose answer was lost has been looked up."""
    booked: list[Any] = []
    lost = looked_up = 0
    while len(booked) < ORDERS or not lost or looked_up < lost:
        answered = await line_of(erp)
        booked += answered["made"]
        lost += answered["method"] == "POST" and answered["status"] is None
        looked_up += answered["method"] == "GET" and answered["status"] == 200
    return booked


async def until_ready(folder: Path) -> None:
    async with asyncio.timeout(90):
        while "ready: capture" not in (folder / "up.log").read_text():  # noqa: ASYNC110 — a process's log
            await asyncio.sleep(0.05)
