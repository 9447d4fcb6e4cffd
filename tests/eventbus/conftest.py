"""A connection and JetStream on the shared server, with a stream of the test's own."""

from collections.abc import AsyncIterator

import pytest

from bridge.demo.nats_server import EmbeddedNats
from eventbus.connection import Connection, connect
from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings


@pytest.fixture
async def connection(nats_server: EmbeddedNats) -> AsyncIterator[Connection]:
    settings = NatsSettings(servers=(nats_server.url,))
    async with await connect(settings, name="test", reconnect=False) as connection:
        yield connection


@pytest.fixture
def jetstream(connection: Connection) -> JetStream:
    return JetStream(connection)
