"""Which deliveries are settled, for when the server has forgotten it (rule R5). Pure: time is passed in, in seconds.

After a crash of the server even confirmed acks come back, some as if delivered for the first time. A lane settles a
thousand deliveries a second, so they are kept as sorted arrays of numbers, eight bytes each.
"""

from array import array
from bisect import bisect_left
from collections import deque

KEEP_S = 600.0
_BUCKET_S = 10.0


class SettledMemory:
    def __init__(self, keep: float = KEEP_S) -> None:
        self._keep = keep
        self._newest: set[int] = set()
        self._newest_since = 0.0
        self._older: deque[tuple[float, array[int]]] = deque()
        self._highest = 0
        self._retained = float("-inf")

    def add(self, seq: int, now: float) -> None:
        if not self._newest:
            self._newest_since = now
        elif now - self._newest_since > _BUCKET_S:
            self._turn_over(now)
        self._newest.add(seq)
        self._highest = max(self._highest, seq)

    def __contains__(self, seq: int) -> bool:
        if seq > self._highest:  # what is new, nearly always
            return False
        if seq in self._newest:
            return True
        for _, seqs in self._older:
            place = bisect_left(seqs, seq)
            if place < len(seqs) and seqs[place] == seq:
                return True
        return False

    @property
    def highest(self) -> int:
        return self._highest

    def retain(self, now: float) -> None:
        """What is settled until now is not forgotten before `release`: a route's own consumer that is pulled much later
        may still bring what the server forgot when it crashed.
        """
        self._turn_over(now)
        self._retained = now

    def release(self) -> None:
        self._retained = float("-inf")

    def forget(self, floor: int, now: float) -> None:
        """Drops what is both old and below `floor`, the least sequence that is not settled."""
        kept: deque[tuple[float, array[int]]] = deque()
        for until, seqs in self._older:
            old = now - until > self._keep and until > self._retained
            rest = seqs[bisect_left(seqs, floor) :] if old else seqs
            if rest:
                kept.append((until, rest))
        self._older = kept

    def _turn_over(self, now: float) -> None:
        self._older.append((now, array("Q", sorted(self._newest))))
        self._newest, self._newest_since = set(), now
