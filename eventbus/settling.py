"""How messages are settled: what the server must confirm, and what it may miss (rules R3, R5, R10)."""

import asyncio
import json
from collections.abc import Iterable, Sequence

from eventbus import wire
from eventbus.connection import Connection, Reply
from eventbus.errors import NoAnswer
from eventbus.jetstream import refusal_of
from eventbus.message import Message, ack_subject_for

CONFIRM_TIMEOUT_S = 5.0
CHUNK = 1_000


class Settling:
    """Settles messages on one connection: what the server must confirm, and what it may miss."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ack(self, messages: Sequence[Message]) -> None:
        """Confirmed acks: on return the server has them all.

        Raises NoAnswer (some may be missing), ConnectionLost, JetStreamError 503 (the consumer is gone).
        """
        await self._confirmed([(message.reply, b"+ACK") for message in messages])

    async def ack_unconfirmed(self, messages: Iterable[Message]) -> None:
        """Acks that may get lost with the connection: the messages come again then."""
        await self._send([(message.reply, b"+ACK") for message in messages])

    async def terminate(self, message: Message, reason: str) -> None:
        """Ends the message for good, with a reason for the advisory. Raises as `ack`."""
        await self._confirmed([(message.reply, b"+TERM " + " ".join(reason.split()).encode())])

    async def confirm_progress(self, reply: bytes) -> None:
        """An in-progress ack whose answer says that all settling sent before it is in. Raises as `ack`."""
        await self._confirmed([(reply, b"+WPI")])

    async def progress(self, messages: Iterable[Message]) -> None:
        """Still working on them: the redelivery is put off by the consumer's `ack_wait`."""
        await self._send([(message.reply, b"+WPI") for message in messages])

    async def nak(self, messages: Iterable[Message], delay: float = 0.0) -> None:
        """Not now: redelivered after `delay` seconds; 0: at once, in the order of the naks."""
        body = b"-NAK " + json.dumps({"delay": int(delay * 1e9)}).encode() if delay else b"-NAK"
        await self._send([(message.reply, body) for message in messages])

    async def sweep(self, sample: bytes, first: int, last: int, consumer_seq: int) -> None:
        """Naks whatever is pending from `first` to `last` (R3.5), so that it comes back in order, before what is new.

        sample: the reply subject of any message of the consumer; first, last: stream sequences, the ack floor + 1 and
        the last delivered; consumer_seq: the last delivered. On return all naks are in. Raises as `ack`.
        """
        for start in range(first, last + 1, CHUNK):
            chunk = range(start, min(start + CHUNK, last + 1))
            await self._send([(ack_subject_for(sample, seq, consumer_seq), b"-NAK") for seq in chunk])
        await self.confirm_progress(ack_subject_for(sample, last, consumer_seq))

    async def _send(self, acks: Sequence[tuple[bytes, bytes]], reply: bytes = b"") -> None:
        for start in range(0, len(acks), CHUNK):
            lines = b"".join(wire.pub(subject, reply, body) for subject, body in acks[start : start + CHUNK])
            await self._connection.send(lines)

    async def _confirmed(self, acks: Sequence[tuple[bytes, bytes]]) -> None:
        if not acks:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        missing = len(acks)

        def answered(reply: Reply) -> None:
            nonlocal missing
            missing -= 1
            refusal = refusal_of("settle messages", reply)
            if refusal is not None and not done.done():
                done.set_exception(refusal)
            elif not missing and not done.done():
                done.set_result(None)

        subject = self._connection.expect(answered)
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                await self._send(acks, subject)
                await self._connection.unless_lost(done)
        except TimeoutError:
            raise NoAnswer(f"{missing} of {len(acks)} acknowledgements were not confirmed in time") from None
        finally:
            self._connection.forget(subject)
