"""However the bytes are cut into reads, every message arrives whole and in order."""

import random
from typing import Any

import pytest

from eventbus.nats_client import NatsClient
from eventbus.nats_parser import LARGE, RawParser

KINDS = ["msg", "msg", "msg", "hmsg", "hmsg", "ping", "info", "err"]


class Listener:
    """Stands in for the client: remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        self.heard.append((sid, subject, reply, headers or b"", data))

    async def _process_ping(self) -> None:
        self.heard.append("ping")

    async def _process_info(self, info: object) -> None:
        self.heard.append(info)

    async def _process_err(self, error: str) -> None:
        self.heard.append(error)


def some_lines(chance: random.Random) -> tuple[list[Any], bytes]:
    expected: list[Any] = []
    stream = b""
    for _ in range(40):
        kind = chance.choice([*KINDS * 4, "large"])
        sid, reply = chance.choice([1, 1, 1, 2]), chance.choice([b"", b"$JS.ACK.a.b"])
        body = chance.choice([b"", b"x", b"\r\n", b"MSG a 1 3\r\nPING\r\n", chance.randbytes(300)])
        headers = b"NATS/1.0\r\nA: 1\r\n\r\n" if kind == "hmsg" else b""
        if kind == "large":
            body = chance.randbytes(LARGE + 1)
        if kind in ("msg", "hmsg", "large"):
            sizes = b"%d %d" % (len(headers), len(headers + body)) if headers else b"%d" % len(body)
            words = [b"HMSG" if headers else b"MSG", b"s.t", b"%d" % sid, reply, sizes]
            stream += b" ".join(word for word in words if word) + b"\r\n" + headers + body + b"\r\n"
            expected.append((sid, b"s.t", reply, headers, body))
        else:
            stream += {"ping": b"PING\r\n", "info": b'INFO {"a":1}\r\n', "err": b"-ERR 'oh no'\r\n"}[kind]
            expected.append({"ping": "ping", "info": {"a": 1}, "err": "'oh no'"}[kind])
    return expected, stream


@pytest.mark.parametrize("seed", range(12))
async def test_messages_survive_any_cut(seed: int) -> None:
    chance = random.Random(seed)
    expected, stream = some_lines(chance)
    listener = Listener()

    def raw(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        listener.heard.append((1, subject, reply, headers, payload))

    parser = RawParser(listener, {1: raw})
    longest = chance.choice([3, 50, 400, 32_768])
    while stream:
        cut = chance.randint(1, longest)
        if longest == 3 and len(stream) > 40_000:
            cut = 30_000
        await parser.parse(stream[:cut])
        stream = stream[cut:]
    assert listener.heard == expected


def test_the_client_parses_with_it() -> None:
    assert isinstance(NatsClient()._ps, RawParser)
