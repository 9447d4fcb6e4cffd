"""How commands that end by themselves reach NATS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge.cli.context import nats_servers
from bridge.settings import Settings
from eventbus.connection import connect
from eventbus.jetstream import JetStream
from eventbus.topology import desired_streams, ensure_topology


@asynccontextmanager
async def event_bus(settings: Settings, name: str) -> AsyncIterator[JetStream]:
    """JetStream, with every stream and bucket there. name: what the server's monitoring shows.

    Raises Unreachable (no embedded server runs), NatsUnreachable, NatsRefused, TopologyDiffers, NoRoom.
    """
    servers = nats_servers(settings)
    async with await connect(servers, name=name, reconnect=False) as connection:
        jetstream = JetStream(connection)
        await ensure_topology(jetstream, desired_streams(servers, settings.streams))
        yield jetstream
