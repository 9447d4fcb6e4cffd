"""Whatever a server sends, each kind makes an outcome of it that can be written down, and that shows no secret."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings
from tests.connectors.wsdl_texts import wsdl

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
SECRET = "s3cret/t+W&d"
ROUNDS = 60
STATUSES = (
    "200 OK",
    "201 Created",
    "204 No Content",
    "101 Up",
    "302 Found",
    "400 B",
    "401 U",
    "403 F",
    "429 T",
    "500 E",
    "999",
)
HEADERS = (
    "Content-Type: application/json", "Content-Type: multipart/mixed; boundary=b", "Content-Type: text/xml",
    "Content-Type: multipart/related; boundary*;boundary*0", "Content-Type: text/plain; charset=punycode",
    "Content-Encoding: gzip", "Transfer-Encoding: chunked", "Content-Length: -1", "Content-Length: 9" * 30,
    'Set-Cookie: a="unclosed', "Set-Cookie: a=\x7f", "Retry-After: Fri, 31 Dec 9999 23:59:59 -9999",
    "Retry-After: 99999999999999999999", "x-csrf-token: Required", "x-csrf-token: tok\x7f", "x-csrf-token: t\xe9",
    "Location: http://169.254.169.254/", "Connection: upgrade", "X-RateLimit-Reset: 9e999", "\xff: \xfd", "X: " + "y" * 9_000,
)  # fmt: skip
BODIES = (
    b"", b"null", b"garbage", b'"x"', b"1e99999999999999999999", b'{"a":' * 300 + b"1" + b"}" * 300, bytes(range(256)),
    b'{"jsonrpc":"2.0","id":"k","error":{"code":1e99,"message":["\\ud800"],"data":{"name":5}}}',
    b'{"error":["UserError",["\\ud800",{}]]}', b'{"ids":false,"messages":[{"message":{}},5]}',
    b'{"data":null,"errors":[null,1,{"message":{},"path":[{}],"extensions":{"code":{"type":{}},"retryAfter":1e400}}]}',
    b'{"errors":[{"extensions":{"code":"THROTTLED"}}],"extensions":{"cost":{"requestedQueryCost":1e10,"throttleStatus":{}}}}',
    b'{"errors":[{"message":"PersistedQueryNotFound"}]}', b'{"access_token":"t\\u00e9","expires_in":1e999}',
    b'{"access_token":"tokentoken","expires_in":-1,"refresh_token":{},"token_type":{"a":1}}',
    b'{"responses":[{"status":100000000000000000000000,"headers":{"content-type":1}},{"status":true}]}',
    b"--b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}\r\n--b--", b"--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 99999 OK\r\n--b--",
    b"<?xml version='1.0' encoding='punycode'?><a/>", b'<?xml version="1.0"?><e><code>&#xD800;</code></e>',
    b"<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><s:Fault/></s:Body></s:Envelope>",
)  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "csrf": ("rest", {"csrf": True}, {"method": "POST", "path": "/a", "body": {}}),
    "batch": ("rest", {}, {"method": "POST", "path": "/$batch", "batch": [{"method": "POST", "path": "X", "body": {}}]}),
    "connect": ("rest", {}, {"method": "CONNECT", "path": "/a"}),
    "graphql": ("graphql", {"persisted_queries": "apq"}, {"query": "mutation { a }"}),
    "jsonrpc": ("jsonrpc", {}, {"method": "m"}),
    "odoo": ("jsonrpc", {"dialect": "odoo"}, {"method": "m.load"}),
    "legacy": ("jsonrpc", {"dialect": "odoo_legacy", "database": "d"}, {"method": "m.load"}),
    "tryton": ("jsonrpc", {"dialect": "tryton", "database": "d"}, {"method": "m.m", "params": [{}]}),
    "soap": ("soap", {"wsdl": "wsdl/x.wsdl"}, {"operation": "Do"}),
}  # fmt: skip


class Hostile:
    """Answers each request with bytes of chance, the same in each run, some of which repeat the request."""

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(seed)
        self.base_url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(self._bytes(head))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _bytes(self, head: bytes) -> bytes:
        chance = self._chance
        echo = head.decode("latin-1").replace("\r\n", " ")
        if chance.random() < 0.1:
            return f"HTTP/1.1 nonsense about {echo}\r\n\r\n".encode()
        said = json.dumps({"error": {"message": echo, "code": echo}}).replace("/", r"\/")
        body = (
            said.encode(chance.choice(["utf-8", "utf-16"]))
            if chance.random() < 0.3
            else chance.choice(BODIES)
        )
        headers = chance.sample(HEADERS, chance.choice([0, 1, 1, 2]))
        lines = [f"HTTP/1.1 {chance.choice(STATUSES)}", *headers, f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + body


@pytest.fixture
async def hostile(request: pytest.FixtureRequest) -> AsyncIterator[Hostile]:
    hostile = Hostile(request.node.name)
    server = await asyncio.start_server(hostile.answer, "127.0.0.1", 0)
    hostile.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield hostile


def auths(kind: str, url: str) -> list[dict[str, Any]]:
    if kind in ("legacy", "tryton"):
        return [{"type": "login", "username": "u", "password": SECRET}]
    return [
        {"type": "api_key", "query": "k", "key": SECRET},
        {"type": "basic", "username": "u", "password": SECRET},
        {"type": "oauth2_refresh_token", "token_url": f"{url}/t", "client_id": "c", "refresh_token": SECRET},
        {
            "type": "session",
            "path": "/l",
            "token": "access_token",
            "header": "Cookie",
            "query": {"p": SECRET},
        },
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_no_server_should_send(
    hostile: Hostile, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.wsdl_loading.try_out", lambda _documents: None)
    name, options, request = KINDS[kind]
    files = {"wsdl/x.wsdl": wsdl("<xs:sequence/>")} if kind == "soap" else {}
    settings: Mapping[str, Any] = {"options": options, "egress": LOOPBACK, "files": files, "timeout_s": 5.0}
    for at in range(ROUNDS):
        of_kind = auths(kind, hostile.base_url)
        auth = of_kind[at % len(of_kind)]
        connector = registry.open_connector(name, ConnectionSettings(hostile.base_url, auth, **settings))
        outcome = await connector.send(connector.prepare(request, "k"))
        await connector.aclose()
        written = msgspec.json.Encoder(decimal_format="number").encode(outcome)
        assert b"s3cret" not in written, outcome
