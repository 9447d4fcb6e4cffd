"""Deletes events that nobody needs any more (rule T8). What that is decides `pipeline.keeping.purge`.

Only below `events.`: positions, routing tables and webhooks' markers stand in the same stream, and stay.
"""

import asyncio
from collections.abc import Callable

import msgspec

from eventbus.errors import NoAnswer
from eventbus.fence import Stored
from eventbus.jetstream import JetStream
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.subjects import Subjects
from pipeline.keeping.deliveries import SHARD
from pipeline.keeping.purge import Filling, Purged, events_kept_from, least
from pipeline.keeping.stream_purge import StreamOf, filling_of, floor_of, positions_of_sources
from pipeline.routing.position import decode_position

SILENCE_S = 10.0


class _Marker(msgspec.Struct):
    """What a webhook's marker says, as far as it matters here."""

    stored: bool = False
    opened: int = 0


_marker_decoder = msgspec.json.Decoder(_Marker)


class EventsPurge:
    def __init__(self, jetstream: JetStream, subjects: Subjects, keep_s: float) -> None:
        """keep_s: so long an event is kept although it is routed, where there is room."""
        self._jetstream = jetstream
        self._subjects = subjects
        self._stream = subjects.stream("EVENTS")
        self._keep_s = keep_s
        self._open_webhooks: dict[str, int] = {}
        """Markers that say `opened` and not yet `stored`, by subject: the event stands behind the sequence, or nowhere."""
        self._markers_read = 0

    async def once(self, check: Callable[[], None], urgency: float = 1.0) -> Purged:
        """Purges. check: raises where another keeper has taken over; urgency: see `Filling`.

        Raises as JetStream does, and ValueError.
        """
        subject = self._subjects.all_events
        kept_for = StreamOf(self._stream, subject, self._keep_s)
        filling, old = await filling_of(self._jetstream, kept_for, urgency)
        if filling.spared_up_to(old) < filling.first_seq:
            return Purged(held_by="the time they are kept")
        needed = {
            "the router": await self._routed_up_to(),
            **await self._needed_by_consumers(filling),
            **await self._behind_positions(),
        }
        kept = events_kept_from(filling, old, needed.values())
        if kept > filling.first_seq:
            needed |= await self._needed_by_webhooks(kept)
            kept = events_kept_from(filling, old, needed.values())
        if kept <= filling.first_seq:
            return Purged(held_by=least(needed))
        check()
        return Purged(
            await self._jetstream.purge_stream(self._stream, subject=subject, below=kept), least(needed)
        )

    async def _routed_up_to(self) -> int:
        """The event that the router's position names stays: a router that starts looks for it (rule T2)."""
        deliveries = self._subjects.stream("DELIVERIES")
        found = await self._jetstream.last_message(deliveries, self._subjects.router_position(SHARD))
        info = await self._jetstream.stream_info(self._stream)
        if found is None or info is None:
            return 0
        position = decode_position(found.payload)
        return position.event_seq if position.made.events == info["created"] else 0

    async def _needed_by_consumers(self, filling: Filling) -> dict[str, int]:
        """Other readers of EVENTS, with a place of their own, have read up to there."""
        found: dict[str, int] = {}
        for info in await self._jetstream.consumers(self._stream):
            floor = floor_of(info)
            if floor is not None and info["config"].get("durable_name"):
                found[f"consumer {info['name']}"] = floor.settled_up_to(filling.last_seq) + 1
        return found

    async def _behind_positions(self) -> dict[str, int]:
        """What a capture that starts may look at: a torn batch behind the position (rule C5)."""
        found: dict[str, int] = {}
        for source, position in (await positions_of_sources(self._jetstream, self._subjects)).items():
            stored = Stored.read(position.seq, position.payload)
            behind = stored.mark.scan_from if stored.mark.claim else stored.seq
            events = self._subjects.events_of(source)
            first = await self._jetstream.next_message(self._stream, events, behind + 1)
            if first is not None:
                found[f"source {source}"] = first.seq
        return found

    async def _needed_by_webhooks(self, below: int) -> dict[str, int]:
        """A webhook's marker without its end: whoever claims it looks at the message behind it (decision 11)."""
        subject = self._subjects.all_webhooks
        first = await self._jetstream.next_message(self._stream, subject, self._markers_read + 1)
        if first is not None and first.seq < below:
            async with OrderedReader(self._jetstream, Reading(self._stream, [subject], first.seq)) as reader:
                left = reader.waiting
                # a batch that `below` cuts is read to its end where it came along
                while left > 0 and self._markers_read < below:
                    left = await self._read_markers(reader, left)
        for name in list(self._open_webhooks):
            if await self._jetstream.last_message(self._stream, name) is None:
                del self._open_webhooks[name]  # it has expired
        return {f"webhook {name}": seq + 1 for name, seq in self._open_webhooks.items()}

    async def _read_markers(self, reader: OrderedReader, left: int) -> int:
        try:
            async with asyncio.timeout(SILENCE_S):
                messages = await reader.next()
        except TimeoutError:  # the last ones may have expired meanwhile
            if await reader.empty():
                return 0
            raise NoAnswer(f"stream {self._stream} does not show its messages") from None
        for message in messages:
            marker = _marker_decoder.decode(message.payload)
            if marker.stored:
                self._open_webhooks.pop(message.subject, None)
            else:
                self._open_webhooks[message.subject] = marker.opened or message.seq
            self._markers_read = message.seq
        return min(left - len(messages), messages[-1].pending)
