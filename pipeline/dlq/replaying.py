"""Replays and discards against the server: performs what `pipeline.dlq.replay` asks for."""

import asyncio
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

import msgspec

from eventbus.connection import Connection
from eventbus.errors import JetStreamError, NoAnswer
from eventbus.event import HEADER_REPLAY_ID
from eventbus.fence import Written
from eventbus.jetstream import JetStream
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.position import LOOK_TIMEOUT_S, position_headers, written
from eventbus.subjects import Subjects, lane_of
from eventbus.wire import header_lines
from pipeline.dlq.replay import (
    Ending,
    FoundCopy,
    LetterMessage,
    Look,
    Marker,
    Pause,
    ReadLetter,
    ReadMarker,
    Replace,
    Request,
    SendCopy,
    Steps,
    StoredMarker,
    Wanted,
    WriteMarker,
    finish,
    settle_letter,
    token_prefix,
)

FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 10.0

_markers = msgspec.json.Decoder(Marker)


@dataclass(frozen=True, slots=True)
class LetterId:
    """Which dead letter: names of tenant and route, and the sequence of its delivery."""

    tenant: str
    route: str
    seq: int

    @property
    def text(self) -> str:
        """As people write it."""
        return f"{self.tenant}/{self.route}/{self.seq}"


class Replaying:
    """One connection's replays. waits: told the refusal's code (None: no answer) before each pause; may raise to end it."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        lanes: int,
        waits: Callable[[int | None], None] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._jetstream = JetStream(connection)
        self._subjects = subjects
        self._lanes = lanes
        self._waits = waits

    async def settle(self, letter: LetterId, wanted: Wanted) -> Ending:
        """Replays or discards one dead letter. Raises ConnectionLost, and what `waits` raises."""
        return await self._perform(letter, settle_letter(wanted, self._tokens(letter)))

    async def finish(self, letter: LetterId, found: StoredMarker) -> Ending:
        """Completes what was begun, for the keeper. Raises as `settle`."""
        return await self._perform(letter, finish(found, self._tokens(letter)))

    async def marker(self, letter: LetterId) -> StoredMarker | None:
        """What has been decided, or begun."""
        subject = self._marker_subject(letter)
        found = await self._jetstream.last_message(self._subjects.stream("DELIVERIES"), subject)
        return None if found is None else StoredMarker(found.seq, _markers.decode(found.payload))

    def _tokens(self, letter: LetterId) -> Callable[[], str]:
        return lambda: token_prefix(letter.seq) + secrets.token_hex(10)

    async def _perform(self, letter: LetterId, steps: Steps) -> Ending:
        answer: Any = None
        pauses = 0
        try:
            while True:
                request = steps.send(answer)
                pauses += isinstance(request, Pause)
                answer = await self._answer(letter, request, pauses)
        except StopIteration as end:
            ending: Ending = end.value
            return ending

    async def _answer(self, letter: LetterId, request: Request, pauses: int) -> Any:
        match request:
            case ReadMarker():
                return await self._until_told(lambda: self.marker(letter))
            case WriteMarker(marker, expected):
                return await written(
                    self._jetstream,
                    self._marker_subject(letter),
                    msgspec.json.encode(marker),
                    position_headers(expected),
                )
            case ReadLetter():
                return await self._until_told(lambda: self.letter(letter))
            case Look(after, before):
                return await self._until_told(lambda: self._look(letter, after, before))
            case SendCopy():
                return await self._send(letter, request)
            case Replace():
                return await self._replace(letter, request)
            case Pause(code):
                return await self._pause(code, pauses)
            case _:
                assert_never(request)

    async def letter(self, letter: LetterId) -> LetterMessage | None:
        """The dead letter, or the tombstone in its place."""
        subject = self._subjects.dead_letter(letter.tenant, letter.route, letter.seq)
        found = await self._jetstream.last_message(self._subjects.stream("DLQ"), subject)
        return None if found is None else LetterMessage(found.seq, found.headers, found.payload)

    async def _look(self, letter: LetterId, after: int, before: int) -> FoundCopy | None:
        """The marker itself is read along: once it comes, everything before it has come."""
        prefix = token_prefix(letter.seq)
        wanted = [self._delivery_subject(letter), self._marker_subject(letter)]
        reading = Reading(self._subjects.stream("DELIVERIES"), wanted, after + 1, headers_only=True)
        async with OrderedReader(self._jetstream, reading) as reader:
            while True:
                try:
                    async with asyncio.timeout(LOOK_TIMEOUT_S):
                        messages = await reader.next()
                except TimeoutError:
                    raise NoAnswer("stream DELIVERIES does not show its messages") from None
                for message in messages:
                    if message.seq >= before:
                        return None
                    token = message.headers.get(HEADER_REPLAY_ID, "")
                    if token.startswith(prefix):
                        return FoundCopy(message.seq, token)

    async def _send(self, letter: LetterId, request: SendCopy) -> Written:
        fence = header_lines(
            {
                "Nats-Expected-Last-Subject-Sequence": str(request.fence),
                "Nats-Expected-Last-Subject-Sequence-Subject": self._marker_subject(letter),
            }
        )
        copy = request.copy
        return await written(
            self._jetstream, self._delivery_subject(letter), copy.payload, copy.header_lines + fence
        )

    async def _replace(self, letter: LetterId, request: Replace) -> Written:
        tombstone = request.tombstone
        headers = header_lines(
            tombstone.headers
            | {
                "Nats-TTL": f"{request.lives_s}s",
                "Nats-Expected-Last-Subject-Sequence": str(request.expected),
            }
        )
        subject = self._subjects.dead_letter(letter.tenant, letter.route, letter.seq)
        return await written(self._jetstream, subject, tombstone.encode(), headers)

    async def _until_told(self, ask: Callable[[], Any]) -> Any:
        pauses = 0
        while True:
            try:
                return await ask()
            except NoAnswer:
                await self._pause(None, pauses := pauses + 1)
            except JetStreamError as error:
                if error.err_code not in _NO_LEADER:
                    raise
                await self._pause(error.err_code, pauses := pauses + 1)

    async def _pause(self, code: int | None, pauses: int) -> None:
        """Raises ConnectionLost where it is lost meanwhile."""
        self._waits(code)
        longest = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0**pauses)
        # two operators who are at the same letter must not go on in step
        seconds = random.uniform(longest / 2, longest)  # noqa: S311 — no secret
        try:
            async with asyncio.timeout(seconds):
                await self._connection.lost.wait()
        except TimeoutError:
            return
        raise self._connection.loss()

    def _marker_subject(self, letter: LetterId) -> str:
        return self._subjects.replay(letter.tenant, letter.route, letter.seq)

    def _delivery_subject(self, letter: LetterId) -> str:
        lane = lane_of(letter.tenant, self._lanes)
        return self._subjects.delivery(lane, letter.tenant, letter.route)


_NO_LEADER = (503, 10008, 10009)
