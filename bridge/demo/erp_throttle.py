"""How many requests a simulated ERP takes within a second."""

import time
from collections import deque

_WINDOW_S = 1.0


class Throttle:
    """rate: 0 for any number."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._recent: deque[float] = deque()

    def refuses(self) -> bool:
        """Asked once a request; one that is refused does not count."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - _WINDOW_S:
            self._recent.popleft()
        if self._rate and len(self._recent) >= self._rate:
            return True
        self._recent.append(now)
        return False
