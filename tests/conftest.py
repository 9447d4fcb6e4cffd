"""Real servers for every test that does I/O, run by the same code as `bridge demo`.

`postgres` and `nats_server` are started once, when the first test asks; `database` and `namespace` give
each test a place of its own on them. A test that kills or reconfigures a server takes `own_postgres` or
`own_nats`. A test that takes `any_postgres`, or `any_database` on it, runs on each supported version.
"""

import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
import structlog
from nats.aio.client import Client
from psycopg import sql

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from tests.postgres_versions import programs_of

# What survives a killed process is in the kernel's cache; only a loss of power would need fsync.
POSTGRES_SETTINGS = {"fsync": "off", "max_connections": "200", "max_prepared_transactions": "10"}


@pytest.fixture(scope="session", autouse=True)
def loggers_are_not_kept() -> Iterator[None]:
    """A command that runs in this process would keep its loggers, and `capture_logs` of later tests hear nothing."""
    configure = structlog.configure

    def kept_nowhere(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(structlog, "configure", kept_nowhere)
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), POSTGRES_SETTINGS) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_15(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """Debian's, the one with wal2json."""
    folder = tmp_path_factory.mktemp("postgres_15")
    async with EmbeddedPostgres(folder, POSTGRES_SETTINGS, programs_of(15)) as server:
        async with await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True) as admin:
            # 15.19 and later use only the plugins that they are told to trust; 15.18 does not know the setting
            known = await admin.execute("SELECT FROM pg_settings WHERE name = 'output_plugin_libraries'")
            if await known.fetchall():
                await admin.execute("ALTER SYSTEM SET output_plugin_libraries = pgoutput, wal2json")
                await admin.execute("SELECT pg_reload_conf()")
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_16(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """The wheel pgserver's, without contrib."""
    folder = tmp_path_factory.mktemp("postgres_16")
    async with EmbeddedPostgres(folder, POSTGRES_SETTINGS, programs_of(16)) as server:
        yield server


@pytest.fixture(params=["postgres_15", "postgres_16", "postgres"], ids=["15", "16", "18"])
def any_postgres(request: pytest.FixtureRequest) -> EmbeddedPostgres:
    """Each version in turn, started when the first test asks for it."""
    server: EmbeddedPostgres = request.getfixturevalue(request.param)
    return server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedNats]:
    async with EmbeddedNats(tmp_path_factory.mktemp("nats"), sync_interval="2m") as server:
        yield server


@pytest.fixture
async def own_postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A cluster of this test alone, to be killed, stopped and started."""
    async with EmbeddedPostgres(tmp_path / "own_postgres", POSTGRES_SETTINGS) as server:
        yield server


@pytest.fixture
async def own_nats(tmp_path: Path) -> AsyncIterator[EmbeddedNats]:
    """A nats-server of this test alone, to be killed, stopped and started."""
    async with EmbeddedNats(tmp_path / "own_nats") as server:
        yield server


@pytest.fixture
async def database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The superuser's DSN of an empty database; dropped afterwards with its slots and sessions."""
    async with empty_database(postgres) as dsn:
        yield dsn


@pytest.fixture
async def any_database(any_postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The same, on each version in turn."""
    async with empty_database(any_postgres) as dsn:
        yield dsn


@asynccontextmanager
async def empty_database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    async with await psycopg.AsyncConnection.connect(postgres.dsn(), autocommit=True) as admin:
        await admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        yield postgres.dsn(name)
        # DROP DATABASE refuses while a slot of it is read, and takes the idle ones along.
        await admin.execute(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots"
            " WHERE database = %s AND active",
            [name],
        )
        await admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
async def namespace(nats_server: EmbeddedNats) -> AsyncIterator[str]:
    """A namespace (`nats.namespace`) on the shared server; its streams and buckets are deleted afterwards."""
    name = f"t{secrets.token_hex(6)}"
    yield name
    client = Client()
    await client.connect(nats_server.url)
    try:
        while found := await _streams_of(client, name):
            for stream in found:
                await client.request(f"$JS.API.STREAM.DELETE.{stream}", timeout=10)
    finally:
        await client.close()


async def _streams_of(client: Client, namespace: str) -> list[str]:
    """The namespace's streams on the first page (1,024 names) that has any; buckets are streams too."""
    offset, total = 0, 1
    while offset < total:
        reply = await client.request(
            "$JS.API.STREAM.NAMES", json.dumps({"offset": offset}).encode(), timeout=10
        )
        page = json.loads(reply.data)
        names, total = page["streams"] or [], page["total"]
        if found := [name for name in names if re.match(rf"((KV|OBJ)_)?{namespace}-", name)]:
            return found
        offset += page["limit"]
    return []
