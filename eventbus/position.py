"""A position on the server: reads and claims it as `fence.claim` decides (rules C3, C5, T2, T3)."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from eventbus import fence
from eventbus.connection import Connection
from eventbus.errors import EventBusError, JetStreamError, NoAnswer
from eventbus.fence import (
    SINGLE_ID,
    Claimed,
    ClaimLost,
    FenceMark,
    Look,
    Read,
    Refusal,
    Stored,
    Torn,
    Write,
    Written,
)
from eventbus.jetstream import JetStream
from eventbus.message import Message
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.patience import patiently

PATIENCE = 5
MAX_PAUSE_S = 30.0
LOOK_TIMEOUT_S = 10.0
_BATCH_ID = "Nats-Batch-Id"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a writer writes.

    look: the subjects of its messages, as a wildcard; prefix: what its batch ids begin with, and nobody else's;
    label: the header in which some of them tell a series of their own.
    """

    stream: str
    position: str
    look: str
    prefix: str
    label: str = ""


class PositionLost(EventBusError):
    """Somebody else wrote the position: what we own is theirs. `stored` is the position as they left it."""

    def __init__(self, place: Place, stored: Stored) -> None:
        super().__init__(f"another writer has taken over {place.position} in stream {place.stream}")
        self.stored = stored


class WriteFailed(EventBusError):
    """The server refuses what we write, for a reason that waiting does not mend."""

    def __init__(self, place: Place, code: int | None) -> None:
        super().__init__(
            f"stream {place.stream} refuses what is written with {place.position}: JetStream error {code}"
        )
        self.code = code


class PositionInvalid(EventBusError):
    """The message on the position's subject is no position."""


def position_headers(expected: int) -> bytes:
    """What a position carries: it replaces the one before, and only the one at `expected` (0: none)."""
    return b"Nats-Rollup: sub\r\nNats-Expected-Last-Subject-Sequence: %d\r\n" % expected


class Position:
    """One position. Every method waits patiently while JetStream has no leader, and raises ConnectionLost."""

    def __init__(self, connection: Connection, place: Place) -> None:
        self.place = place
        self.blocked: int | None = None
        """The error code of the refusal that keeps a claim waiting (10077: the stream is full), or fence.SILENCE."""
        self._connection = connection
        self._jetstream = JetStream(connection)

    async def read(self) -> Stored:
        """Through the stream's leader; `fence.NOTHING` where there is none. Raises PositionInvalid."""
        place = self.place
        found = await self._patiently(lambda: self._jetstream.last_message(place.stream, place.position))
        if found is None:
            return fence.NOTHING
        try:
            return Stored.read(found.seq, found.payload)
        except msgspec.DecodeError as error:
            raise PositionInvalid(
                f"message {found.seq} of stream {place.stream}, on {place.position}, is no position: {error}"
            ) from None

    async def claim(self, held: Stored, encode: Callable[[FenceMark], bytes]) -> Claimed:
        """Claims the position that was read as `held`, and looks. Waits, 1 to 30 s, while there is no room.

        Raises PositionLost (read it again), WriteFailed.
        """
        pause, foreign = 1.0, 0
        while True:
            outcome = await self._claim_once(held, encode)
            if isinstance(outcome, Claimed):
                self.blocked = None
                return outcome
            now = await self.read()
            if now.seq != held.seq:
                raise PositionLost(self.place, now)
            foreign += fence.classify_refusal(outcome.code) is Refusal.FOREIGN
            if foreign >= PATIENCE:
                raise WriteFailed(self.place, outcome.code)
            self.blocked = fence.SILENCE if outcome.code is None else outcome.code
            await self._pause(pause)
            pause = min(2 * pause, MAX_PAUSE_S)

    async def _claim_once(self, held: Stored, encode: Callable[[FenceMark], bytes]) -> Claimed | ClaimLost:
        steps = fence.claim(held, encode, f"claim-{secrets.token_hex(8)}")
        try:
            request = next(steps)
            while True:
                request = steps.send(await self._answer(request))
        except StopIteration as end:
            outcome: Claimed | ClaimLost = end.value
            return outcome

    async def _answer(self, request: fence.Request) -> fence.Answer:
        match request:
            case Read():
                return await self.read()
            case Write(payload, expected):
                headers = position_headers(expected)
                return await written(self._jetstream, self.place.position, payload, headers)
            case Look(after, before):
                return await self._patiently(lambda: self._look(after, before))

    async def _look(self, after: int, before: int) -> Torn | None:
        """The position itself is read along: once it comes, everything before it has come, whoever serves us."""
        if before <= after + 1:
            return None
        place = self.place
        reading = Reading(place.stream, [place.look, place.position], after + 1, headers_only=True)
        torn, labels = None, dict[str, str]()
        async with OrderedReader(self._jetstream, reading) as reader:
            while True:
                for message in await self._some(reader):
                    if message.seq >= before:
                        return torn
                    headers = message.headers
                    mine = headers.get(_BATCH_ID, headers.get(SINGLE_ID, "")).startswith(place.prefix)
                    if mine and message.subject != place.position:
                        torn = Torn(message.seq, message.headers, labels)
                        if label := message.headers.get(place.label):
                            labels[label.partition(":")[0]] = label

    async def _some(self, reader: OrderedReader) -> list[Message]:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                return await reader.next()
        except TimeoutError:
            raise NoAnswer(f"stream {self.place.stream} does not show its messages") from None

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await patiently(ask, _may_pass, first=0.1, longest=MAX_PAUSE_S, sleep=self._pause)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._connection.lost.wait()
        except TimeoutError:
            return
        raise self._connection.loss()


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, JetStreamError):
        return fence.classify_refusal(error.err_code) is Refusal.UNKNOWN
    return isinstance(error, NoAnswer)


async def written(jetstream: JetStream, subject: str, payload: bytes, headers: bytes) -> Written:
    """Publishes once, and says what is known of it. Raises ConnectionLost."""
    try:
        return Written(await jetstream.publish(subject, payload, headers))
    except JetStreamError as error:
        return Written(None, error.err_code)
    except NoAnswer:
        return Written(None)
