"""Replays and discards that somebody began and did not end, finished by the keeper (rule R11).

It must be done before DELIVERIES is purged: a marker that has decided, and the copy of a torn batch, are all that
keeps a dead letter from being sent twice until its tombstone stands.
"""

import structlog

from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.replay import Ended, Failed
from pipeline.replaying import LetterId, Replaying

GRACE_S = 60.0
"""So old a marker is nobody's any more who is still at it. Were it, nothing would happen but that it begins again."""

log = structlog.get_logger()


class BegunReplays:
    def __init__(self, jetstream: JetStream, subjects: Subjects, replaying: Replaying) -> None:
        self._jetstream = jetstream
        self._subjects = subjects
        self._stream = subjects.stream("DELIVERIES")
        self._replaying = replaying
        self._ended: set[str] = set()

    async def finish(self, now: float, grace_s: float = GRACE_S) -> int | None:
        """The least sequence of DELIVERIES that must not be purged yet; None: nothing is open.

        now: seconds since the epoch. Raises ConnectionLost, JetStreamError, NoAnswer.
        """
        keep: list[int] = []
        there = await self._subjects_there()
        self._ended &= there
        for subject in sorted(there - self._ended):
            needed = await self._look_at(subject, now - grace_s)
            if needed is not None:
                keep.append(needed)
        return min(keep, default=None)

    async def _look_at(self, subject: str, before: float) -> int | None:
        """Finishes one; the least sequence that it still needs."""
        letter = LetterId(*self._subjects.parse_replay(subject))
        found = await self._replaying.marker(letter)
        if found is None or found.marker.idle:
            return None
        if found.marker.verdict is None and found.marker.at > before:
            return found.scan_from
        match await self._replaying.finish(letter, found):
            case Ended():
                self._ended.add(subject)
            case Failed(code):
                log.warning(
                    "what was begun with a dead letter cannot be finished; DELIVERIES is not purged behind it",
                    letter=letter.text,
                    code=code,
                )
                return found.scan_from
        return None

    async def _subjects_there(self) -> set[str]:
        found: set[str] = set()
        while True:
            request = {"subjects_filter": self._subjects.all_replays, "offset": len(found)}
            info = await self._jetstream.stream_info(self._stream, request)
            page = (info or {}).get("state", {}).get("subjects") or {}
            found |= page.keys()
            if not page or len(found) >= (info or {}).get("total", 0):
                return found
