"""A connection to NATS: requests with deadlines, raw subscriptions, ready lines, and the moment it is lost."""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import nats.errors

from eventbus import wire
from eventbus.errors import ConnectionLost, NatsRefused, NatsUnreachable, NoAnswer
from eventbus.nats_client import NatsClient
from eventbus.nats_parser import Handler
from eventbus.settings import NatsSettings

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 5.0
# A server that went away without a word (power, network) is noticed after three of these.
PING_INTERVAL_S = 5


T = TypeVar("T")


class Reply(NamedTuple):
    """An answer: its header block as it came (empty where there is none) and its payload."""

    headers: bytes
    payload: bytes


OnReply = Callable[[Reply], None]


class Subscription:
    """What `Connection.subscribe` began."""

    def __init__(self, client: NatsClient, sid: int) -> None:
        self._client = client
        self._sid = sid

    def end(self) -> None:
        """Hears nothing more, from this moment on. Raises ConnectionLost."""
        self._client.unsubscribe_raw(self._sid)

    async def cease(self) -> None:
        """Asks the server to send nothing more; on return its handler has heard all that it had sent.

        Raises ConnectionLost, NoAnswer.
        """
        self._client.write(b"UNSUB %d\r\n" % self._sid)
        flushing = asyncio.ensure_future(self._client.flush(int(REQUEST_TIMEOUT_S)))
        try:
            # before Python 3.12, nats-py's `wait_for` loses a cancellation that comes together with the answer
            await asyncio.wait([flushing])
        finally:
            flushing.cancel()
        try:
            flushing.result()
        except (nats.errors.Error, TimeoutError) as error:
            raise NoAnswer(f"NATS did not confirm the end of a subscription: {error}") from None
        self._client.unsubscribe_raw(self._sid)


class Connection:
    """One connection. Made by `connect`, ended by `close` or `async with`."""

    def __init__(self, client: NatsClient, servers: str) -> None:
        self.client = client
        self.lost = asyncio.Event()
        """Set when the connection is gone for good; with `reconnect` only when it is closed."""
        self.complaint = ""
        """What the server last complained about, such as a missing permission: it explains a silence."""
        self._servers = servers
        self._inbox = f"_INBOX.{secrets.token_hex(11)}.".encode()
        self._expected: dict[bytes, OnReply] = {}
        self._awaited: set[asyncio.Future[Any]] = set()
        self._counter = 0

    @property
    def max_payload(self) -> int:
        """The largest message the server takes, headers included, in bytes."""
        return int(self.client.max_payload)

    @property
    def reconnects(self) -> int:
        """How often it was lost and made again."""
        return int(self.client.stats["reconnects"])

    @property
    def servers(self) -> str:
        """For messages: where the servers are, without user or password."""
        return self._servers

    async def request(
        self, subject: str, payload: bytes = b"", headers: bytes = b"", within: float = REQUEST_TIMEOUT_S
    ) -> Reply:
        """One question and its answer, which may be a status (`wire.status_of`), such as 503 for nobody there.

        Raises NoAnswer after `within` seconds, ConnectionLost.
        """
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def answered(found: Reply) -> None:
            if not answer.done():
                answer.set_result(found)

        reply = self.expect(answered)
        try:
            lines = wire.hpub(subject.encode(), reply, headers, payload)
            await self.send(lines if headers else wire.pub(subject.encode(), reply, payload))
            async with asyncio.timeout(within):
                return await self.unless_lost(answer)
        except TimeoutError:
            raise NoAnswer(self._silence(subject, within)) from None
        finally:
            self.forget(reply)

    async def unless_lost(self, answer: asyncio.Future[T]) -> T:
        """Awaits an answer. Raises ConnectionLost as soon as none can come."""
        if self.lost.is_set():
            raise self.loss()
        self._awaited.add(answer)
        try:
            return await answer
        finally:
            self._awaited.discard(answer)

    def expect(self, on_reply: OnReply) -> bytes:
        """A fresh reply subject; what arrives there goes to `on_reply` until `forget`."""
        self._counter += 1
        reply = b"%b%d" % (self._inbox, self._counter)
        self._expected[reply] = on_reply
        return reply

    def forget(self, reply: bytes) -> None:
        self._expected.pop(reply, None)

    async def send(self, lines: bytes) -> None:
        """Writes protocol lines (module wire); waits while the socket is full. Raises ConnectionLost."""
        self.write(lines)
        await self.client.drain_writes()

    def write(self, lines: bytes) -> None:
        """As `send`, without waiting: for small things. Raises ConnectionLost."""
        if self.lost.is_set():
            raise self.loss()
        self.client.write(lines)

    async def subscribe(self, subject: str, handler: Handler) -> Subscription:
        """Messages on `subject` go to `handler`, in order."""
        if self.lost.is_set():
            raise self.loss()
        return Subscription(self.client, await self.client.subscribe_raw(subject, handler))

    def loss(self) -> ConnectionLost:
        """The error to raise once `lost` is set."""
        because = f": {self.complaint}" if self.complaint else ""
        return ConnectionLost(f"lost the connection to NATS at {self._servers}{because}")

    async def close(self) -> None:
        """Ends the connection; requests under way raise ConnectionLost."""
        with contextlib.suppress(OSError, nats.errors.Error, TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self.client.close()
        self.set_lost()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self, *, reconnect: bool) -> None:
        """Called once by `connect`."""
        await self.client.subscribe_raw((self._inbox + b"*").decode(), self._answered)
        if not reconnect:
            self.client.on_reading_ended(self.set_lost)

    def _answered(self, subject: bytes, _reply: bytes, headers: bytes, payload: bytes) -> None:
        if on_reply := self._expected.get(subject):
            on_reply(Reply(headers, payload))

    def set_lost(self) -> None:
        """The connection is gone for good: whoever waits for an answer is told."""
        self.lost.set()
        for answer in self._awaited:
            if not answer.done():
                answer.set_exception(self.loss())

    def _silence(self, subject: str, within: float) -> str:
        complaint = f"; its last complaint: {self.complaint}" if self.complaint else ""
        return f"NATS at {self._servers} gave no answer to {subject} within {within:g} s{complaint}"


