"""Stores a webhook's event once: performs what `marker.store_once` asks for, within a time.

It outlives connections to NATS: while there is none, it waits for the next.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar, assert_never

import msgspec

from bridge.console.batches import Batches
from bridge.console.marker import (
    Answer,
    Found,
    Marker,
    Outcome,
    Pause,
    ReadEventId,
    ReadMarker,
    Refused,
    StoreBatch,
    Stored,
    WriteMarker,
    digest_of,
    store_once,
)
from eventbus.big_events import BigEvents
from eventbus.connection import Connection
from eventbus.errors import ConnectionLost, EventBusError, JetStreamError, NoAnswer
from eventbus.event import HEADER_EVENT_ID
from eventbus.fence import Refusal, Written, classify_refusal
from eventbus.group_commit import Outgoing
from eventbus.jetstream import JetStream
from eventbus.objects import ObjectStore
from eventbus.patience import patiently
from eventbus.subjects import Subjects

WITHIN_S = 10.0
TRY_S = 3.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.05, 1.0
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Marker)

T = TypeVar("T")


class MarkerInvalid(EventBusError):
    """What stands on a marker's subject is none: somebody else wrote it."""


@dataclass(frozen=True, slots=True)
class _Once:
    """One webhook on its way: its event's message, what its markers say, and for how many seconds they stand."""

    event: Outgoing
    mine: Marker
    remember: float
    subject: str

    @property
    def ttl(self) -> bytes:
        return b"Nats-TTL: %ds\r\n" % max(1, round(self.remember))


class _Bus:
    """What a connection gives."""

    def __init__(self, connection: Connection, subjects: Subjects) -> None:
        self.connection = connection
        self.jetstream = JetStream(connection, within=TRY_S)
        self.objects = ObjectStore(self.jetstream, subjects.bucket("BIG_EVENTS"))
        self.big_events = BigEvents(self.objects, connection.max_payload)
        self._batches = Batches(connection, TRY_S)

    async def store(self, once: _Once, expected: int, *, alone: bool) -> Written:
        """opened, event and stored in one batch."""
        subject = once.subject.encode()
        headers = once.ttl + b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % expected
        stored = _ENCODER.encode(msgspec.structs.replace(once.mine, stored=True))
        opened = Outgoing(subject, headers, _ENCODER.encode(once.mine), ())
        return await self._batches.store(
            [opened, once.event, Outgoing(subject, once.ttl, stored, ())], alone=alone
        )

    async def write(self, once: _Once, marker: Marker, expected: int) -> Written:
        headers = once.ttl + b"Nats-Rollup: sub\r\nNats-Expected-Last-Subject-Sequence: %d\r\n" % expected
        try:
            return Written(await self.jetstream.publish(once.subject, _ENCODER.encode(marker), headers))
        except JetStreamError as error:
            return Written(None, error.err_code)
        except (NoAnswer, ConnectionLost):
            return Written(None)


class EventStore:
    """Where webhooks' events go. `store` from as many requests at once as there are."""

    def __init__(self, subjects: Subjects, within: float = WITHIN_S) -> None:
        """within: seconds that one webhook may take."""
        self._subjects = subjects
        self._stream = subjects.stream("EVENTS")
        self._within = within
        self._bus: _Bus | None = None
        self._attached = asyncio.Event()

    @property
    def connected(self) -> bool:
        return self._bus is not None and not self._bus.connection.lost.is_set()

    def attach(self, connection: Connection) -> None:
        """From now on this connection is used."""
        self._bus = _Bus(connection, self._subjects)
        self._attached.set()

    async def store(
        self, event: Outgoing, mine: Marker, source: str, remember: float
    ) -> Stored | Refused | None:
        """None: not known, since no answer came in time; the webhook's next arrival finds out.

        remember: for how many seconds the id is known. Raises JetStreamError (nothing that waiting mends),
        MarkerInvalid.
        """
        once = _Once(event, mine, remember, self._subjects.webhook(source, digest_of(mine.id)))
        try:
            async with asyncio.timeout(self._within):
                return await self._stored(once)
        except TimeoutError:
            return None

    async def _stored(self, once: _Once) -> Stored | Refused:
        # who only comes again need bring no load, and spoils nobody's batch
        found = await self._patiently(lambda bus: self._read_marker(bus, once))
        if found is not None and found.marker.stored:
            return Stored(Outcome.KNOWN, found.marker)
        if not (await self._connected()).big_events.is_big(once.event):
            return await self._perform(once)
        # a name for this attempt alone: of two at once each would replace the other's
        name = f"{once.mine.id}/{secrets.token_hex(8)}"
        small = await self._patiently(lambda bus: bus.big_events.small(once.event, name))
        mine = msgspec.structs.replace(once.mine, object=name)
        outcome = await self._perform(replace(once, event=small, mine=mine))
        # known may be our own, whose answer was lost
        if outcome.by.object != name if isinstance(outcome, Stored) else outcome.surely:
            await self._forget_object(name)
        return outcome

    async def _forget_object(self, name: str) -> None:
        with contextlib.suppress(EventBusError):
            await self._patiently(lambda bus: bus.objects.delete(name))

    async def _perform(self, once: _Once) -> Stored | Refused:
        steps = store_once(once.mine)
        answer: Answer = None
        pause, alone = _FIRST_PAUSE_S, False
        try:
            request = next(steps)
            while True:
                if isinstance(request, Pause):
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _MAX_PAUSE_S)
                    answer = None
                elif isinstance(request, StoreBatch):
                    expected = request.expected
                    answer = await self._store(once, expected, alone=alone)
                    alone = True
                else:
                    answer = await self._answer(request, once)
                request = steps.send(answer)
        except StopIteration as end:
            outcome: Stored | Refused = end.value
            return outcome

    async def _store(self, once: _Once, expected: int, *, alone: bool) -> Written:
        return await (await self._connected()).store(once, expected, alone=alone)

    async def _answer(self, request: WriteMarker | ReadMarker | ReadEventId, once: _Once) -> Answer:
        match request:
            case WriteMarker(marker, expected):
                return await self._patiently(lambda bus: bus.write(once, marker, expected))
            case ReadMarker():
                return await self._patiently(lambda bus: self._read_marker(bus, once))
            case ReadEventId(seq):
                return await self._patiently(lambda bus: self._read_event_id(bus, seq))
            case _:
                assert_never(request)

    async def _read_marker(self, bus: _Bus, once: _Once) -> Found | None:
        found = await bus.jetstream.last_message(self._stream, once.subject)
        if found is None:
            return None
        try:
            return Found(found.seq, _DECODER.decode(found.payload))
        except msgspec.DecodeError as error:
            raise MarkerInvalid(
                f"message {found.seq} of stream {self._stream}, on {once.subject}, is no webhook's marker: {error}"
            ) from None

    async def _read_event_id(self, bus: _Bus, seq: int) -> str:
        found = await bus.jetstream.message(self._stream, seq)
        return "" if found is None else found.headers.get(HEADER_EVENT_ID, "")

    async def _connected(self) -> _Bus:
        await self._attached.wait()
        assert self._bus is not None
        return self._bus

    async def _patiently(self, ask: Callable[[_Bus], Awaitable[T]]) -> T:
        """Waits for a connection, and for answers that may come; the caller's time bounds it."""

        async def asked() -> T:
            return await ask(await self._connected())

        return await patiently(asked, _may_pass, first=_FIRST_PAUSE_S, longest=_MAX_PAUSE_S)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, JetStreamError):
        return classify_refusal(error.err_code) is Refusal.UNKNOWN
    return isinstance(error, NoAnswer | ConnectionLost)
