"""An ERP that answers at once, or hangs, and remembers when each request came: so cheap that the worker is what is measured.

A process of its own: `python -m bench.erp_sink FILE KIND`, which answers as `bench.kind_rows` says. It prints its port, and on SIGTERM writes one JSON line for each
request to FILE: when its last byte came (seconds since the epoch), path, body. Paths below `/hang` are answered after
30 s; below `/down` with 503 until somebody asks for `/_up`. `/_count` tells how many were answered with 200.
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from bench.kind_rows import KINDS, BenchKind

HANG_S = 30.0
_DOWN = b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class Log:
    requests: list[tuple[float, bytes, bytes]] = field(default_factory=list)
    up: bool = False

    def write(self, file: Path) -> None:
        with file.open("w", encoding="utf-8") as lines:
            for at, path, body in self.requests:
                lines.write(json.dumps([at, path.decode(), body.decode()]) + "\n")


class Sink(asyncio.Protocol):
    """One connection. Requests have a Content-Length or no body, as ours do."""

    def __init__(self, log: Log, kind: BenchKind) -> None:
        self._log = log
        answer = kind.answer
        self._kind = kind
        self._ok = b"" if callable(answer) else _ok(kind.content_type, answer)
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            size = _content_length(head)
            if len(self._buffer) < end + 4 + size:
                return
            body = self._buffer[end + 4 : end + 4 + size]
            self._buffer = self._buffer[end + 4 + size :]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        log = self._log
        if path.startswith(b"/_"):
            log.up = log.up or path == b"/_up"
            count = b"%d" % len(log.requests)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(count), count))
        elif path.startswith(b"/hang"):
            asyncio.get_running_loop().call_later(HANG_S, self._late)
        elif path.startswith(b"/down") and not log.up:
            self._transport.write(_DOWN)
        else:
            log.requests.append((time.time(), path, body))
            self._transport.write(self._ok or self._made_of(body))

    def _made_of(self, body: bytes) -> bytes:
        assert callable(self._kind.answer)
        return _ok(self._kind.content_type, self._kind.answer(body))

    def _late(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._ok)


def _ok(content_type: str, answer: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(answer)}\r\n\r\n"
    return head.encode() + answer


def _content_length(head: bytes) -> int:
    found = head.lower().partition(b"\r\ncontent-length:")[2]
    return int(found.partition(b"\r\n")[0]) if found else 0


async def serve(file: Path, kind: BenchKind) -> None:
    log, stopped = Log(), asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sink(log, kind), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    server.close()
    log.write(file)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(Path(sys.argv[1]), KINDS[sys.argv[2]]))
