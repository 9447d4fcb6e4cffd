"""The inside of nats-py (2.12 to 2.16) is known here and in nats_parser only: two doors below its own.

nats-py spends 10 to 25 µs on a message: it parses headers, builds a Msg, passes a queue and a task. The doors give
the raw parts of a message to a plain function, and put ready protocol lines on the wire in one write.
"""

import asyncio
from collections.abc import Callable

from nats.aio.client import Client

from eventbus.errors import ConnectionLost
from eventbus.nats_parser import Handler, RawParser

WRITE_TIMEOUT_S = 15.0


class NatsClient(Client):
    """nats-py's client; everything of its own still works."""

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[int, Handler] = {}
        self._ps = RawParser(self, self._handlers)

    async def subscribe_raw(self, subject: str, handler: Handler) -> int:
        """Every message on `subject` goes to `handler`, also after a reconnect. Returns the subscription's id."""
        await self.subscribe(subject)
        self._handlers[self._sid] = handler
        return self._sid

    def unsubscribe_raw(self, sid: int) -> None:
        self._handlers.pop(sid, None)
        self._remove_sub(sid)
        if self.is_connected:
            self.write(b"UNSUB %d\r\n" % sid)

    def write(self, lines: bytes) -> None:
        """Puts whole protocol lines on the wire, after what nats-py has pending. Raises ConnectionLost."""
        if not self.is_connected or self._transport is None:
            raise ConnectionLost("the connection to NATS is down")
        self._pending.append(lines)
        waiting, self._pending, self._pending_data_size = self._pending, [], 0
        try:
            self._transport.writelines(waiting)
        except (
            OSError,
            RuntimeError,
        ) as error:  # uvloop raises RuntimeError where the socket is closed already
            raise ConnectionLost(f"the connection to NATS is down: {error}") from None

    async def drain_writes(self) -> None:
        """Waits while the socket's buffer is full. Raises ConnectionLost."""
        if self._transport is None:
            raise ConnectionLost("the connection to NATS is down")
        try:
            # a peer that vanished never empties it, and closing does not end the wait
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._transport.drain()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
        except TimeoutError:
            raise ConnectionLost(f"NATS took nothing for {WRITE_TIMEOUT_S:g} s") from None
        except (OSError, RuntimeError) as error:
            raise ConnectionLost(f"the connection to NATS is down: {error}") from None

    def on_reading_ended(self, callback: Callable[[], None]) -> None:
        """Calls back when nobody reads any more, for whatever reason: without reconnects that is the end."""
        assert self._reading_task is not None, "connected"
        self._reading_task.add_done_callback(lambda _: callback())

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        handler = self._handlers.get(sid)
        if handler is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            handler(subject, reply, headers or b"", data)
