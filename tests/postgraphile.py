"""PostGraphile, a GraphQL server that is not ours: mutations and queries over the tables of a PostgreSQL schema."""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

_PROGRAM = Path(__file__).parent / "graphql_server/node_modules/.bin/postgraphile"
_URL = re.compile(rb"(http://127\.0\.0\.1:\d+/graphql)\b")
START_S = 60.0


def _command() -> list[str]:
    """Skips the test where it is not installed; in CI, which installs it, that is a failure."""
    node = shutil.which("node")
    if node is not None and _PROGRAM.exists():
        return [node, str(_PROGRAM)]
    missing = "no PostGraphile: npm install --prefix tests/graphql_server (needs Node.js), as .ci/run does"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@asynccontextmanager
async def postgraphile(dsn: str, schema: str) -> AsyncIterator[str]:
    """The URL of its endpoint. Errors tell PostgreSQL's code, which an operator has to ask for."""
    command = [
        *_command(), "--connection", dsn, "--schema", schema, "--host", "127.0.0.1", "--port", "0", "--disable-graphiql",
        "--extended-errors", "errcode",
    ]  # fmt: skip
    server = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    assert server.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            said = b""
            while not (found := _URL.search(said)):
                line = await server.stdout.readline()
                assert line, f"PostGraphile ended: {said.decode()}"
                said += line
        reading = asyncio.create_task(_drain(server.stdout))
        yield found[1].decode()
        reading.cancel()
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


async def _drain(output: asyncio.StreamReader) -> None:
    """It logs each request, and would stop when nobody reads."""
    while await output.read(65_536):
        pass
