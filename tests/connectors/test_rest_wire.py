"""The kind `rest` against a server that shows the very bytes, and misbehaves."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import (
    ConnectionSettings,
    Connector,
    Delivered,
    Outcome,
    Rejected,
    Throttled,
    Unavailable,
    Uncertain,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Handler = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request, headers and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        _, _, rest = head.lower().partition(b"content-length:")
        return head + await self.reader.readexactly(int(rest.split(b"\r\n")[0]) if rest else 0)

    async def say(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()


@asynccontextmanager
async def server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Runs the handler for each connection, then closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await listener.wait_closed()


@asynccontextmanager
async def connected(base_url: str, **settings: Any) -> AsyncIterator[Connector]:
    allow = EgressPolicy((ip_network("127.0.0.0/8"),))
    connector = registry.open_connector("rest", ConnectionSettings(base_url, egress=allow, **settings))
    try:
        yield connector
    finally:
        await connector.aclose()


async def send(connector: Connector, **request: Any) -> Outcome:
    return await connector.send(
        connector.prepare({"method": "POST", "path": "/x", "body": {}, **request}, "key")
    )


async def answered(answer: bytes, **request: Any) -> Outcome:
    """The outcome of one request that is read whole and answered with these bytes, then closed."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)

    async with server(handler) as base_url, connected(base_url, timeout_s=20.0) as connector:
        return await send(connector, **request)


async def test_the_target_is_sent_byte_for_byte() -> None:
    seen: list[bytes] = []

    async def handler(peer: Peer) -> None:
        while True:
            seen.append((await peer.request()).split(b"\r\n")[0])
            await peer.say(OK)

    async with server(handler) as base_url, connected(base_url + "/base%2F%41/") as connector:
        await send(connector, path="/Items('a%2Fb%27')/%41%7e//c:d;e=f", query={"$filter": "a eq 'b c+d'"})
        await send(connector, method="put", path="/eid:39.373.782%2F0019-79")
    assert seen == [
        b"POST /base%2F%41/Items('a%2Fb%27')/%41%7e//c:d;e=f?$filter=a%20eq%20'b%20c%2Bd' HTTP/1.1",
        b"PUT /base%2F%41/eid:39.373.782%2F0019-79 HTTP/1.1",
    ]


