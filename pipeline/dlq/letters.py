"""Open dead letters, read from DLQ: what is there at a glance, and each whole (rule R11: tombstones are hidden)."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from eventbus.event import HEADER_EVENT_ID, HEADER_OBJECT
from eventbus.jetstream import JetStream
from eventbus.message import Message
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.subjects import Subjects
from pipeline.dlq.replaying import LetterId
from pipeline.dlq.stored_letter import (
    HEADER_CLASS,
    HEADER_REASON,
    LetterUnreadable,
    StoredLetter,
    read_letter,
)
from pipeline.dlq.tombstone import original_seq, read_tombstone


@dataclass(frozen=True, slots=True)
class Glance:
    """What is known of a dead letter without its payload.

    at: its sequence in DLQ; time: when it was written, seconds since the epoch; original: of replays of replays the
    first delivery's sequence. class_ is empty where nobody could say.
    """

    id: LetterId
    at: int
    time: float
    original: int
    event_id: str
    reason: str
    class_: str


@dataclass(frozen=True, slots=True)
class WholeLetter:
    """headers: as stored; letter: None where the payload is none (`why` says so)."""

    id: LetterId
    headers: Mapping[str, str]
    letter: StoredLetter | None
    why: str = ""

    @property
    def object_name(self) -> str | None:
        """Where its event is, if it is too big for a message."""
        return self.headers.get(HEADER_OBJECT)


class Letters:
    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._subjects = subjects
        self._stream = subjects.stream("DLQ")

    async def glances(self, subject: str | None = None, since: float | None = None) -> list[Glance]:
        """The open ones, oldest first, of a subject (or wildcard), written from a moment on.

        Raises ConnectionLost, JetStreamError.
        """
        found: dict[LetterId, Glance] = {}
        async for message in self._messages(subject, since):
            letter = LetterId(*self._subjects.parse_dead_letter(message.subject))
            headers = message.headers
            if read_tombstone(headers) is not None:  # it has been replaced while we read
                found.pop(letter, None)
                continue
            glance = Glance(
                id=letter,
                at=message.seq,
                time=message.time,
                original=original_seq(headers, letter.seq),
                event_id=headers.get(HEADER_EVENT_ID, ""),
                reason=headers.get(HEADER_REASON, ""),
                class_=headers.get(HEADER_CLASS, ""),
            )
            found[letter] = glance if glance.reason and glance.class_ else await self._completed(glance)
        return list(found.values())

    async def whole(self, glance: Glance) -> WholeLetter | None:
        """None: it was dealt with meanwhile."""
        found = await self._jetstream.message(self._stream, glance.at)
        if found is None or read_tombstone(found.headers) is not None:
            return None
        try:
            return WholeLetter(glance.id, found.headers, read_letter(found.payload))
        except LetterUnreadable as error:
            return WholeLetter(glance.id, found.headers, None, str(error))

    async def _completed(self, glance: Glance) -> Glance:
        """Its class stands in the payload alone."""
        whole = await self.whole(glance)
        letter = whole.letter if whole else None
        if letter is None:
            return glance
        return replace(glance, reason=letter.reason, class_=letter.error.class_)

    async def _messages(self, subject: str | None, since: float | None) -> AsyncIterator[Message]:
        """What is there now. What comes meanwhile may come too."""
        wanted = [subject or self._subjects.all_dead_letters]
        reading = Reading(self._stream, wanted, headers_only=True, since=since)
        async with OrderedReader(self._jetstream, reading) as reader:
            async for message in reader.what_is_there():
                yield message
