"""Several webhooks in one atomic batch: a batch costs the server milliseconds, however little is in it.

While some are under way, the next fills; a lone webhook waits for nobody. A batch is refused as a whole, also for one
webhook that is stored already: what was in it comes again alone.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from eventbus.batch_publisher import BatchPublisher
from eventbus.connection import Connection
from eventbus.errors import ConnectionLost
from eventbus.fence import Written
from eventbus.group_commit import Outgoing

AT_ONCE = 2
"""Batches under way: the server takes fifty a stream, capture's among them."""
MAX_MESSAGES = 1_000
MAX_BYTES = 4 * 2**20


# compared by identity: two may be alike
@dataclass(slots=True, eq=False)
class _Waiting:
    subject: bytes
    messages: Sequence[Outgoing]
    alone: bool
    answer: asyncio.Future[Written] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def size(self) -> int:
        return sum(len(message.payload) + len(message.headers) for message in self.messages)


class Batches:
    """The batches of one connection. within: seconds for each."""

    def __init__(self, connection: Connection, within: float) -> None:
        self._connection = connection
        self._within = within
        self._publisher = BatchPublisher(connection, self._answered)
        self._waiting: deque[_Waiting] = deque()
        self._sending: set[asyncio.Task[None]] = set()
        self._awaited: dict[str, asyncio.Future[Written]] = {}

    async def store(self, messages: Sequence[Outgoing], *, alone: bool) -> Written:
        """Stores the messages in one batch, in order, with others' unless `alone`.

        The first message's subject is the caller's mark: no two of one subject share a batch.
        """
        waiting = _Waiting(messages[0].subject, messages, alone)
        self._waiting.append(waiting)
        self._start()
        try:
            return await waiting.answer
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiting)

    def _start(self) -> None:
        while self._waiting and len(self._sending) < AT_ONCE:
            task = asyncio.create_task(self._send(self._gathered()))
            self._sending.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._start()

    def _gathered(self) -> list[_Waiting]:
        first = self._waiting.popleft()
        gathered = [first]
        if first.alone:
            return gathered
        subjects, count, size = {first.subject}, len(first.messages), first.size
        for one in tuple(self._waiting):
            count, size = count + len(one.messages), size + one.size
            if count > MAX_MESSAGES or size > MAX_BYTES:
                break
            if one.alone or one.subject in subjects:
                continue
            self._waiting.remove(one)
            subjects.add(one.subject)
            gathered.append(one)
        return gathered

    async def _send(self, gathered: list[_Waiting]) -> None:
        written = Written(None)
        try:
            written = await self._written([message for one in gathered for message in one.messages])
        finally:
            for one in gathered:
                if not one.answer.done():
                    one.answer.set_result(written)

    async def _written(self, messages: Sequence[Outgoing]) -> Written:
        batch = f"w-{secrets.token_hex(16)}"
        answer = self._awaited[batch] = asyncio.get_running_loop().create_future()
        *first, last = messages
        try:
            async with asyncio.timeout(self._within):
                await self._publisher.send(batch, 1, first)
                await self._publisher.commit(
                    batch, len(messages), last.subject.decode(), last.headers, last.payload
                )
                return await self._connection.unless_lost(answer)
        except (TimeoutError, ConnectionLost):
            return Written(None)
        finally:
            self._publisher.forget(batch)
            del self._awaited[batch]

    def _answered(self, batch: str, seq: int | None, code: int | None) -> None:
        answer = self._awaited.get(batch)
        if answer is not None and not answer.done():
            answer.set_result(Written(seq, code))
