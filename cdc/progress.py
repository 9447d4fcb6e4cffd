"""What may be confirmed to PostgreSQL, and when (rule C8). Pure: times are passed in, in seconds, LSNs are numbers.

PostgreSQL lets go of WAL that is confirmed, so an LSN is confirmed only after a position that says it is stored;
where one replica's acknowledgement is no fsync, only once that position is `hold_back` seconds old.
"""

from collections import deque
from dataclasses import dataclass

_BUCKET = 1.0
"""Positions acknowledged within this many seconds are held back together, as the youngest of them."""
_REPLY_EVERY = 1.0
"""Between two answers to a server that asks again and again."""
_ASKED_TO_LEAVE = 5
"""A walsender that asks so often in a row is shutting down, and waits until all is confirmed."""


@dataclass(frozen=True, slots=True)
class ProgressSettings:
    """lone_every, lone_wal: a position without events is written after so many seconds or bytes of WAL.

    feedback_every: a third of `wal_sender_timeout`; confirm_every: between two answers that confirm more.
    """

    hold_back: float = 0.0
    feedback_every: float = 10.0
    lone_every: float = 10.0
    lone_wal: int = 16 * 2**20
    confirm_every: float = 0.2


class Progress:
    """The confirmations of one stream of one slot: only signs of life until `begin`."""

    def __init__(self, settings: ProgressSettings, now: float) -> None:
        self._settings = settings
        self._recorded = 0
        self._floor = 0
        self._wal_end = 0
        self._held: deque[tuple[float, float, int]] = deque()  # first and last acknowledgement, flush
        self._confirmable = 0
        self._confirmed = 0
        self._last_lone = float("-inf")
        self._last_feedback = now
        self._asked = False
        self._asked_at = float("-inf")
        self._asked_in_a_row = 0

    @property
    def confirmed(self) -> int:
        """What was confirmed last; 0: nothing yet."""
        return self._confirmed

    @property
    def wal_end(self) -> int:
        """How far the server's last keepalive said it has sent."""
        return self._wal_end

    @property
    def server_wants_to_end(self) -> bool:
        """The walsender is shutting down and waits for what we may not confirm yet: leave, so that it can."""
        return self._asked_in_a_row >= _ASKED_TO_LEAVE

    def begin(self, flush: int, confirmed_flush: int, now: float) -> None:
        """A position with this flush was claimed; the slot is confirmed up to `confirmed_flush`.

        Less is never confirmed again: before version 18 PostgreSQL would take the slot back.
        """
        self._floor = confirmed_flush
        self.put(flush)
        self.acknowledged(flush, now)

    def put(self, flush: int) -> None:
        """A position with this flush is on its way."""
        self._recorded = max(self._recorded, flush)

    def acknowledged(self, flush: int, now: float) -> None:
        """A position with this flush is stored."""
        if flush <= self._floor:
            return
        if self._held and now - self._held[-1][0] < _BUCKET:
            first, _, held = self._held.pop()
            self._held.append((first, now, max(held, flush)))
        else:
            self._held.append((now, now, flush))
        self._release(now)

    def keepalive(self, wal_end: int, now: float, *, asks: bool) -> None:
        """A keepalive read after everything before it; `asks`: the server wants an answer."""
        self._wal_end = max(self._wal_end, wal_end)
        if asks:
            follows = now - self._asked_at < 3 * _REPLY_EVERY
            self._asked_in_a_row = self._asked_in_a_row + 1 if follows else 1
            self._asked, self._asked_at = True, now

    def lone(self, now: float) -> int | None:
        """The flush of a position to write without events, now; call it only between transactions."""
        if self._lone_at() > now:
            return None
        self._last_lone, self._recorded = now, self._wal_end
        return self._wal_end

    def _lone_at(self) -> float:
        ahead = self._wal_end - self._recorded
        if ahead <= 0:
            return float("inf")
        if ahead >= self._settings.lone_wal:
            return float("-inf")
        return self._last_lone + (_REPLY_EVERY if self._asked else self._settings.lone_every)

    def feedback(self, now: float) -> int | None:
        """The LSN to confirm now (0: none yet, only a sign of life), or None: nothing to send before `wake`."""
        self._release(now)
        if self._feedback_at() > now:
            return None
        self._last_feedback, self._asked = now, False
        self._confirmed = self._confirmable
        return self._confirmed

    def _feedback_at(self) -> float:
        settings = self._settings
        wait = settings.feedback_every
        if self._confirmable > self._confirmed:
            wait = min(wait, settings.confirm_every)
        elif self._asked:
            wait = min(wait, _REPLY_EVERY)
        return self._last_feedback + wait

    def final(self, now: float) -> int:
        """What to confirm in parting."""
        self._release(now)
        self._confirmed = self._confirmable
        return self._confirmed

    def wake(self, *, between_transactions: bool) -> float:
        """When to ask `feedback`, and between transactions `lone`, again although nothing came."""
        released = self._held[0][1] + self._settings.hold_back if self._held else float("inf")
        lone = self._lone_at() if between_transactions else float("inf")
        return min(self._feedback_at(), lone, released)

    def _release(self, now: float) -> None:
        while self._held and self._held[0][1] + self._settings.hold_back <= now:
            self._confirmable = max(self._confirmable, self._held.popleft()[2])
