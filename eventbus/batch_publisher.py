"""Atomic batches (ADR-50 of nats-architecture-and-design) as ready protocol lines: 2 µs a message.

A batch is stored whole or not at all when its last message arrives, except where the server's disk, an account's
limit or its power fails (fence.Look). The headers stay on the stored messages.
"""

import json
from collections.abc import Callable, Sequence

from eventbus import wire
from eventbus.connection import Connection, Reply
from eventbus.fence import SINGLE_ID
from eventbus.group_commit import Outgoing
from eventbus.jetstream import refusal_of

CHUNK = 128 * 2**10

Answered = Callable[[str, int | None, int | None], None]
"""Called with the batch (or single), the sequence of its last message where it is stored, else the refusal's code."""


class BatchPublisher:
    """Sends batches and dispatches their answers to `answered`. Deadlines are the caller's."""

    def __init__(self, connection: Connection, answered: Answered) -> None:
        self._connection = connection
        self._answered = answered
        self._replies: dict[str, bytes] = {}

    async def send(self, batch: str, first: int, messages: Sequence[Outgoing]) -> None:
        """Publishes messages number `first` and on; the first of a batch asks for refusals. Raises ConnectionLost."""
        start = b"NATS/1.0\r\nNats-Batch-Id: %b\r\nNats-Batch-Sequence: " % batch.encode()
        reply = b" " + self._reply(batch) if first == 1 else b""
        lines: list[bytes] = []
        size = 0
        for number, message in enumerate(messages, first):
            payload = message.payload
            block = b"%b%d\r\n%b\r\n" % (start, number, message.headers)
            total = len(block) + len(payload)
            lines.append(
                b"HPUB %b%b %d %d\r\n%b%b\r\n" % (message.subject, reply, len(block), total, block, payload)
            )
            reply = b""
            size += total
            if size > CHUNK:
                await self._connection.send(b"".join(lines))
                lines, size = [], 0
        if lines:
            await self._connection.send(b"".join(lines))

    async def single(self, name: str, message: Outgoing, subject: str, expected: int) -> None:
        """Publishes a message without a batch, stored only while the last of `subject` is at `expected`. Raises ConnectionLost."""
        headers = b"%bNats-Expected-Last-Subject-Sequence: %d\r\n%b: %b\r\n%b: %b\r\n" % (
            message.headers,
            expected,
            b"Nats-Expected-Last-Subject-Sequence-Subject",
            subject.encode(),
            SINGLE_ID.encode(),
            name.encode(),
        )
        await self._connection.send(wire.hpub(message.subject, self._reply(name), headers, message.payload))

    async def commit(self, batch: str, number: int, subject: str, headers: bytes, payload: bytes) -> None:
        """Publishes the last message, with which the batch commits; a batch of this one alone needs none.

        Raises ConnectionLost.
        """
        mine = b""
        if number > 1:
            mine = b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: %d\r\nNats-Batch-Commit: 1\r\n" % (
                batch.encode(),
                number,
            )
        await self._connection.send(wire.hpub(subject.encode(), self._reply(batch), mine + headers, payload))

    def forget(self, batch: str) -> None:
        """No more answers for this batch are wanted."""
        if reply := self._replies.pop(batch, None):
            self._connection.forget(reply)

    def _reply(self, batch: str) -> bytes:
        if batch not in self._replies:
            self._replies[batch] = self._connection.expect(lambda reply: self._dispatch(batch, reply))
        return self._replies[batch]

    def _dispatch(self, batch: str, reply: Reply) -> None:
        if not reply.payload and not reply.headers:
            return  # the first message was taken; the batch is open
        self.forget(batch)
        refusal = refusal_of(batch, reply)
        if refusal is not None:
            self._answered(batch, None, refusal.err_code)
        else:
            self._answered(batch, json.loads(reply.payload)["seq"], None)
