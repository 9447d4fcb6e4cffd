"""A source that is set up as docs/dba.md asks, on a cluster that may be reconfigured."""

import dataclasses
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge.demo.postgres_server import EmbeddedPostgres
from bridge.shipped_files import shipped
from cdc.setup import set_up
from eventbus.settings import NatsSettings
from tests.cdc.capturing import TABLES, Source
from tests.conftest import POSTGRES_SETTINGS

SOUND = {**POSTGRES_SETTINGS, "max_slot_wal_keep_size": "2GB"}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sound_postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """A cluster set up as docs/dba.md asks, for the findings about the whole server."""
    async with EmbeddedPostgres(tmp_path_factory.mktemp("sound"), SOUND) as server:
        yield server


@pytest.fixture
async def sound_source(sound_postgres: EmbeddedPostgres) -> AsyncIterator[Source]:
    """Set up for the role `reader`, which has no other rights."""
    admin = Source(sound_postgres.dsn(), NatsSettings())
    await admin.sql("CREATE DATABASE shop TEMPLATE template0")
    found = Source(sound_postgres.dsn("shop"), NatsSettings())
    reader = sound_postgres.dsn("shop", "reader", "secret")
    found.settings = dataclasses.replace(found.settings, dsn=reader, outbox="bridge.outbox", wal_limit=2**30)
    await found.sql(TABLES)
    await set_up(found.settings, found.dsn, shipped("migrations"))
    yield found
    await admin.sql("DROP DATABASE shop WITH (FORCE)", "DROP ROLE reader")
