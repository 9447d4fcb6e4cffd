"""An app served beside a command's work: at an address that is free, until it is told to stop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from bridge.asgi_server import bind, serve
from bridge.listen import AddressUnavailable, Listen


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    listening = bind(Listen("127.0.0.1", 0))
    url, stop = f"http://127.0.0.1:{listening.getsockname()[1]}", asyncio.Event()
    serving = asyncio.create_task(serve(app, listening, stop))
    try:
        yield url
    finally:
        stop.set()
        await asyncio.wait_for(serving, 10)


async def test_requests_are_answered_until_stop_is_set() -> None:
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async with served(Starlette(routes=[Route("/", hello)])) as url, httpx.AsyncClient() as client:
        assert (await client.get(url)).text == "hello"
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_a_defect_in_an_app_is_told_in_our_log() -> None:
    async def broken(_: Request) -> PlainTextResponse:
        raise RuntimeError("out of order")

    with capture_logs() as logs:
        async with served(Starlette(routes=[Route("/", broken)])) as url, httpx.AsyncClient() as client:
            assert (await client.get(url)).status_code == 500
    (told,) = logs
    assert (told["log_level"], told["because"], told["by"]) == (
        "error",
        "RuntimeError('out of order')",
        "uvicorn",
    )


def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressUnavailable, match=rf"cannot listen at 127.0.0.1:{port}: .*--listen"):
            bind(Listen("127.0.0.1", port))


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("0.0.0.0:9464", "0.0.0.0", 9464, "0.0.0.0:9464"),
        ("9464", "127.0.0.1", 9464, "127.0.0.1:9464"),
        (":9464", "127.0.0.1", 9464, "127.0.0.1:9464"),
        ("[::1]:9464", "::1", 9464, "[::1]:9464"),
        ("metrics.example:80", "metrics.example", 80, "metrics.example:80"),
    ],
)
def test_an_address_is_read_and_shown(text: str, host: str, port: int, shown: str) -> None:
    found = Listen.parse(text)
    assert (found, str(found)) == (Listen(host, port), shown)


@pytest.mark.parametrize("text", ["", "localhost", "a:b", "1.2.3.4:70000", "::1:9464", "host:1 2"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no address to listen at; write HOST:PORT"):
        Listen.parse(text)


def test_there_is_no_port_beyond_the_last() -> None:
    assert Listen("a", 65_530).after(5) == Listen("a", 65_535)
    with pytest.raises(ValueError, match="no port 65536"):
        Listen("a", 65_530).after(6)
