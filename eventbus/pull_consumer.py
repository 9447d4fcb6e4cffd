"""Continuous pulls on one consumer: its messages, and what ends them. Who owns it is the caller's matter (R1, R3).

Never more than `window` messages are asked for and not taken, nor more than 8 MiB a pull. A pull lives for a second
and another follows, because arriving pulls are what keeps a pin (jetstream documentation, "pinned_client").
"""

import asyncio
import contextlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

from eventbus import wire
from eventbus.connection import Connection, Subscription
from eventbus.errors import ConnectionLost, EventBusError
from eventbus.message import Message

PIN_GROUP = "g"
PIN_TIMEOUT_S = 5.0
ACK_WAIT_S = 60.0
EXPIRES_S = 1.0
SILENCE_S = 5.0
PULL_BYTES = 8 * 2**20
_PENDING = "Nats-Pending-Messages"


class PinLost(EventBusError):
    """Another client is pinned to the consumer, or we are pinned anew: what we hold may be his."""


class ConsumerGone(EventBusError):
    """The consumer was deleted, or nothing is heard of it any more."""


class PullRefused(EventBusError):
    """The server does not take such pulls on this consumer: it is configured otherwise."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is pulled from; `group` for a pinned consumer."""

    stream: str
    consumer: str
    group: str | None = None


def pinned_consumer(
    name: str, subject: str, *, max_ack_pending: int, start: int | None = None
) -> dict[str, Any]:
    """The configuration of a consumer of DELIVERIES (R1); `start`: the first sequence, for one of a single route."""
    where: dict[str, Any] = {"deliver_policy": "all"}
    if start is not None:
        where = {"deliver_policy": "by_start_sequence", "opt_start_seq": start}
    return where | {
        "name": name,
        "durable_name": name,
        "filter_subject": subject,
        "ack_policy": "explicit",
        "ack_wait": int(ACK_WAIT_S * 1e9),
        "max_deliver": -1,
        "max_ack_pending": max_ack_pending,
        "priority_policy": "pinned_client",
        "priority_groups": [PIN_GROUP],
        "priority_timeout": int(PIN_TIMEOUT_S * 1e9),
    }


