"""`bridge demo erp`: what it prints is what a tenant needs to reach it, and what it is sent is shown."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from bridge.cli.demo_erp import EGRESS, connection_of, mappings_of, shown
from bridge.cli.main import main
from bridge.demo.erp_server import Answered, Call, Reply
from bridge.demo.erp_trouble import KINDS, trouble
from bridge.demo.simulated_erps import SIMULATED_ERPS
from bridge.shipped_files import shipped
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Delivered
from connectors.registry import open_connector
from pipeline.tenants.connection_reader import read_connections
from pipeline.tenants.model import SECRET_REFERENCE, Connection, references
from pipeline.yaml_tree import load

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))


class Command:
    """`bridge demo erp …` as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode()

    async def lines(self, last: str) -> str:
        """All lines up to one that begins so."""
        found = ""
        while not (line := await self.line()).startswith(last):
            assert line, found
            found += line
        return found + line

    async def end(self) -> int | None:
        self.process.send_signal(signal.SIGINT)
        await asyncio.wait_for(self.process.communicate(), 30)
        return self.process.returncode


@contextlib.asynccontextmanager
async def command(*words: str) -> AsyncIterator[Command]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "demo", "erp", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def read_connection(text: str) -> Connection:
    """The one connection of a printed section, as `tenant apply` reads it."""
    [connection] = read_connections(
        "acme", load(text, "tenant.yaml").as_mapping().get("connections")
    ).values()
    return connection


def settings(connection: Connection, secrets: Mapping[str, str]) -> ConnectionSettings:
    auth = {
        key: secrets[found[1]] if (found := SECRET_REFERENCE.fullmatch(str(value))) else value
        for key, value in connection.auth.items()
    }
    return ConnectionSettings(connection.base_url, auth, egress=LOOPBACK, options=connection.options)


async def test_a_user_pastes_what_it_prints_and_sees_what_arrives() -> None:
    async with command("sap") as erp:
        printed = await erp.lines("each request")
        await erp.line()
        section = printed[printed.index("connections:") : printed.index("\nin bridge.yaml")]
        assert EGRESS in printed
        [pasted] = [line for line in printed.splitlines() if line.startswith("echo ")]
        assert pasted.endswith(" | bridge secret set acme sap_password")
        connection = read_connection(section)
        connector = open_connector("rest", settings(connection, {"sap_password": pasted.split("'")[1]}))
        service = "/sap/opu/odata/sap/API_PURCHASEREQ_PROCESS_SRV"
        items = [{"Plant": "CL01", "RequestedQuantity": "1"}]
        body = {"PurchaseRequisitionType": "NB", "to_PurchaseReqnItem": items}
        for key, sent in (("1", body), ("2", {})):
            request = {"method": "POST", "path": f"{service}/A_PurchaseRequisitionHeader", "body": sent}
            await connector.send(connector.prepare(request, key))
        await connector.aclose()
        lines = [(await erp.line())[10:].rstrip() for _ in range(6)]
        assert json.loads(lines.pop(3)) == body
        assert lines[:4] == [
            f"GET {service}/  200",
            f"POST {service}/A_PurchaseRequisitionHeader  201",
            "created A_PurchaseRequisitionHeader 10000001",
            f"POST {service}/A_PurchaseRequisitionHeader  400",
        ]
        assert json.loads(lines[4])["error"]["message"]["value"] == "Enter PurchaseRequisitionType"
        assert await erp.end() == 0


@pytest.mark.parametrize(
    "body",
    [
        {"ids": False, "messages": [{"message": "no such field"}]},
        {"jsonrpc": "2.0", "result": {"ids": False, "messages": [{"message": "no such field"}]}},
        {"jsonrpc": "2.0", "error": {"message": "no such field"}},
        {"data": None, "errors": [{"message": "no such field"}]},
    ],
)
def test_a_refusal_with_http_200_is_shown(body: dict[str, Any]) -> None:
    call = Call(0.0, "POST", "/x", "", {}, None)
    assert "no such field" in shown(Answered(call, Reply(200, body)))
    assert "\n" not in shown(Answered(call, Reply(200, {"ids": [4], "messages": []})))


