"""What a pooler does to a login: it hands out process numbers of its own, and refuses replication."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_BACKEND_KEY = b"K\x00\x00\x00\x0c"
_REFUSAL = b"SFATAL\x00C08P01\x00Munsupported startup parameter: replication\x00\x00"


@asynccontextmanager
async def pooler(port: int) -> AsyncIterator[int]:
    """Listens before the server on that port; gives its own port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        startup = await _startup(reader, writer)
        if b"replication\x00" in startup:
            writer.write(b"E" + struct.pack("!i", len(_REFUSAL) + 4) + _REFUSAL)
        else:
            to_server, from_server = await _server(port, startup)
            await asyncio.gather(_copy(reader, from_server), _copy(to_server, writer, named=4_711_000))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def _startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The startup packet, once encryption was declined."""
    while True:
        head = await reader.readexactly(8)
        length, code = struct.unpack("!ii", head)
        if length != 8:
            return head + await reader.readexactly(length - 8)
        assert code in {80877103, 80877104}, "SSLRequest or GSSENCRequest"
        writer.write(b"N")


async def _server(port: int, startup: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(startup)
    return reader, writer


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, named: int | None = None) -> None:
    """named: the process number to be announced in place of the server's."""
    while data := await reader.read(65536):
        at = data.find(_BACKEND_KEY) if named is not None else -1
        if at >= 0:
            data = data[: at + 5] + struct.pack("!i", named) + data[at + 9 :]
            named = None
        writer.write(data)
    writer.close()
