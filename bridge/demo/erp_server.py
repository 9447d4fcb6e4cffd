"""What the simulated ERPs share: a real HTTP server on 127.0.0.1 with a log of its own, and trouble on demand.

The log is what the demo's judge and the tests believe: every request, and every effect (a document created,
changed or deleted), in the ERP's own order. A repeated request that changes nothing makes no second effect.
"""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict

from eventbus.event import encode_json

Action = Literal["created", "updated", "deleted"]
LARGEST_REQUEST = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the ERP read it. path: as sent, without the query. headers: names in lower case."""

    at: float
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Any

    @property
    def segments(self) -> list[str]:
        """The path's segments, decoded: `/a/39%2F7` is ["a", "39/7"]."""
        return [unquote(segment) for segment in self.path.strip("/").split("/")]

    @property
    def idempotency_key(self) -> str:
        return self.headers.get("idempotency-key", "")


@dataclass(frozen=True, slots=True)
class Effect:
    """What the ERP did. key: of its document; body: as received; at: seconds since the epoch."""

    at: float
    action: Action
    collection: str
    key: str
    idempotency_key: str
    body: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. body: a JSON value; text is sent as it is, None as nothing. cookies: one Set-Cookie each."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one request, instead of or around its handling.

    reply: answered so, and not handled. hold: waited for first. within: waited for when half of the answer is sent.
    cut: the connection is dropped without an answer, "before" the request was handled or "after" it, or "within" it.
    """

    reply: Reply | None = None
    hold: asyncio.Event | None = None
    within: asyncio.Event | None = None
    cut: Literal["before", "after", "within"] | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """One request and what became of it. reply: None where no answer left. effects: what the request did."""

    call: Call
    reply: Reply | None
    effects: Sequence[Effect] = ()


class ErpServer(ABC):
    """`async with SapErp() as erp: erp.base_url …`. Handles one request at a time, in the order they arrive."""

    def __init__(self, authorization: str = "") -> None:
        """authorization: the header every request must have; "": none asked for."""
        self.calls: list[Call] = []
        self.effects: list[Effect] = []
        self.port = 0
        """Any that is free, or what is set before it is up."""
        self.watch: Callable[[Answered], None] = lambda _answered: None
        """Told of each request as it is answered."""
        self.trouble: Callable[[Call], Step] = lambda _call: Step()
        """What happens to requests that no script speaks of."""
        self._authorization = authorization
        self._script: deque[Step] = deque()
        self._unavailable = False
        self._changed = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._server: web.Server | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def handle(self, call: Call) -> Reply:
        """What the ERP makes of an authorized request. Without awaits: an effect is whole or not at all."""

    def unauthorized(self) -> Reply:
        return Reply(401, {"message": "Invalid credentials"})

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def up(self) -> None:
        """Listens, on the same port as before; ends `unavailable`, too."""
        self._unavailable = False
        if self._listener is None:
            self._server = web.Server(self._serve, access_log=None)
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(self._server, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuses connections and drops those there are, whatever they were about."""
        if self._listener is None or self._server is None:
            return
        self._listener.close()
        await self._server.shutdown(0.001)  # 0 would mean: wait for all
        self._listener = self._server = None

    def unavailable(self) -> None:
        """Answers 503 to everything, until `up`."""
        self._unavailable = True

    def accept(self, authorization: str) -> None:
        """From now on every request must have this header."""
        self._authorization = authorization

    def script(self, steps: Iterable[Step]) -> None:
        """The fate of the next requests, one step each, after those scripted before."""
        self._script.extend(steps)

    async def until(self, holds: Callable[[], bool], timeout_s: float = 40.0) -> None:
        """Waits until `holds`, which is asked again after each request. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def record(self, action: Action, collection: str, key: str, call: Call) -> None:
        self.effects.append(Effect(time.time(), action, collection, key, call.idempotency_key, call.body))

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        request = request.clone(client_max_size=LARGEST_REQUEST)
        call = _call(request, await request.read())
        self.calls.append(call)
        self._changed.set()
        return await self.answer(call, request)

    async def answer(self, call: Call, request: web.BaseRequest) -> web.StreamResponse:
        """What becomes of a request; one whose answer is lost closes its connection."""
        step = self.fate(call)
        if step.hold is not None:
            await step.hold.wait()
        answered = self._answered(call, step)
        self._changed.set()
        self.watch(answered)
        if answered.reply is None:
            return _cut(request)
        response = _response(answered.reply)
        if step.within is not None or step.cut == "within":
            return await _in_halves(request, response, step)
        return response

    def _answered(self, call: Call, step: Step) -> Answered:
        if step.cut == "before":
            return Answered(call, None)
        before = len(self.effects)
        reply = step.reply or self._reply(call)
        lost = step.cut == "after" or self.cuts(call, reply)
        return Answered(call, None if lost else reply, self.effects[before:])

    def fate(self, call: Call) -> Step:
        """What happens to this request: the next step of the script, if there is one."""
        return self._script.popleft() if self._script else self.trouble(call)

    def _reply(self, call: Call) -> Reply:
        if self._unavailable:
            return Reply(503, {"message": "Down for maintenance"}, {"Retry-After": "1"})
        if self._authorization and call.headers.get("authorization") != self._authorization:
            return self.unauthorized()
        return self.handle(call)

    def cuts(self, _call: Call, _reply: Reply) -> bool:
        """Whether this answer, of a request that was handled, is lost on its way."""
        return False


def basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def _call(request: web.BaseRequest, content: bytes) -> Call:
    path, _, query = request.raw_path.partition("?")
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        body = json.loads(content, parse_float=Decimal) if content else None
    except ValueError:
        body = content.decode(errors="replace")
    return Call(time.time(), request.method, path, query, headers, body)


def _response(reply: Reply) -> web.Response:
    headers = CIMultiDict(reply.headers)
    for cookie in reply.cookies:
        headers.add("Set-Cookie", cookie)
    if reply.body is None:
        return web.Response(status=reply.status, headers=headers)
    text = reply.body if isinstance(reply.body, str) else encode_json(reply.body).decode()
    kind = "text/plain" if isinstance(reply.body, str) else "application/json"
    headers.setdefault("Content-Type", f"{kind}; charset=utf-8")
    return web.Response(status=reply.status, headers=headers, body=text.encode())


def _cut(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _in_halves(request: web.BaseRequest, whole: web.Response, step: Step) -> web.StreamResponse:
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if step.within is not None:
        await step.within.wait()
    if step.cut == "within":
        return _cut(request)
    await response.write(body[len(body) // 2 :])
    await response.write_eof()
    return response