async def connect(settings: NatsSettings, *, name: str, reconnect: bool) -> Connection:
    """Connects. `name` is what the server's monitoring shows.

    Without `reconnect`, losing the connection is an event (`Connection.lost`): whoever owns something must claim
    it again. With it nats-py reconnects for ever; whatever was under way is unknown all the same.

    Raises NatsUnreachable, NatsRefused.
    """
    client = NatsClient()
    where = ", ".join(_without_secrets(server) for server in settings.servers)
    connection = Connection(client, where)
    troubles: list[Exception] = []

    async def remember(error: Exception) -> None:
        troubles.append(error)
        connection.complaint = str(error) or type(error).__name__

    async def closed() -> None:
        connection.set_lost()

    options = _options(settings) | {"name": name, "error_cb": remember, "closed_cb": closed}
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S * (len(settings.servers) + 1)):
            # the first connection is never retried here: its caller says so, with exit 3
            await client.connect(**options, allow_reconnect=False, max_reconnect_attempts=1)
            client.options["allow_reconnect"] = reconnect
            client.options["max_reconnect_attempts"] = -1
            await connection.start(reconnect=reconnect)
    except (OSError, TimeoutError, nats.errors.Error, ValueError) as error:
        await connection.close()
        # after a refusal the socket may be reset, and that would be the last complaint
        raise _refusal(
            where, next(filter(_is_refusal, troubles), troubles[-1] if troubles else error)
        ) from None
    connection.complaint = ""
    return connection


def _options(settings: NatsSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "servers": list(settings.servers),
        "user": settings.user,
        "password": settings.password,
        "token": settings.token,
        "user_credentials": settings.credentials_file,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "ping_interval": PING_INTERVAL_S,
        "reconnect_time_wait": 0.25,
    }
    if settings.tls_ca_file or settings.tls_cert_file:
        options["tls"] = _tls(settings)
    return options


def _tls(settings: NatsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.tls_ca_file)
    if settings.tls_cert_file:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    return context


def _without_secrets(server: str) -> str:
    return server.replace(f"{urlsplit(server).netloc.rpartition('@')[0]}@", "") if "@" in server else server


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, nats.errors.Error):
        return not isinstance(error, nats.errors.NoServersError | TimeoutError)
    return isinstance(error, ssl.SSLError)


def _refusal(where: str, error: Exception) -> NatsUnreachable | NatsRefused:
    if _is_refusal(error):
        return NatsRefused(f"NATS at {where} refused us: {error}; check user, password, credentials and TLS")
    return NatsUnreachable(
        f"cannot reach NATS at {where}: {str(error) or type(error).__name__}; check nats.servers and that it runs"
    )
