"""One connection's HTTP/1.1: a bounded exchange that says whether the request may have left this machine.

aiohttp's session is used by itself, for a request through httpx costs three times as much. It must not follow, keep or
send again what is not asked for: redirects, cookies, a request whose connection was lost. No proxy is read from the
environment.
"""

import asyncio
import select
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from connectors.answers import decompressed
from connectors.egress import EgressPolicy, EgressRefused
from connectors.egress_guard import GuardedResolver, GuardedSockets
from connectors.error_text import one_line
from connectors.http_request import path_target
from connectors.protocol import Answer, ConnectionSettings, Unavailable, Uncertain
from connectors.tls import equip

LARGEST_ANSWER = 1_048_576
"""Bytes of an answer that are read; an ERP's answer to one document is a few kilobytes."""
_AT_A_GO = 1_048_576
_CONNECT_S = 10.0
_IDLE_S = 1.0
"""How long an idle connection is used again: less than servers keep theirs (the shortest common default is 2 s), so
that a request does not meet a connection that its server is just closing, and ends uncertain for nothing."""


class NoAnswer(Exception):
    """There is no whole answer. outcome: what that means, Unavailable where surely nothing was sent."""

    def __init__(self, outcome: Unavailable | Uncertain) -> None:
        super().__init__(outcome.message)
        self.outcome: Unavailable | Uncertain = outcome


@dataclass(frozen=True, slots=True)
class Received:
    """An answer as it came, names of headers in lower case. complete: False where it was cut at LARGEST_ANSWER."""

    status: int
    headers: Sequence[tuple[str, str]] = field(repr=False)
    content: bytes = field(repr=False)
    complete: bool

    def header(self, name: str) -> str:
        """The first value, "" where there is none. name: in lower case."""
        return next((value for found, value in self.headers if found == name), "")

    def unpacked(self) -> "Received":
        """Where a server compressed although it was asked not to; complete: whether that is all of it."""
        content, whole = decompressed(self.content, self.header("content-encoding"), LARGEST_ANSWER)
        return replace(self, content=content, complete=self.complete and whole)


@dataclass(slots=True)
class _Progress:
    """connected: a connection was given to the request, so from here on it may have been sent."""

    permit: Callable[[], None]
    connected: bool = False
    status: int | None = None


_progress: ContextVar[_Progress] = ContextVar("_progress")


class HttpClient:
    """Requests to one origin. Opens no connection before the first exchange.

    Raises SettingsInvalid where the connection's own certificate or key is none.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._origin = str(URL(settings.base_url).origin())
        self._prefix = path_target(urlsplit(settings.base_url).path or "/").rstrip("/")
        self._timeout_s = settings.timeout_s
        self._egress = settings.egress
        self._concurrency = settings.concurrency
        self._tls = _tls_with(settings.tls) if settings.tls else _tls()
        self._session: aiohttp.ClientSession | None = None

    async def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes,
        permit: Callable[[], None] = lambda: None,
    ) -> Received:
        """target: path and query as sent, below base_url's own path; permit: see Connector.send.

        Raises NoAnswer, and what `permit` raises.
        """
        progress = _Progress(permit)
        _progress.set(progress)
        try:
            async with asyncio.timeout(self._timeout_s):
                # encoded: the target goes out byte for byte, where yarl would tidy it
                answer = await self._opened().request(
                    method,
                    URL(self.url(target), encoded=True),
                    headers=headers,
                    data=_payload(content),
                    allow_redirects=False,
                    auto_decompress=False,
                )
                progress.status = answer.status
                return await _received(answer)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise NoAnswer(self._meaning(error, progress)) from None

    def url(self, target: str) -> str:
        """Where a request to this target goes, as sent."""
        return f"{self._origin}{self._prefix}{target}"

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = _session(self._egress, self._concurrency, self._tls)
        return self._session

    def _meaning(self, error: Exception, progress: _Progress) -> Unavailable | Uncertain:
        if not progress.connected:
            what = _words(error, min(_CONNECT_S, self._timeout_s), "no connection")
            code = _unsent_code(error)
            return Unavailable(f"{self._origin} cannot be reached: {what}; nothing was sent", code=code)
        what = _words(error, self._timeout_s, "no whole answer")
        if progress.status is None:
            return Uncertain(f"{self._origin} gave no answer after the request was sent: {what}")
        answer = Answer(progress.status, {}, None)
        return Uncertain(f"{self._origin} answered {answer.status}, but its answer was cut: {what}", answer)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


def _session(egress: EgressPolicy, concurrency: int, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=_LivePool(
            ssl=tls,
            limit=concurrency,
            keepalive_timeout=_IDLE_S,
            resolver=GuardedResolver(egress, aiohttp.ThreadedResolver()),
            socket_factory=GuardedSockets(egress),
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
        trust_env=False,
    )
    # aiohttp would send a PUT again by itself when its connection is lost, and it has no public switch for that;
    # whether a request may be repeated is the mapping's word (`repeat`).
    session._retry_connection = False  # noqa: SLF001
    return session


def _payload(content: bytes) -> aiohttp.Payload | None:
    """aiohttp writes bytes at a go and wants a file of what is too much for that."""
    if len(content) > _AT_A_GO:
        return aiohttp.BytesIOPayload(BytesIO(content))
    return aiohttp.BytesPayload(content) if content else None


class _LivePool(aiohttp.TCPConnector):
    """Gives no connection out again whose end has already arrived, and marks when it gives one out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._used: WeakSet[asyncio.BaseProtocol] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or protocol not in self._used or not _has_ended(connection.transport):
                break
            connection.close()
        if protocol is not None:
            self._used.add(protocol)
        progress = _progress.get()
        try:
            progress.permit()
        except BaseException:
            connection.release()
            raise
        progress.connected = True
        return connection


def _has_ended(transport: asyncio.Transport | None) -> bool:
    """Before a request, an HTTP/1.1 server has nothing to say: what can be read is its farewell."""
    if transport is None or transport.is_closing():
        return True
    looking = select.poll()
    looking.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(looking.poll(0))


@cache
def _tls() -> ssl.SSLContext:
    """One for all connections: certifi's authorities, and those this machine trusts besides."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def _tls_with(tls: Mapping[str, Any]) -> ssl.SSLContext:
    """One of the connection's own. Its `ca` is trusted besides: a token endpoint may be somebody else's."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    equip(context, tls)
    return context


async def _received(answer: aiohttp.ClientResponse) -> Received:
    try:
        content, complete = await _read(answer.content)
    finally:
        # what has not been read ends its connection
        answer.release()
    # header values are bytes, and latin-1 reads them all
    headers = [
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in answer.raw_headers
    ]
    return Received(answer.status, headers, content, complete)


async def _read(content: aiohttp.StreamReader) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    async for part in content.iter_any():
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            return b"".join(parts)[:LARGEST_ANSWER], False
    return b"".join(parts), True


def _unsent_code(error: Exception) -> str:
    cause = getattr(error, "os_error", error)
    match error:
        case aiohttp.InvalidURL():
            return "egress"
        case _ if isinstance(cause, EgressRefused):
            return "egress"
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientSSLError():
            return "tls"
        case TimeoutError():
            return "timeout"
        case _:
            return "refused"


def _words(error: Exception, limit_s: float, lacking: str) -> str:
    if isinstance(error, TimeoutError):
        return f"{lacking} within {limit_s:g} s"
    cause = getattr(error, "os_error", error)
    return one_line(str(cause) or type(cause).__name__)
