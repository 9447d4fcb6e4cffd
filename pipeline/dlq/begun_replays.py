"""Replays and discards that somebody began and did not end, finished by the keeper (rule R11).

It must be done before DELIVERIES is purged: a marker that has decided, and a copy without its verdict, are all that
keeps a dead letter from being sent twice until its tombstone stands. A marker is deleted when the tombstone has had
its time.
"""

import structlog

from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.dlq.replay import Failed, StoredMarker
from pipeline.dlq.replaying import LetterId, Replaying

GRACE_S = 60.0
"""So old a marker is nobody's any more who is still at it. Were it, nothing would happen but that it begins again."""

log = structlog.get_logger()


class BegunReplays:
    def __init__(self, jetstream: JetStream, subjects: Subjects, replaying: Replaying) -> None:
        self._jetstream = jetstream
        self._subjects = subjects
        self._stream = subjects.stream("DELIVERIES")
        self._replaying = replaying
        self._ended: dict[str, float] = {}
        """Markers whose tombstone stands, and until when."""

    async def finish(self, now: float, grace_s: float = GRACE_S) -> int | None:
        """The least sequence of DELIVERIES that must not be purged yet; None: nothing is open.

        now: seconds since the epoch. Raises ConnectionLost, JetStreamError, NoAnswer.
        """
        there = await self._subjects_there()
        self._ended = {subject: end for subject, end in self._ended.items() if subject in there}
        needed = [
            await self._look_at(subject, now, now - grace_s)
            for subject in sorted(there)
            if self._ended.get(subject, 0.0) < now
        ]
        return min((seq for seq in needed if seq is not None), default=None)

    async def _look_at(self, subject: str, now: float, before: float) -> int | None:
        """Finishes one, or deletes what is over; the least sequence that it still needs."""
        letter = LetterId(*self._subjects.parse_replay(subject))
        found = await self._replaying.marker(letter)
        if found is None:
            return None
        if found.marker.verdict is None and not found.marker.idle and found.marker.at > before:
            return found.scan_from
        stored = await self._replaying.letter(letter)
        if stored is None:  # the tombstone has had its time
            await self._jetstream.delete_message(self._stream, found.seq)
            return None
        if not found.marker.idle and not await self._finished(letter, found):
            return found.scan_from
        if found.marker.verdict is not None:
            self._ended[subject] = now + found.marker.lives_s
        return None

    async def _finished(self, letter: LetterId, found: StoredMarker) -> bool:
        match await self._replaying.finish(letter, found):
            case Failed(code):
                log.warning(
                    "what was begun with a dead letter cannot be finished; DELIVERIES is not purged behind it",
                    letter=letter.text,
                    code=code,
                )
                return False
            case _:
                return True

    async def _subjects_there(self) -> set[str]:
        found: set[str] = set()
        while True:
            request = {"subjects_filter": self._subjects.all_replays, "offset": len(found)}
            info = await self._jetstream.stream_info(self._stream, request)
            page = (info or {}).get("state", {}).get("subjects") or {}
            found |= page.keys()
            if not page or len(found) >= (info or {}).get("total", 0):
                return found
