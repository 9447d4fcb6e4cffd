"""A blocking route's open dead letters: whose keys wait, and until when (rule R11).

What was put into DLQ of the route is read once, and then followed. An open dead letter blocks its event's keys. Discarded
it does no more; replayed it does until the copy is settled, wherever that stands: a tombstone tells only the copy's
sequence, so its keys are those of the copy.
"""

import asyncio
from collections.abc import Callable

import structlog

from eventbus.event import HEADER_OBJECT, EventInvalid, decode_event
from eventbus.message import Message
from eventbus.objects import ObjectDamaged, ObjectMissing
from eventbus.ordered_reader import OrderedReader, Reading
from pipeline.delivery.retry_records import persist
from pipeline.dlq.stored_letter import LetterUnreadable, read_letter
from pipeline.dlq.tombstone import original_seq, read_tombstone
from pipeline.lanes.ordering import Line
from pipeline.lanes.work import LaneWork
from pipeline.side_by_side import all_ended

log = structlog.get_logger()


class BlockedKeys:
    """Those of one route (`tenant/route`) while it is apart; none where its dead letters do not block."""

    def __init__(self, work: LaneWork, route: str, changed: Callable[[], None]) -> None:
        """changed: called when something may go that could not."""
        self._work = work
        self._route = route
        self._changed = changed
        self._open: set[int] = set()
        self._copies: dict[int, int] = {}
        """The sequence of each copy that is not settled, as far as is known, and of the delivery it was made of."""
        self._following: asyncio.Task[None] | None = None
        self._ended: set[int] = set()
        """Deliveries still held whose dead letter has been dealt with: its writer does not know yet that it is stored."""
        self._unlearned = False
        self.known = asyncio.Event()
        """All that was there has been read."""

    def __bool__(self) -> bool:
        return bool(self._open or self._copies)

    @property
    def awaits_copy(self) -> bool:
        """Whether a dead letter's replay has still to come, which what is held waits for."""
        return any(copy not in self._work.state for copy in self._copies)

    @property
    def must_learn(self) -> bool:
        """Whether `learn` is to be called before anything more of the route goes."""
        return self._work.is_blocking(self._route) != (self._following is not None)

    async def learn(self) -> None:
        """Returns when all is known that blocks. Raises ConnectionLost, JetStreamError."""
        if not self._work.is_blocking(self._route):
            await self.end()
            self._release()
            return
        if self._unlearned:
            self._unlearned = False
            await self.end()
        if self._following is None:
            self._following = asyncio.create_task(self._follow())
        known = asyncio.create_task(self.known.wait())
        try:
            await asyncio.wait([known, self._following], return_when=asyncio.FIRST_COMPLETED)
        finally:
            known.cancel()
        self.check()

    def unlearn(self) -> None:
        """There is a dead letter of a delivery that was not looked at: before anything goes, its keys are to be known."""
        self._unlearned = True

    def check(self) -> None:
        """Raises what ended the following."""
        if self._following is not None and self._following.done():
            self._following.result()

    async def end(self) -> None:
        """Follows no more."""
        following, self._following = self._following, None
        self.known.clear()
        if following is not None:
            following.cancel()
            await all_ended([following])

    def buried(self, seq: int, place: int) -> None:
        """A delivery that is held has become a dead letter."""
        if seq in self._ended:
            return
        self._open.add(seq)
        self._work.state.block(self._work.state.lines(seq), seq, place)

    def settled_up_to(self, highest: int) -> None:
        """All that is not settled up to there is held: a copy that is not was settled, perhaps by an owner before us."""
        for copy in [copy for copy in self._copies if copy <= highest and copy not in self._work.state]:
            self.settled(copy)

    def _release(self) -> None:
        """The route blocks no more: whatever waited may go."""
        waiting = self._open | set(self._copies.values())
        self._open.clear()
        self._copies.clear()
        for seq in waiting:
            self._free(seq)

    def settled(self, seq: int) -> None:
        """A delivery is settled: perhaps a copy that keys wait for."""
        self._ended.discard(seq)
        if (first := self._copies.pop(seq, None)) is not None:
            self._free(first)

    async def _follow(self) -> None:
        tenant, _, route = self._route.partition("/")
        subject = self._work.subjects.dead_letter(tenant, route, 0).removesuffix("0") + "*"
        reading = Reading(self._work.subjects.stream("DLQ"), [subject], start=None)
        async with OrderedReader(self._work.jetstream, reading) as reader:
            # a tombstone may expire before it is read
            async for message in reader.what_is_there():
                await self._take(message)
            self.known.set()
            while True:
                for message in await reader.next():
                    await self._take(message)

    async def _take(self, message: Message) -> None:
        seq = int(message.subject.rpartition(".")[2])
        tombstone = read_tombstone(message.headers)
        if tombstone is None:
            if seq not in self._open:
                self._open.add(seq)
                lines = await self._lines_of_letter(message)
                self._work.state.block(lines, seq, original_seq(message.headers, seq))
            return
        if seq in self._work.state:
            self._ended.add(seq)
        copy = tombstone.replayed
        if copy is not None and copy not in self._work.memory:
            await self._wait_for(copy, seq)
        else:
            self._decided(seq)

    async def _wait_for(self, copy: int, seq: int) -> None:
        stream = self._work.subjects.stream("DELIVERIES")
        stored = await persist(self._work.check, lambda: self._work.jetstream.message(stream, copy))
        if stored is None:  # purged: it was settled, and long ago
            self._decided(seq)
            return
        lines = await self._lines(stored.payload, stored.headers.get(HEADER_OBJECT))
        if copy in self._work.memory:  # where it is still held, it stands before them
            self._decided(seq)
            return
        self._copies[copy] = seq
        self._open.discard(seq)  # only now: a route with nothing open comes back
        self._work.state.block(lines, seq, original_seq(stored.headers, copy))
        self._changed()

    async def _lines_of_letter(self, message: Message) -> tuple[Line, ...]:
        try:
            event = bytes(read_letter(message.payload).event)
        except LetterUnreadable as error:
            log.warning(
                "a dead letter cannot be read: it blocks no key", subject=message.subject, error=str(error)
            )
            return ()
        return await self._lines(event, message.headers.get(HEADER_OBJECT))

    async def _lines(self, payload: bytes, name: str | None) -> tuple[Line, ...]:
        objects = self._work.services.objects
        try:
            if name is not None:
                payload = await persist(self._work.check, lambda: objects.get(name))
            event = decode_event(payload)
        except (EventInvalid, ObjectMissing, ObjectDamaged):
            return ((self._route, "", None),)  # as a delivery of such an event stands
        return await self._work.lines_of(event, self._route)

    def _decided(self, seq: int) -> None:
        self._open.discard(seq)
        self._free(seq)

    def _free(self, seq: int) -> None:
        for ready in self._work.state.unblock(self._route, seq):
            self._work.turns.offer(ready)
        self._changed()
