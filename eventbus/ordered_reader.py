"""Reads a stream in order and without a gap, from a sequence on; nothing is acknowledged (rule T5).

It is an ephemeral consumer that is made again behind the last message read, whenever a delivery is missing or the
consumer vanished: with its server, for instance.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from eventbus.errors import ConnectionLost, EventBusError, JetStreamError, NoAnswer
from eventbus.jetstream import JetStream
from eventbus.message import Message
from eventbus.patience import patiently
from eventbus.pull_consumer import ConsumerGone, PullConsumer, Source

INACTIVE_S = 60.0
LOOK_AGAIN_S = 1.0
MAX_PAUSE_S = 2.0
LAST_WINDOW = 256
"""While each subject's last message is read, which is not limited in bytes: nats-server 2.15.1 forgets the message at
which a pull passes its `max_bytes` there."""
_TRANSIENT = (503, 10008, 10009)  # no leader yet, JetStream not up yet, no peers yet


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read. `start`: the first sequence wanted; None: of each subject the last message, then what follows.

    since: instead of `start`, what was stored from this moment on (seconds since the epoch).
    """

    stream: str
    subjects: Sequence[str]
    start: int | None = 1
    headers_only: bool = False
    since: float | None = None


class OrderedReader:
    """`async with OrderedReader(jetstream, reading) as reader: messages = await reader.next()`."""

    def __init__(self, jetstream: JetStream, reading: Reading, window: int = 2_000) -> None:
        """`window`: how many messages may be on their way to us or wait to be taken."""
        self._jetstream = jetstream
        self._reading = reading
        self._window = window
        self._pulls: PullConsumer | None = None
        self._consumer = ""
        self._last: int | None = None
        self._delivered = 0
        self.waiting = 0
        """How many messages matched when the reading began."""

    async def __aenter__(self) -> Self:
        _, self.waiting = await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pulls is not None:
            await self._pulls.stop()
            with contextlib.suppress(EventBusError):
                await self._jetstream.delete_consumer(self._reading.stream, self._consumer)

    async def next(self) -> list[Message]:
        """What comes next, at least one message. Raises ConnectionLost, JetStreamError."""
        while True:
            pulls = self._pulls or await self._begin_patiently()
            try:
                came = await pulls.next()
            except ConsumerGone:
                came = []
            messages = self._without_gap(came)
            if not came or len(messages) < len(came):
                # begin again at once: behind a gap nothing may follow for long
                self._pulls = None
                await pulls.stop()
            if messages:
                return messages

    async def what_is_there(self) -> AsyncIterator[Message]:
        """What matched when the reading began, perhaps more; what expires meanwhile is not waited for. Raises as `next`."""
        left = self.waiting
        while left > 0:
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    messages = await self.next()
            except TimeoutError:
                if await self.empty():
                    return
            else:
                left = min(left - len(messages), messages[-1].pending)
                for message in messages:
                    yield message

    async def empty(self) -> bool:
        """Whether there is nothing more to read right now."""
        return self._pulls is not None and await self._pulls.empty()

    def _without_gap(self, messages: list[Message]) -> list[Message]:
        """The messages up to the first that does not follow: what follows a gap is read again."""
        for place, message in enumerate(messages):
            if message.consumer_seq != self._delivered + 1:
                messages = messages[:place]
                break
            self._delivered += 1
        if messages:
            self._last = messages[-1].seq
        return messages

    async def _begin_patiently(self) -> PullConsumer:
        pulls, _ = await patiently(self._begin, self._may_pass, first=0.05, longest=MAX_PAUSE_S)
        return pulls

    def _may_pass(self, error: BaseException) -> bool:
        match error:
            case JetStreamError(err_code=code):
                return code in _TRANSIENT
            case ConnectionLost():  # nats-py is just about to reconnect
                return not self._jetstream.connection.lost.is_set()
            case _:
                return isinstance(error, NoAnswer)

    async def _begin(self) -> tuple[PullConsumer, int]:
        self._consumer = f"read-{secrets.token_hex(8)}"
        self._delivered = 0
        config = self._config()
        info = await self._jetstream.create_consumer(self._reading.stream, config)
        source = Source(self._reading.stream, self._consumer)
        if config["deliver_policy"] == "last_per_subject":
            window = min(self._window, LAST_WINDOW)
            self._pulls = PullConsumer(self._jetstream.connection, source, window, max_bytes=None)
        else:
            self._pulls = PullConsumer(self._jetstream.connection, source, self._window)
        await self._pulls.start()
        return self._pulls, int(info["num_pending"])

    def _config(self) -> dict[str, Any]:
        start = self._reading.start if self._last is None else self._last + 1
        where: dict[str, Any] = {"deliver_policy": "last_per_subject"}
        if self._reading.since is not None and self._last is None:
            moment = datetime.fromtimestamp(max(0.0, self._reading.since), UTC).isoformat()
            where = {"deliver_policy": "by_start_time", "opt_start_time": moment}
        elif start is not None:
            where = {"deliver_policy": "by_start_sequence", "opt_start_seq": max(1, start)}
        return where | {
            "name": self._consumer,
            "filter_subjects": list(self._reading.subjects),
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(INACTIVE_S * 1e9),
            "headers_only": self._reading.headers_only,
        }
