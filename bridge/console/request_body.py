"""A request's body: no more of it than may be, no longer than it may take, and never more of all than fits."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

DRAIN_BYTES = 8 * 2**20
"""Read on, of a body that is too large, before the connection is closed: most senders read only then."""
_LEAST_S, _BYTES_A_SECOND = 15.0, 2**18


class BodyTooLarge(Exception):
    """More than `max_bytes`."""


class BodyTooSlow(Exception):
    """It did not come in time."""


class NoRoom(Exception):
    """Too many bodies are held already."""


class BodyMemory:
    """How many bytes of bodies are held at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.size

    def take(self, size: int) -> None:
        """Raises NoRoom."""
        if self.held + size > self._limit:
            raise NoRoom
        self.held += size


class Share:
    """What one request holds."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.size = 0

    def take(self, size: int) -> None:
        self._memory.take(size)
        self.size += size


async def read_body(request: Request, max_bytes: int, share: Share) -> bytes:
    """The whole body. Raises BodyTooLarge, BodyTooSlow, NoRoom, ClientDisconnect."""
    announced = request.headers.get("content-length", "")
    if "expect" in request.headers and announced.isdecimal() and int(announced) > max_bytes:
        raise BodyTooLarge  # the sender asked before it began
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_LEAST_S + max_bytes / _BYTES_A_SECOND):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes + DRAIN_BYTES:
                    break
                if size <= max_bytes:
                    share.take(len(part))
                    parts.append(part)
    except TimeoutError:
        raise BodyTooSlow from None
    if size > max_bytes:
        raise BodyTooLarge
    return b"".join(parts)