async def test_what_goes_out_is_what_the_preview_shows_and_the_credentials() -> None:
    seen: list[bytes] = []

    async def handler(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.say(OK)

    auth = {"type": "basic", "username": "bridge", "password": "contraseña"}
    async with server(handler) as base_url, connected(base_url, auth=auth) as connector:
        await send(connector, body={"description": 'say "ñ" \\ 🔧'}, headers={"X-Plant": "CL01"})
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = {line.lower() for line in head.split(b"\r\n")[1:]}
    assert lines == {
        b"host: " + base_url.removeprefix("http://").encode(),
        b"accept: application/json",
        b"accept-encoding: identity",
        b"authorization: basic ynjpzgdlomnvbnryyxnlw7fh",
        b"content-length: " + str(len(body)).encode(),
        b"content-type: application/json",
        b"idempotency-key: key",
        b"user-agent: fracttal-bridge",
        b"x-plant: cl01",
    }
    assert body.decode() == '{"description":"say \\"ñ\\" \\\\ 🔧"}'


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 201",
        b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\n{",
        b"HTTP/1.1 400 Bad\r\nContent-Length: 10\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=lambda answer: repr(answer)[:40],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_no_whole_answer_is_uncertain_and_sent_once(answer: bytes, method: str) -> None:
    requests = 0

    async def handler(peer: Peer) -> None:
        nonlocal requests
        await peer.request()
        requests += 1
        await peer.say(answer)

    async with server(handler) as base_url, connected(base_url, timeout_s=20.0) as connector:
        outcome = await send(connector, method=method)
    assert isinstance(outcome, Uncertain)
    assert requests == 1


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_reused_connection_that_dies_unanswered_is_uncertain_and_sent_once(method: str) -> None:
    """aiohttp alone would send the PUT a second time."""
    requests = 0

    async def handler(peer: Peer) -> None:
        nonlocal requests
        await peer.request()
        requests += 1
        await peer.say(OK)
        await peer.request()
        requests += 1

    async with server(handler) as base_url, connected(base_url) as connector:
        assert isinstance(await send(connector, method=method), Delivered)
        assert isinstance(await send(connector, method=method), Uncertain)
    assert requests == 2


async def test_a_connection_closed_while_idle_is_not_used_again() -> None:
    connections = 0
    gone = asyncio.Event()

    async def handler(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.request()
        await peer.say(OK)
        peer.writer.close()
        await peer.writer.wait_closed()
        gone.set()

    async with server(handler) as base_url, connected(base_url) as connector:
        for _ in range(20):
            assert isinstance(await send(connector), Delivered)
            await gone.wait()
            gone.clear()
    assert connections == 20


async def test_one_connection_is_kept_for_requests_one_after_the_other() -> None:
    connections = 0

    async def handler(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        while True:
            await peer.request()
            await peer.say(OK)

    async with server(handler) as base_url, connected(base_url) as connector:
        for _ in range(10):
            assert isinstance(await send(connector), Delivered)
    assert connections == 1


async def test_no_more_connections_than_the_concurrency() -> None:
    open_now = most = 0
    full = asyncio.Event()

    async def handler(peer: Peer) -> None:
        nonlocal open_now, most
        while True:
            await peer.request()
            open_now += 1
            most = max(most, open_now)
            if open_now == 3:
                full.set()
            await full.wait()
            open_now -= 1
            await peer.say(OK)

    async with server(handler) as base_url, connected(base_url, concurrency=3) as connector:
        outcomes = await asyncio.gather(*(send(connector) for _ in range(20)))
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert most == 3


async def test_waiting_for_a_connection_in_vain_sends_nothing() -> None:
    busy, done = asyncio.Event(), asyncio.Event()
    requests = 0

    async def handler(peer: Peer) -> None:
        nonlocal requests
        await peer.request()
        requests += 1
        busy.set()
        await done.wait()

    async with server(handler) as base_url, connected(base_url, concurrency=1, timeout_s=0.4) as connector:
        first = asyncio.create_task(send(connector))
        await busy.wait()
        second = asyncio.create_task(send(connector))
        third = await asyncio.wait_for(send(connector), 5)
        outcomes = [await first, await second, third]
        done.set()
    assert isinstance(outcomes[0], Uncertain)
    assert requests + sum(isinstance(outcome, Unavailable) for outcome in outcomes) == 3


async def test_drops_in_the_answer_do_not_stretch_the_timeout() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await peer.say(b" ")
            await asyncio.sleep(0.02)

    async with server(handler) as base_url, connected(base_url, timeout_s=0.3) as connector:
        outcome = await asyncio.wait_for(send(connector), 5)
    assert isinstance(outcome, Uncertain)
    assert outcome.answer is not None
    assert outcome.answer.status == 200


async def test_an_endless_answer_is_cut() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 400 Bad\r\n\r\n")
        while True:
            await peer.say(b"x" * 65_536)

    async with server(handler) as base_url, connected(base_url) as connector:
        outcome = await send(connector)
    assert isinstance(outcome, Rejected)
    assert outcome.answer is not None
    assert outcome.answer.truncated
    assert len(outcome.message) < 600


async def test_redirects_are_not_followed() -> None:
    outcome = await answered(
        b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    )
    assert isinstance(outcome, Rejected)
    assert "redirects are not followed" in outcome.message


async def test_cookies_are_not_kept() -> None:
    seen: list[bytes] = []

    async def handler(peer: Peer) -> None:
        while True:
            seen.append(await peer.request())
            await peer.say(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=secret\r\nContent-Length: 0\r\n\r\n")

    async with server(handler) as base_url, connected(base_url) as connector:
        outcomes = [await send(connector) for _ in range(2)]
    assert b"cookie" not in seen[1].lower()
    assert "secret" not in repr(outcomes)


async def test_an_answer_compressed_unasked_is_read() -> None:
    packed = gzip.compress(b'{"message": "no"}')
    head = b"HTTP/1.1 422 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    outcome = await answered(head + packed)
    assert isinstance(outcome, Rejected)
    assert outcome.message == "HTTP 422: no"


async def test_an_early_answer_without_reading_the_request_is_an_answer_or_uncertain() -> None:
    """A server that answers 413 and closes: the answer may be lost on the way, but is never a delivery."""

    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with server(handler) as base_url, connected(base_url) as connector:
        outcome = await send(connector, body=["x" * 5_000_000])
    assert isinstance(outcome, Rejected | Uncertain)


async def test_tls_spoken_to_a_plain_server_sends_nothing() -> None:
    async def handler(peer: Peer) -> None:
        await peer.reader.read(100)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with server(handler) as base_url, connected(base_url.replace("http:", "https:")) as connector:
        outcome = await send(connector)
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "tls"


async def test_a_certificate_that_nobody_vouches_for_sends_nothing(tmp_path: Path) -> None:
    requests = 0

    async def handler(peer: Peer) -> None:
        nonlocal requests
        await peer.request()
        requests += 1

    async with (
        server(handler, self_signed(tmp_path)) as base_url,
        connected(base_url.replace("http:", "https:")) as connector,
    ):
        outcome = await send(connector)
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "tls"
    assert "certificate" in outcome.message
    assert requests == 0


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1)
    dated = made.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2120, 1, 1, tzinfo=UTC)
    )
    (folder / "cert.pem").write_bytes(dated.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def test_a_name_that_nobody_knows_sends_nothing() -> None:
    async with connected("http://erp.invalid") as connector:
        outcome = await send(connector)
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "dns"


async def test_a_server_that_greets_first_is_not_asked_for_ever() -> None:
    connections = 0

    async def handler(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.say(b"220 mail ready\r\n")
        await peer.reader.read()

    async with server(handler) as base_url, connected(base_url, timeout_s=1.0) as connector:
        outcome = await send(connector)
    assert isinstance(outcome, Uncertain)
    assert connections == 1


async def test_a_bounded_retry_after_of_a_real_answer() -> None:
    outcome = await answered(b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(outcome, Throttled)
    assert outcome.after == 3.0
