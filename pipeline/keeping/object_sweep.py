"""Deletes big events' objects to which nothing refers any more (rule C9): no event, no delivery, no dead letter."""

import asyncio
import time
from collections.abc import Callable

import msgspec

from eventbus.errors import NoAnswer
from eventbus.event import HEADER_OBJECT
from eventbus.jetstream import JetStream
from eventbus.objects import ObjectStore
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.subjects import Subjects
from pipeline.keeping.orphans import CapturePosition, Listed, is_over, orphans
from pipeline.keeping.stream_purge import positions_of_sources

AT_ONCE = 500
READS_PER_S = 20_000
"""The sweep is in no hurry, and shares its process with deliveries."""
SILENCE_S = 10.0
_REFERS = f"{HEADER_OBJECT}: ".encode()
_decoder = msgspec.json.Decoder(CapturePosition)


class ObjectSweep:
    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._subjects = subjects
        self._objects = ObjectStore(jetstream, subjects.bucket("BIG_EVENTS"))

    async def once(self, check: Callable[[], None]) -> int:
        """How many objects were deleted. check: raises where another keeper has taken over. Raises as JetStream does."""
        listed = {found.name: found for found in await self._objects.listing()}
        if not listed:
            return 0
        stored = await positions_of_sources(self._jetstream, self._subjects)
        positions = {source: _decoder.decode(found.payload) for source, found in stored.items()}
        now = time.time()
        ages = [Listed(found.name, now - found.at) for found in listed.values()]
        over = [found for found in ages if is_over(found, positions)]
        if not over:
            return 0
        deleted = 0
        for name in orphans(over, await self._referred(check)):
            check()
            await self._objects.delete_as_listed(listed[name])
            deleted += 1
        return deleted

    async def _referred(self, check: Callable[[], None]) -> set[str]:
        """Dead letters first: a replay puts one's reference into DELIVERIES, and from the other two nothing goes meanwhile."""
        subjects = self._subjects
        found: set[str] = set()
        for stream, subject in (
            ("DLQ", subjects.all_dead_letters),
            ("DELIVERIES", subjects.all_deliveries),
            ("EVENTS", subjects.all_events),
        ):
            found |= await self._references(subjects.stream(stream), subject, check)
        return found

    async def _references(self, stream: str, subject: str, check: Callable[[], None]) -> set[str]:
        found: set[str] = set()
        reading = Reading(stream, [subject], headers_only=True)
        async with OrderedReader(self._jetstream, reading, AT_ONCE) as reader:
            left = reader.waiting
            while left > 0:
                try:
                    async with asyncio.timeout(SILENCE_S):
                        messages = await reader.next()
                except TimeoutError:
                    if await reader.empty():
                        break
                    raise NoAnswer(f"stream {stream} does not show its messages") from None
                check()
                left = min(left - len(messages), messages[-1].pending)
                found |= {
                    message.headers[HEADER_OBJECT] for message in messages if _REFERS in message.header_block
                }
                await asyncio.sleep(len(messages) / READS_PER_S)
        return found