async def test_as_json_it_prints_an_object_a_line() -> None:
    async with command("plain", "--json", "--trouble", "cut") as erp:
        started = json.loads(await erp.line())
        connection = read_connection(json.dumps({"connections": started["connections"]}))
        assert connection.base_url == f"{started['base_url']}/api"
        assert started["mappings"] == ["generic_rest/work_order"]
        token = {"Authorization": f"Bearer {started['secrets']['erp_token']}"}
        for number, headers in enumerate((token, {}, token)):
            url = f"{connection.base_url}/things/{number}"
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with aiohttp.request("PUT", url, headers=headers, json={"n": 1}) as answer:
                    await answer.read()
        told = [json.loads(await erp.line()) for _ in range(3)]
        assert [(each["method"], each["path"], each["status"]) for each in told] == [
            ("PUT", "/api/things/0", 201),
            ("PUT", "/api/things/1", 401),
            ("PUT", "/api/things/2", None),
        ]
        made = {"action": "created", "collection": "things", "key": "2", "body": {"n": 1}}
        assert [each["made"] for each in told[1:]] == [[], [made]]
        assert told[1]["error"] == {"message": "Invalid credentials"}


@pytest.mark.parametrize("name", sorted(SIMULATED_ERPS))
async def test_each_has_a_connection_that_apply_takes_and_mappings_that_are_there(name: str) -> None:
    simulated = SIMULATED_ERPS[name]
    async with simulated.make() as server:
        connection = read_connection(connection_of(name, server))
        assert connection.base_url == server.base_url + simulated.path
    assert {name for _, name in references(connection.auth)} == simulated.secrets.keys()
    assert all((shipped("templates") / folder).is_dir() for folder in simulated.templates)


def test_every_shipped_mapping_has_an_erp_to_try_it_on() -> None:
    root = shipped("templates")
    there = {str(file.relative_to(root).with_suffix("")) for file in root.glob("*/*.yaml")}
    there = {name for name in there if not name.endswith(".cases")}
    assert {name for each in SIMULATED_ERPS.values() for name in mappings_of(each)} == there


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_trouble_meets_every_third_request(kind: str) -> None:
    simulated = SIMULATED_ERPS["plain"]
    async with simulated.make() as server:
        server.trouble = trouble(kind)
        connection = read_connection(connection_of("plain", server))
        connector = open_connector("rest", settings(connection, simulated.secrets))
        outcomes = []
        for number in range(3):
            request = {"method": "PUT", "path": f"/things/{number}", "body": {}}
            sending = asyncio.ensure_future(connector.send(connector.prepare(request, str(number))))
            await server.until(lambda number=number: len(server.calls) == number + 1)  # type: ignore[misc]
            done, _ = await asyncio.wait((sending,), timeout=0.3 if kind == "slow" and number == 2 else 20)
            outcomes.append(type(sending.result()).__name__ if done else "slow")
            sending.cancel()
        await connector.aclose()
    word = {"cut": "Uncertain", "throttled": "Throttled", "unavailable": "Unavailable", "slow": "slow"}[kind]
    assert outcomes == [Delivered.__name__, Delivered.__name__, word]


def run(*words: str) -> Any:
    return CliRunner().invoke(main, ["demo", *words])


def test_they_are_listed() -> None:
    listed = [json.loads(line) for line in run("erp", "--list", "--json").stdout.splitlines()]
    assert [each["erp"] for each in listed] == sorted(SIMULATED_ERPS) == list(SIMULATED_ERPS)
    assert all(each["erp"] in run("erp", "--list").stdout for each in listed)


def test_wrong_use_says_what_to_write() -> None:
    for words, says in (
        (("erp",), "name one: "),
        (("erp", "sapp"), "did you mean 'sap'?"),
        (("--events", "5", "erp", "sap"), "--events belongs to `bridge demo` itself"),
    ):
        result = run(*words)
        assert (result.exit_code, says in result.stderr) == (2, True), result.stderr


async def test_a_port_that_is_taken_is_wrong_use() -> None:
    async with SIMULATED_ERPS["plain"].make() as server, command("plain", "--port", str(server.port)) as erp:
        assert await erp.process.wait() == 2
