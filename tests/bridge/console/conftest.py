"""The streams of a namespace of the test's own."""

from collections.abc import AsyncIterator

import pytest

from bridge.demo.nats_server import EmbeddedNats
from tests.pipeline.delivering import Bus, bus


@pytest.fixture
async def shop(nats_server: EmbeddedNats, namespace: str) -> AsyncIterator[Bus]:
    async with bus(nats_server.url, namespace) as shop:
        yield shop
