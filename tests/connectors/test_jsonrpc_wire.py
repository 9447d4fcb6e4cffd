"""Calls on real HTTP: logins, renewed once; what is sent again; nothing of the password anywhere."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from typing import Any

import pytest

from bridge.demo import erp_tryton
from bridge.demo.erp_jsonrpc import TOKEN, JsonRpcErp
from bridge.demo.erp_odoo import API_KEY, DATABASE, USERNAME, OdooErp
from bridge.demo.erp_server import ErpServer, Reply, Step
from bridge.demo.erp_tryton import TrytonErp
from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import (
    ConnectionSettings,
    Connector,
    Delivered,
    Outcome,
    Rejected,
    RetryLater,
    Unavailable,
    Uncertain,
)

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
KEY = "fracttal:0/16B3748:3/acme/vendors"
LOAD = {
    "method": "res.partner.load",
    "params": {"fields": ["id", "name"], "data": [["acme.third_party_5", "Aceros"]]},
}
CREATE = {"method": "res.partner.create", "params": {"vals_list": [{"name": "Aceros"}]}}
DENIED = {
    "jsonrpc": "2.0",
    "id": KEY,
    "error": {
        "code": 0,
        "message": "Odoo",
        "data": {"name": "odoo.exceptions.AccessDenied", "message": "Access Denied"},
    },
}


@pytest.fixture
async def odoo() -> AsyncIterator[OdooErp]:
    async with OdooErp() as server:
        yield server


@pytest.fixture
async def tryton() -> AsyncIterator[TrytonErp]:
    async with TrytonErp() as server:
        yield server


def opened(erp: ErpServer, dialect: str, secret: str = API_KEY) -> Connector:
    auth: Mapping[str, Any] = {"type": "login", "username": USERNAME, "password": secret}
    database = DATABASE
    if dialect == "odoo":
        auth = {"type": "bearer", "token": secret}
    if dialect == "tryton":
        auth, database = {**auth, "username": erp_tryton.USERNAME}, erp_tryton.DATABASE
    settings = ConnectionSettings(
        erp.base_url, auth, options={"dialect": dialect, "database": database}, egress=LOOPBACK
    )
    return registry.open_connector("jsonrpc", settings)


async def send(connector: Connector, request: Mapping[str, Any] = LOAD) -> Outcome:
    return await connector.send(connector.prepare(request, KEY))


def services(erp: ErpServer) -> list[str]:
    return [call.body["params"]["service"] for call in erp.calls]


@pytest.mark.parametrize(
    "path, options, target",
    [
        ("", {}, "/"),
        ("/", {}, "/"),
        ("/rpc", {}, "/rpc"),
        ("/rpc/", {}, "/rpc/"),
        ("/api", {"path": "/v1/rpc"}, "/api/v1/rpc"),
    ],
)
async def test_calls_go_where_base_url_says_to_the_last_slash(path: str, options: Any, target: str) -> None:
    async with JsonRpcErp() as erp:
        auth = {"type": "bearer", "token": TOKEN}
        settings = ConnectionSettings(erp.base_url + path, auth, options=options, egress=LOOPBACK)
        connector = registry.open_connector("jsonrpc", settings)
        assert isinstance(await send(connector, {"method": "orders.create", "params": {}}), Delivered)
        await connector.aclose()
        assert [call.path for call in erp.calls] == [target]


@pytest.mark.parametrize("dialect", ["odoo", "odoo_legacy"])
async def test_one_mapping_serves_both_of_odoos_interfaces(odoo: OdooErp, dialect: str) -> None:
    connector = opened(odoo, dialect)
    first = await send(connector)
    assert isinstance(first, Delivered)
    assert first.answer is not None
    assert first.answer.body["result"] == {"ids": [1], "messages": [], "nextrow": 0}
    again = await send(connector)
    assert isinstance(again, Delivered)
    assert [effect.action for effect in odoo.effects] == ["created"]
    unknown = await send(connector, {"method": "res.partner.explode"})
    assert isinstance(unknown, Rejected)
    assert unknown.code == "werkzeug.exceptions.NotFound"
    await connector.aclose()


@pytest.mark.parametrize("dialect", ["odoo", "odoo_legacy"])
async def test_create_is_no_upsert_and_load_is(odoo: OdooErp, dialect: str) -> None:
    connector = opened(odoo, dialect)
    for _ in range(2):
        assert isinstance(await send(connector, CREATE), Delivered)
    assert len(odoo.effects) == 2
    odoo.script([Step(cut="after")])
    assert isinstance(await send(connector), Uncertain)
    assert isinstance(await send(connector), Delivered)
    assert len(odoo.effects) == 3
    await connector.aclose()


async def test_a_login_is_made_once_for_all(odoo: OdooErp) -> None:
    connector = opened(odoo, "odoo_legacy")
    assert all(
        isinstance(each, Delivered) for each in await asyncio.gather(*(send(connector) for _ in range(4)))
    )
    assert services(odoo) == ["common", *["object"] * 4]
    await connector.aclose()


async def test_who_is_refused_logs_in_once_more(odoo: OdooErp) -> None:
    connector = opened(odoo, "odoo_legacy")
    assert isinstance(await send(connector), Delivered)
    odoo.script([Step(Reply(200, DENIED))])
    assert isinstance(await send(connector), Delivered)
    assert services(odoo) == ["common", "object", "object", "common", "object"]
    odoo.script([Step(Reply(200, DENIED))] * 2)
    refused = await send(connector)
    assert isinstance(refused, Unavailable)
    assert refused.code == "authentication"
    assert services(odoo)[5:] == ["object", "common", "object"]
    await connector.aclose()


async def test_a_login_that_fails_is_the_connections_trouble(odoo: OdooErp) -> None:
    wrong = opened(odoo, "odoo_legacy", secret="not-the-password")
    refused = await send(wrong)
    assert isinstance(refused, Unavailable)
    assert refused.code == "authentication"
    assert "no user of that name and password" in refused.message
    assert services(odoo) == ["common"]
    odoo.unavailable()
    connector = opened(odoo, "odoo_legacy")
    down = await send(connector)
    assert isinstance(down, Unavailable)
    assert down.code == "unavailable"
    for each in (wrong, connector):
        await each.aclose()


async def test_a_busy_odoo_is_asked_again_later() -> None:
    async with OdooErp(busy_every=2) as odoo:
        for dialect in ("odoo", "odoo_legacy"):
            connector = opened(odoo, dialect)
            assert isinstance(await send(connector), Delivered)
            busy = await send(connector)
            assert isinstance(busy, RetryLater)
            assert busy.code == "psycopg2.errors.SerializationFailure"
            await connector.aclose()


async def test_an_ended_session_of_tryton_is_renewed_once(tryton: TrytonErp) -> None:
    connector = opened(tryton, "tryton", erp_tryton.PASSWORD)
    party = {"name": "Aceros", "code": "P-5"}
    first = await send(connector, {"method": "model.party.party.create", "params": [[party], {}]})
    assert isinstance(first, Delivered)
    old = set(tryton.sessions)
    tryton.end_sessions()
    requests = [
        {"method": "model.party.party.write", "params": [[3], {"name": f"Aceros {number}"}, {}]}
        for number in range(3)
    ]
    results = await asyncio.gather(*(send(connector, request) for request in requests))
    assert all(isinstance(each, Delivered) for each in results)
    assert tryton.logins == 2
    assert len(tryton.effects) == 4
    told = repr([first, *results])
    assert not [session for session in old | tryton.sessions if session.removeprefix("Session ") in told]
    await connector.aclose()


async def test_what_tryton_echoes_of_a_session_is_masked(tryton: TrytonErp) -> None:
    connector = opened(tryton, "tryton", erp_tryton.PASSWORD)
    call = {"method": "model.party.party.search_read", "params": [[], {}]}
    assert isinstance(await send(connector, call), Delivered)
    [session] = tryton.sessions
    tryton.script([Step(Reply(200, {"id": KEY, "result": [session, erp_tryton.PASSWORD]}))])
    echoed = await send(connector, call)
    assert isinstance(echoed, Delivered)
    assert echoed.answer is not None
    assert echoed.answer.body["result"] == ["Session ***", "***"]
    await connector.aclose()


async def test_a_wrong_password_of_tryton_is_the_connections_trouble(tryton: TrytonErp) -> None:
    connector = opened(tryton, "tryton", "not-the-password")
    refused = await send(connector, {"method": "m", "params": [{}]})
    assert isinstance(refused, Unavailable)
    assert refused.code == "authentication"
    assert "not-the-password" not in repr(refused)
    await connector.aclose()


@pytest.mark.parametrize("dialect", ["odoo_legacy", "tryton"])
async def test_the_password_stands_in_no_request_that_is_shown(odoo: OdooErp, dialect: str) -> None:
    connector = opened(odoo, dialect)
    prepared = connector.prepare({"method": "m.load", "params": [{}]}, KEY)
    assert API_KEY not in repr(prepared) + str(prepared.to_json()) + repr(connector) + str(prepared.content)
    await connector.aclose()


async def test_a_server_that_garbles_its_answer_to_a_login_shows_nothing_of_it() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 nonsense about " + API_KEY.encode() + b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    async with server:
        auth = {"type": "login", "username": USERNAME, "password": API_KEY}
        settings = ConnectionSettings(
            f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            auth,
            options={"dialect": "odoo_legacy", "database": DATABASE},
            egress=LOOPBACK,
        )
        connector = registry.open_connector("jsonrpc", settings)
        outcome = await connector.send(connector.prepare(LOAD, KEY))
        await connector.aclose()
    assert isinstance(outcome, Unavailable)
    assert "nonsense about ***" in outcome.message
    assert API_KEY not in outcome.message


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        ("null", Delivered),
        (' "a text"', Delivered),
        ("true", Delivered),
        ("[1]", Delivered),
        ("", Uncertain),
        ("a text", Uncertain),
        ('{"ids": [1', Uncertain),
    ],
)
async def test_what_is_no_json_is_no_answer_of_odoos_whatever_it_says_it_is(
    content: str, meaning: type[Outcome]
) -> None:
    async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write((head + content).encode())
        writer.close()

    server = await asyncio.start_server(says, "127.0.0.1", 0)
    async with server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = ConnectionSettings(base_url, options={"dialect": "odoo"}, egress=LOOPBACK)
        connector = registry.open_connector("jsonrpc", settings)
        outcome = await connector.send(connector.prepare(LOAD, KEY))
        await connector.aclose()
    assert isinstance(outcome, meaning)
