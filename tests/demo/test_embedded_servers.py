"""The embedded servers start, keep their data, and never outlive whoever started them."""

import asyncio
import contextlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from nats.aio.client import Client

from bridge.demo import embedded_server, nats_server, server_process
from bridge.demo.nats_server import EmbeddedNats, find_nats
from bridge.demo.postgres_server import EmbeddedPostgres
from bridge.demo.server_process import LAUNCHER, PortTaken, ServerFailed

# Starts both servers below argv[1], prints where they are, and waits; when interrupted it asks PostgreSQL
# once more before it leaves.
PARENT = """
import asyncio, json, os, sys
from pathlib import Path
import psycopg
from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres

async def main():
    folder = Path(sys.argv[1])
    async with EmbeddedPostgres(folder / "pg") as pg, EmbeddedNats(folder / "nats") as nats:
        print(json.dumps({"pids": [pg.pid, nats.pid], "dsn": pg.dsn(), "euid": os.geteuid()}), flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            async with await psycopg.AsyncConnection.connect(pg.dsn()) as connection:
                await connection.execute("SELECT 1")
            print("PostgreSQL outlived Ctrl-C", flush=True)

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Parent:
    """A process that runs both servers, and what it said of them."""

    process: asyncio.subprocess.Process
    pids: list[int]
    euid: int


@contextlib.asynccontextmanager
async def parent_of_servers(folder: Path, *before: str) -> AsyncIterator[Parent]:
    process = await asyncio.create_subprocess_exec(
        *(*before, sys.executable, "-c", PARENT, str(folder)),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        yield Parent(process, said["pids"], said["euid"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@contextlib.contextmanager
def ends(pids: list[int], within_s: float = 20) -> Iterator[None]:
    """Every process of `pids`, alive now, ends in or soon after the block."""
    files = [os.pidfd_open(pid) for pid in pids]
    yield
    for file, pid in zip(files, pids, strict=True):
        assert select.select([file], [], [], within_s)[0], f"process {pid} still runs"
        os.close(file)


async def test_killed_and_started_again_they_keep_port_and_data(
    own_postgres: EmbeddedPostgres, own_nats: EmbeddedNats
) -> None:
    dsn, url = own_postgres.dsn(), own_nats.url
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    client = Client()
    await client.connect(url)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"7")
    await client.close()

    await asyncio.gather(own_postgres.kill(), own_nats.kill())
    await asyncio.gather(own_postgres.start(), own_nats.start())

    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        assert await (await connection.execute("SELECT n FROM kept")).fetchone() == (7,)
    await (client := Client()).connect(url)
    assert (await client.jetstream().get_last_msg("KEPT", "kept")).data == b"7"
    await client.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_stopped_postgres_is_gone(own_postgres: EmbeddedPostgres, mode: str) -> None:
    with ends([own_postgres.pid]):
        await own_postgres.stop(mode)  # type: ignore[arg-type]  # a parameter's type is str
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(own_postgres.dsn())


async def test_their_parent_killed_they_end_and_their_folders_start_again(tmp_path: Path) -> None:
    async with parent_of_servers(tmp_path) as parent:
        with ends(parent.pids):
            parent.process.kill()
    async with EmbeddedPostgres(tmp_path / "pg") as pg, EmbeddedNats(tmp_path / "nats") as nats:
        assert find_nats(tmp_path / "nats") == nats.url
        async with await psycopg.AsyncConnection.connect(pg.dsn()) as connection:
            await connection.execute("SELECT 1")


async def test_the_terminals_interrupt_reaches_only_the_parent_which_stops_them(tmp_path: Path) -> None:
    async with parent_of_servers(tmp_path) as parent:
        with ends(parent.pids):
            os.killpg(parent.process.pid, signal.SIGINT)
        said, _ = await asyncio.wait_for(parent.process.communicate(), 20)
    assert b"PostgreSQL outlived Ctrl-C" in said
    assert "database system is shut down" in (tmp_path / "pg" / "postgres.log").read_text()
    assert find_nats(tmp_path / "nats") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test here already runs without root")
async def test_they_need_no_root(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    launcher = (sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), "9", "nobody")
    async with parent_of_servers(tmp_path, *launcher) as parent:
        assert parent.euid == 65534
        with ends(parent.pids):
            parent.process.kill()


async def test_folders_that_only_root_may_enter_are_no_obstacle(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(0o700)
    async with EmbeddedPostgres(private / "pg") as pg:
        async with await psycopg.AsyncConnection.connect(pg.dsn()) as connection:
            await connection.execute("SELECT 1")
        assert private.stat().st_mode & 0o777 == 0o700


async def test_two_servers_never_share_a_folder(
    own_nats: EmbeddedNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "LOCK_DEADLINE_S", 0.1)
    with pytest.raises(ServerFailed, match=rf"another nats-server is running in {tmp_path}/own_nats"):
        await EmbeddedNats(tmp_path / "own_nats").start()
    assert find_nats(tmp_path / "own_nats") == own_nats.url


async def test_an_initdb_that_was_killed_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "pg" / "pgdata.new").mkdir(parents=True)
    (tmp_path / "pg" / "pgdata.new" / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres(tmp_path / "pg") as pg:
        assert pg.port


async def test_a_port_taken_by_others_is_not_mistaken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(nats_server, "FIND_TIMEOUT_S", 0.1)
        with pytest.raises(PortTaken, match="address already in use"):
            await EmbeddedNats(tmp_path / "fixed", port=port).start()
        ports = iter([port, server_process.free_port(), port, server_process.free_port()])
        monkeypatch.setattr(embedded_server, "free_port", ports.__next__)
        async with EmbeddedNats(tmp_path / "nats") as nats, EmbeddedPostgres(tmp_path / "pg") as pg:
            assert port not in {nats.port, pg.port}


async def test_a_server_that_will_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="unrecognized configuration parameter") as failure:
        await EmbeddedPostgres(tmp_path, {"no_such_setting": "1"}).start()
    assert str(tmp_path / "postgres.log") in str(failure.value)


async def test_without_the_wheels_it_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for server in (EmbeddedPostgres(tmp_path / "pg"), EmbeddedNats(tmp_path / "nats")):
        with pytest.raises(ServerFailed, match=r"fracttal-bridge\[embedded\]"):
            await server.start()


def test_only_a_living_server_is_found(tmp_path: Path) -> None:
    assert find_nats(tmp_path) is None
    port = server_process.free_port()
    dead = {"url": f"nats://127.0.0.1:{port}", "pid": 1, "server_name": "bridge-dead"}
    (tmp_path / "server.json").write_text(json.dumps(dead))
    assert find_nats(tmp_path) is None
    (tmp_path / "server.json").write_text("{}")
    assert find_nats(tmp_path) is None
