"""What a contender has put into its stream, asked of the server in raw JSON."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from nats.aio.client import Client

POLL_S = 0.05
STALL_S = 60.0


class Stalled(Exception):
    """Nothing new arrived for STALL_S."""


async def create_stream(url: str, name: str) -> None:
    """A plain stream on disk for subjects `<name>.>`, without a window for duplicates to look up."""
    async with _connected(url) as client:
        config = {"name": name, "subjects": [f"{name}.>"], "storage": "file", "num_replicas": 1}
        await _ask(client, f"STREAM.CREATE.{name}", config)


async def filled(url: str, stream: str, subjects: str, expected: int) -> float:
    """Wait until `expected` messages are there; when the last one was stored, in seconds since 1970.

    Raises:
        Stalled: they stopped coming, or there are too many.
    """
    async with _connected(url) as client:
        count, since = 0, time.monotonic()
        while count < expected:
            if time.monotonic() - since > STALL_S:
                raise Stalled(f"{count} of {expected} events after {STALL_S:.0f} s without a new one")
            await asyncio.sleep(POLL_S)
            before, count = count, await _count(client, stream, subjects)
            if count > before:
                since = time.monotonic()
        if count > expected:
            raise Stalled(f"{count} events of {expected} changes: some were published twice")
        last = await _ask(client, f"STREAM.MSG.GET.{stream}", {"last_by_subj": subjects})
        return datetime.fromisoformat(_microseconds(last["message"]["time"])).timestamp()


async def _count(client: Client, stream: str, subjects: str) -> int:
    try:
        info = await _ask(client, f"STREAM.INFO.{stream}", {"subjects_filter": subjects})
    except LookupError:
        return 0
    return sum((info["state"].get("subjects") or {}).values())


async def _ask(client: Client, what: str, request: dict[str, Any]) -> dict[str, Any]:
    reply = await client.request(f"$JS.API.{what}", json.dumps(request).encode(), timeout=10)
    answer: dict[str, Any] = json.loads(reply.data)
    if error := answer.get("error"):
        raise LookupError(error["description"])
    return answer


def _microseconds(time_text: str) -> str:
    """RFC 3339 with nanoseconds, cut to what datetime reads."""
    whole, _, fraction = time_text.rstrip("Z").partition(".")
    return f"{whole}.{fraction[:6]:0<6}+00:00"


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Client]:
    client = Client()
    await client.connect(url)
    try:
        yield client
    finally:
        await client.close()
