"""A stand-in for a server on loopback that passes bytes on, until it is told to hold, delay, stall or cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Self
from urllib.parse import urlsplit, urlunsplit

CARRY = 64
"""Bytes of what passed before that a search sees again: what is looked for may stand in two reads."""
Seen = Callable[[bytes], None]


class Direction:
    """One way through the proxy, over all its connections."""

    def __init__(self) -> None:
        self.delay = 0.0
        """Seconds for which each read is kept."""
        self.seen: Seen = lambda _: None
        """Told what comes, before it passes: it may hold this way or the other, and what it was told of waits too."""
        self.silent_after: bytes | None = None
        """The connection on which these come stays open, and nothing after them passes."""
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        """Nothing passes, an end neither, until `release`."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def passing(self, data: bytes) -> None:
        if data:
            self.seen(data)
        if self.delay:
            await asyncio.sleep(self.delay)
        await self._open.wait()


class Proxy:
    """`async with` listens on `port`. up: from client to server; down: back."""

    def __init__(self, target: int) -> None:
        self.up = Direction()
        self.down = Direction()
        self._target = target
        self._server: asyncio.Server | None = None
        self._port = 0
        self._links: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return self._port

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        """Resets every connection and refuses new ones; what was held is gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in self._links:
            link.cancel()
        if self._links:
            await asyncio.wait(self._links)

    async def mend(self) -> None:
        """Listens, again, and passes everything."""
        for way in (self.up, self.down):
            way.seen = lambda _: None
            way.release()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def stall(self) -> None:
        """As a router that forgot us: nothing passes, nobody is told, new connections are taken in silence."""
        self.up.hold()
        self.down.hold()

    def go_on(self) -> None:
        self.up.release()
        self.down.release()

    def instead_of(self, url: str) -> str:
        """The server's URL with our port."""
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{self._target}", f":{self.port}")))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(self._serve(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = None
        try:
            back, there = await asyncio.open_connection("127.0.0.1", self._target)
            ways = [
                asyncio.create_task(_pass(reader, there, self.up)),
                asyncio.create_task(_pass(back, writer, self.down)),
            ]
            async with _ended(ways):
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the server is down: so are we
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()


@contextlib.asynccontextmanager
async def _ended(tasks: list[asyncio.Task[None]]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            await way.passing(data)
            before, last, _ = data.partition(way.silent_after or data)
            writer.write(before + last)
            if way.silent_after and last:
                await asyncio.Event().wait()
            await writer.drain()
    await way.passing(b"")


def when(found: Callable[[bytes], object], then: Callable[[], None]) -> tuple[Seen, asyncio.Event]:
    """For `Direction.seen`: does `then` once, the first time that `found` holds of what comes; the event tells it."""
    happened, carried = asyncio.Event(), b""

    def seen(data: bytes) -> None:
        nonlocal carried
        if not happened.is_set() and found(carried + data):
            then()
            happened.set()
        carried = data[-CARRY:]

    return seen, happened
