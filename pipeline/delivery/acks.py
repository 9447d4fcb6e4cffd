"""Confirmed acks in bulk: while some are being confirmed, the next ones gather (rule R5)."""

import asyncio
from collections.abc import Callable

from eventbus.errors import NoAnswer
from eventbus.message import Message
from eventbus.settling import Settling


class AcksEnded(Exception):
    """Nothing is confirmed any more: the lane is not ours."""


class Acks:
    """One lane's acks."""

    def __init__(self, settling: Settling, check: Callable[[], None]) -> None:
        """check: raises where the lane is no longer ours."""
        self._settling = settling
        self._check = check
        self._waiting: list[tuple[Message, asyncio.Future[None]]] = []
        self._unseen: list[Message] = []
        self._something = asyncio.Event()
        self._ended = False

    async def confirmed(self, message: Message) -> None:
        """Returns when the server has confirmed it. Raises AcksEnded once `run` has ended."""
        if self._ended:
            raise AcksEnded("deliveries are not confirmed any more")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, done))
        self._something.set()
        await done

    def unseen(self, message: Message) -> None:
        """It is another consumer's, or settled elsewhere: should this ack get lost, the next one is as good."""
        self._unseen.append(message)
        self._something.set()

    async def run(self) -> None:
        """Confirms until it raises ConnectionLost, JetStreamError or what `check` raises, or is cancelled."""
        some: list[tuple[Message, asyncio.Future[None]]] = []
        try:
            while True:
                await self._something.wait()
                self._something.clear()
                unseen, self._unseen = self._unseen, []
                if unseen:
                    self._check()
                    await self._settling.ack_unconfirmed(unseen)
                some, self._waiting = self._waiting, []
                messages = [message for message, _ in some]
                while not await self._confirm(messages):
                    pass  # an ack twice does no harm
                for _, done in some:
                    if not done.done():
                        done.set_result(None)
        finally:
            self._ended = True
            for _, done in some + self._waiting:
                if not done.done():
                    done.set_exception(AcksEnded("deliveries are not confirmed any more"))

    async def _confirm(self, messages: list[Message]) -> bool:
        try:
            await self._settling.ack(messages)
        except NoAnswer:
            return False
        return True
