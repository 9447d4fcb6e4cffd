"""A Tryton 8 of our own, as its administrator would set it up: a database, the server's process, a company, a user."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from proteus import Model, config

from bridge.demo.postgres_server import EmbeddedPostgres
from tests.cdc.capturing import eventually

DATABASE = "tryton"
USER, PASSWORD = "bridge", "correct-horse-battery"
_ADMIN_PASSWORD = "admin-of-the-tests"
_MODULES = ("party", "product", "stock", "purchase", "purchase_request", "purchase_requisition")


@dataclass(frozen=True, slots=True)
class Tryton:
    """dsn: of its database. company, employee: their ids."""

    port: int
    dsn: str
    company: int
    employee: int

    async def find(self, model: str, *domain: Any) -> list[Any]:
        """Records as Tryton's own client reads them."""

        def found() -> list[Any]:
            _log_in(self.port)
            return list(Model.get(model).find(list(domain)))

        return await asyncio.to_thread(found)

    async def end_sessions(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            await connection.execute("DELETE FROM ir_session")


@asynccontextmanager
async def tryton_server(postgres: EmbeddedPostgres, folder: Path) -> AsyncIterator[Tryton]:
    """On the PostgreSQL given, until the end of the block. Takes half a minute to make."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings, password = folder / "trytond.conf", folder / "password"
    uri = postgres.dsn("").rstrip("/")
    settings.write_text(f"[database]\nuri = {uri}\n[web]\nlisten = 127.0.0.1:{port}\n")
    password.write_text(_ADMIN_PASSWORD)
    async with await psycopg.AsyncConnection.connect(postgres.dsn(), autocommit=True) as admin:
        await admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    update = ("--update", *_MODULES, "--activate-dependencies", "--email", "admin@example.com")
    made = await _program("trytond-admin", settings, *update, TRYTONPASSFILE=str(password))
    assert await made.wait() == 0
    server = await _program("trytond", settings)
    try:
        await eventually(lambda: _answers(port), bool, within=60)
        company, employee = await asyncio.to_thread(_set_up, port)
        yield Tryton(port, postgres.dsn(DATABASE), company, employee)
    finally:
        server.terminate()
        await server.wait()


async def _program(
    name: str, settings: Path, *arguments: str, **variables: str
) -> asyncio.subprocess.Process:
    program = Path(sys.executable).with_name(name)
    return await asyncio.create_subprocess_exec(
        *(str(program), "--config", str(settings), "--database", DATABASE, *arguments),
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | variables,
    )


async def _answers(port: int) -> bool:
    version = {"id": 0, "method": "common.server.version", "params": []}
    async with httpx.AsyncClient() as client:
        try:
            answer = await client.post(f"http://127.0.0.1:{port}/rpc/", json=version)
        except httpx.TransportError:
            return False
    return bool(answer.json()["result"].startswith("8."))


def _log_in(port: int) -> Any:
    return config.set_xmlrpc(f"http://admin:{_ADMIN_PASSWORD}@127.0.0.1:{port}/{DATABASE}/rpc/")


def _set_up(port: int) -> tuple[int, int]:
    """A company with an employee, and the bridge's user, who may do everything but administer."""
    session = _log_in(port)
    currency = _saved("currency.currency", name="Peso", code="CLP", symbol="$", numeric_code="152")
    company = _saved("company.company", party=_saved("party.party", name="Planta"), currency=currency)
    session._context = {"company": company.id}
    employee = _saved("company.employee", party=_saved("party.party", name="Bridge"), company=company)
    [admin] = Model.get("res.user").find([("login", "=", "admin")])
    user = Model.get("res.user")(name="Bridge", login=USER, password=PASSWORD)
    user.groups.extend(Model.get("res.group").find([("name", "!=", "Administration")]))
    for each in (admin, user):
        each.companies.append(Model.get("company.company")(company.id))
        each.company = company
        each.save()
    return company.id, employee.id


def _saved(model: str, **values: Any) -> Any:
    record = Model.get(model)(**values)
    record.save()
    return record
