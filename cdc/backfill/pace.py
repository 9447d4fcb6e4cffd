"""How many rows the next chunk has, and when it may be read. Pure: times are passed in, in seconds."""

_FIRST_ROWS = 100
_TARGET_BYTES = 2**20
"""Of JSON in a chunk."""


class Pace:
    """One run's. rows: at most in a chunk; rate: rows a second, None: as fast as it goes."""

    def __init__(self, rows: int, rate: int | None) -> None:
        # no chunk takes longer than a second of the rate: so progress is even, and a cancel is soon seen
        self._most = rows if rate is None else max(1, min(rows, rate))
        self._rate = rate
        self._next_at = 0.0
        self.rows = min(_FIRST_ROWS, self._most)

    def wait(self, now: float) -> float:
        """Seconds until the next chunk may be read."""
        return max(0.0, self._next_at - now)

    def took(self, rows: int, size: int, now: float) -> None:
        """A chunk of so many rows and bytes was read."""
        if self._rate is not None:
            self._next_at = max(now, self._next_at) + rows / self._rate
        if rows:
            fits = _TARGET_BYTES * rows // max(size, 1)
            self.rows = max(1, min(2 * self.rows, fits, self._most))

    def slower(self) -> bool:
        """Halves the chunk; False where it has one row already."""
        smaller = self.rows // 2
        self.rows = max(1, smaller)
        return smaller > 0
