"""Connecting, asking and losing, against a real server."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

import eventbus.connection
import eventbus.nats_client
from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.server_process import free_port
from eventbus import wire
from eventbus.connection import Connection, connect
from eventbus.errors import ConnectionLost, JetStreamError, NatsRefused, NatsUnreachable, NoAnswer
from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    server = f"nats://user:hidden@127.0.0.1:{free_port()}"
    with pytest.raises(NatsUnreachable) as error:
        await connect(NatsSettings(servers=(server,)), name="test", reconnect=False)
    assert server.replace("user:hidden@", "") in str(error.value)
    assert "hidden" not in str(error.value)


async def test_a_wrong_password_is_a_refusal_and_not_shown(tmp_path: Path) -> None:
    async with PasswordNats(tmp_path) as url:
        settings = NatsSettings(servers=(url,), user="bridge", password="wrong")
        with pytest.raises(NatsRefused, match=r"(?i)authorization") as error:
            await connect(settings, name="test", reconnect=True)
        assert "wrong" not in str(error.value)
        right = NatsSettings(servers=(url,), user="bridge", password="right")
        async with await connect(right, name="test", reconnect=False) as connection:
            assert connection.max_payload == 2**20


async def test_one_of_several_servers_is_enough(nats_server: EmbeddedNats) -> None:
    servers = (f"nats://127.0.0.1:{free_port()}", nats_server.url)
    async with await connect(NatsSettings(servers=servers), name="test", reconnect=False) as connection:
        assert await JetStream(connection).call("INFO")


async def test_nobody_there_is_an_error_and_silence_another(
    connection: Connection, jetstream: JetStream
) -> None:
    with pytest.raises(JetStreamError) as error:
        await jetstream.publish("test.nobody", b"")
    assert error.value.err_code == 503
    await connection.subscribe("test.silent", lambda *_: None)
    with pytest.raises(NoAnswer, match=r"test\.silent"):
        await connection.request("test.silent", within=0.05)


@pytest.mark.parametrize("later", range(4))
async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    subscription = await connection.subscribe("test.ceasing", lambda *_: None)
    pongs: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def ping(pong: asyncio.Future[None]) -> None:
        pongs.put_nowait(pong)

    monkeypatch.setattr(connection.client, "_send_ping", ping)
    ceasing = asyncio.create_task(subscription.cease())
    (await pongs.get()).set_result(None)
    for _ in range(later):
        await asyncio.sleep(0)
    wanted = ceasing.cancel()
    await asyncio.wait([ceasing])
    assert ceasing.cancelled() is wanted


async def test_an_error_of_jetstream_keeps_its_code(jetstream: JetStream) -> None:
    with pytest.raises(JetStreamError, match="nowhere") as error:
        await jetstream.call("STREAM.INFO.nowhere")
    assert (error.value.code, error.value.err_code) == (404, 10059)
    assert await jetstream.stream_info("nowhere") is None


async def test_without_reconnect_a_killed_server_ends_the_connection_and_its_requests(
    own_nats: EmbeddedNats,
) -> None:
    settings = NatsSettings(servers=(own_nats.url,))
    async with await connect(settings, name="test", reconnect=False) as connection:
        await connection.subscribe("test.silent", lambda *_: None)
        asking = asyncio.create_task(connection.request("test.silent", within=60))
        await connection.request("$JS.API.INFO")
        await own_nats.kill()
        async with asyncio.timeout(10):
            await connection.lost.wait()
            with pytest.raises(ConnectionLost, match=own_nats.url):
                await asking
        with pytest.raises(ConnectionLost):
            await connection.request("$JS.API.INFO")


async def test_a_server_that_falls_silent_is_lost_even_while_we_write(
    own_nats: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventbus.connection, "PING_INTERVAL_S", 0.2)
    monkeypatch.setattr(eventbus.nats_client, "WRITE_TIMEOUT_S", 0.5)
    settings = NatsSettings(servers=(own_nats.url,))
    async with await connect(settings, name="test", reconnect=False) as connection:
        os.kill(own_nats.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(10):
                with pytest.raises(ConnectionLost):
                    await flood(connection)
                await connection.lost.wait()
        finally:
            os.kill(own_nats.pid, signal.SIGCONT)


async def flood(connection: Connection) -> None:
    while True:
        await connection.send(wire.pub(b"test", b"", b"x" * 2**20))


async def test_with_reconnect_subscriptions_go_on_after_a_restart(own_nats: EmbeddedNats) -> None:
    settings = NatsSettings(servers=(own_nats.url,))
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with await connect(settings, name="test", reconnect=True) as connection:
        await connection.subscribe("test.>", lambda *parts: heard.put_nowait(parts[3]))
        await own_nats.kill()
        await own_nats.start()
        async with asyncio.timeout(10):
            while True:
                try:
                    await connection.request("$JS.API.INFO", within=1)
                    break
                except (ConnectionLost, NoAnswer):
                    await asyncio.sleep(0.05)
            await connection.send(wire.pub(b"test.again", b"", b"hello"))
            assert await heard.get() == b"hello"
        assert not connection.lost.is_set()
    assert connection.lost.is_set()


class PasswordNats:
    """A server that asks for a password; `async with` gives its URL."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedNats(folder)

    async def __aenter__(self) -> str:
        configure = self._server._write_config

        def with_password(name: str, port: int) -> Path:
            config = configure(name, port)
            with config.open("a") as file:
                file.write("authorization { user: bridge, password: right }\n")
            return config

        self._server._write_config = with_password  # type: ignore[method-assign]  # the only door to its settings
        await self._server.start()
        return self._server.url

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()