class PullConsumer:
    """The pulls on one consumer."""

    def __init__(
        self, connection: Connection, source: Source, window: int, max_bytes: int | None = PULL_BYTES
    ) -> None:
        """max_bytes: of each pull; None: no limit but the window."""
        self._max_bytes = max_bytes
        self._connection = connection
        self._source = source
        self._window = window
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{source.stream}.{source.consumer}".encode()
        self._inbox = f"_INBOX.{secrets.token_hex(11)}.".encode()
        self._pulls: dict[bytes, tuple[int, float]] = {}
        self._asked = 0
        self._number = 0
        self._unread: list[Message] = []
        self._something = asyncio.Event()
        self._probe: asyncio.Future[bool] | None = None
        self._pin: bytes = b""
        self._trouble: EventBusError | None = None
        self._heard = 0.0
        self._subscription: Subscription | None = None
        self._renewal: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribes and begins to pull. Raises ConnectionLost."""
        self._heard = asyncio.get_running_loop().time()
        self._subscription = await self._connection.subscribe((self._inbox + b"*").decode(), self._arrived)
        self._renewal = asyncio.create_task(self._renew())

    async def stop(self) -> None:
        """Pulls and hears no more; what was not taken is left to redelivery."""
        await self._end_renewal()
        if self._subscription:
            with contextlib.suppress(ConnectionLost):
                self._subscription.end()
            self._subscription = None

    async def cease(self) -> None:
        """Pulls no more, at once: on return all that came can be taken, and nothing else will come.

        What the server had just counted as delivered may not reach us: the next owner's sweep brings it back.
        Raises ConnectionLost, NoAnswer.
        """
        self._window = 0
        await self._end_renewal()
        if self._subscription:
            await self._subscription.cease()
            self._subscription = None
        self._pulls, self._asked = {}, 0

    async def _end_renewal(self) -> None:
        if self._renewal:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
            self._renewal = None

    @property
    def pin(self) -> str | None:
        """The id under which the server has pinned us; None until a message came."""
        return self._pin.decode() or None

    @property
    def window(self) -> int:
        """How many messages may be asked for and not taken. 0: pull no more."""
        return self._window

    @window.setter
    def window(self, window: int) -> None:
        self._window = window
        self._refill()

    @property
    def quiet(self) -> bool:
        """No pull is open and all that came is taken."""
        return not self._asked and not self._unread

    async def next(self) -> list[Message]:
        """All that has come, at least one, in order. Raises PinLost, ConsumerGone, PullRefused, ConnectionLost."""
        while not self._unread:
            self._raise_trouble()
            self._something.clear()
            await self._something.wait()
        messages, self._unread = self._unread, []
        self._refill()
        return messages

    async def empty(self) -> bool:
        """Whether the consumer has nothing to deliver right now. True from another's pinned consumer, too.

        False where the consumer waits for acks of what is pending (`max_ack_pending`): the server says nothing then.
        """
        self._raise_trouble()
        if self._probe is None:
            self._probe = asyncio.get_running_loop().create_future()
            self._pull(1, no_wait=True)
        try:
            async with asyncio.timeout(EXPIRES_S):
                return await asyncio.shield(self._probe)
        except TimeoutError:
            self._answer_probe(empty=False)
            return False

    def _raise_trouble(self) -> None:
        if self._connection.lost.is_set():
            raise self._connection.loss()
        if self._trouble is not None:
            raise self._trouble

    def _arrived(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        if subject.startswith(self._inbox):
            self._status(subject, headers)
            return
        self._asked = max(0, self._asked - 1)
        if self._source.group and not self._pinned(headers):
            return
        self._answer_probe(empty=False)
        self._unread.append(Message(subject, reply, headers, payload))
        self._something.set()

    def _pinned(self, headers: bytes) -> bool:
        """Whether the message is for us as we are pinned."""
        pin = headers.partition(b"Nats-Pin-Id: ")[2].partition(b"\r")[0]
        if pin != self._pin:
            if self._pin:
                self._fail(PinLost(f"{self._name} pinned us anew"))
                return False
            self._pin = pin
        return True

    def _status(self, pull: bytes, headers: bytes) -> None:
        batch, _ = self._pulls.pop(pull, (0, 0.0))
        status, text = wire.status_of(headers), wire.status_text(headers)
        left = wire.parse_headers(headers).get(_PENDING)
        self._asked = max(0, self._asked - (batch if left is None else int(left)))
        self._answer_probe(empty=status == 404)
        match status:
            case 404 | 408:
                self._refill()
            case 409 if "Size Exceeds" in text:
                self._refill()
            case 409 if "Deleted" in text or "push" in text:
                self._fail(ConsumerGone(f"{self._name} was deleted"))
            case 423:
                self._fail(PinLost(f"another client is pinned to {self._name}"))
            case 503:
                self._fail(ConsumerGone(f"{self._name} does not answer"))
            case 409 if not text.startswith("Exceeded"):
                pass  # a server that shuts down or hands over: the next renewal asks its successor
            case _:
                self._fail(PullRefused(f"{self._name} refuses our pulls: {status} {text}"))

    async def _renew(self) -> None:
        lost = asyncio.ensure_future(self._connection.lost.wait())
        reconnects = self._connection.reconnects
        try:
            while not lost.done():
                if self._connection.reconnects != reconnects:
                    # what was on its way to the old connection went nowhere, and nobody would say so
                    self._fail(ConsumerGone(f"the connection was lost while {self._name} delivered"))
                self._forget_expired()
                self._refill(keep_pin=True)
                await asyncio.wait([lost], timeout=EXPIRES_S)
                self._check_silence()
            self._fail(self._connection.loss())
        finally:
            lost.cancel()

    def _forget_expired(self) -> None:
        # a status that never came must not hold the window for ever
        oldest = asyncio.get_running_loop().time() - 2 * EXPIRES_S
        self._pulls = {pull: found for pull, found in self._pulls.items() if found[1] > oldest}
        self._asked = min(self._asked, sum(batch for batch, _ in self._pulls.values()))

    def _check_silence(self) -> None:
        if not self._pulls:
            self._heard = asyncio.get_running_loop().time()
        elif asyncio.get_running_loop().time() - self._heard > SILENCE_S:
            self._fail(ConsumerGone(f"nothing is heard of {self._name}"))

    def _refill(self, *, keep_pin: bool = False) -> None:
        if self._trouble is not None or self._subscription is None or not self._window:
            return
        free = self._window - self._asked - len(self._unread)
        if free > self._window // 2 or (keep_pin and free > 0):
            self._pull(free)
        elif keep_pin and self._pin:
            self._pull(1)

    def _pull(self, batch: int, *, no_wait: bool = False) -> None:
        self._number += 1
        reply = b"%b%d" % (self._inbox, self._number)
        request: dict[str, object] = {"batch": batch}
        request |= {"no_wait": True} if no_wait else {"expires": int(EXPIRES_S * 1e9)}
        if not no_wait and self._max_bytes is not None:
            request["max_bytes"] = self._max_bytes
        if self._source.group:
            request |= {"group": self._source.group} | ({"id": self.pin} if self._pin else {})
        with contextlib.suppress(ConnectionLost):  # the renewal sees it, or a reconnect mends it
            self._connection.write(wire.pub(self._subject, reply, json.dumps(request).encode()))
            self._pulls[reply] = (batch, asyncio.get_running_loop().time())
            self._asked += batch

    def _answer_probe(self, *, empty: bool) -> None:
        if self._probe is not None:
            if not self._probe.done():
                self._probe.set_result(empty)
            self._probe = None

    def _fail(self, trouble: EventBusError) -> None:
        self._trouble = self._trouble or trouble
        if self._probe is not None and not self._probe.done():
            self._probe.set_result(False)
        self._something.set()

    @property
    def _name(self) -> str:
        return f"consumer {self._source.consumer} of stream {self._source.stream}"
