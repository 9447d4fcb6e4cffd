"""The circuit breaker of one connection: closed, open, and one probe in between (rule R8). Pure: time is passed in.

    CLOSED ── `failures` in a row, or `ratio` of the last `requests` ──► OPEN ── `open_s` later ──► PROBE ── success ──► CLOSED
                                                                         ▲                          │ failure
                                                                         └──────────────────────────┘

A failure is an endpoint that does not answer for anybody: refused, 503, silence. Whatever it does answer, a
rejection included, shows that it lives. A new owner of a lane begins with a probe: it knows nothing.
"""

from collections import deque
from enum import Enum

from pipeline.tenants.model import BreakerPolicy


class BreakerState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    PROBE = "probe"


class Breaker:
    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state = BreakerState.PROBE
        self._failures: deque[float] = deque()
        self._latest: deque[tuple[float, bool]] = deque()
        """When the latest requests ended, and whether they failed; at most `requests` of them."""
        self._failed_of_latest = 0
        self._opens_until = 0.0
        self._probing = False

    @property
    def next_probe(self) -> float | None:
        """When an open breaker lets a probe through; None where it is not open."""
        return self._opens_until if self.state is BreakerState.OPEN else None

    def admits(self, now: float) -> bool:
        """Whether a request may be sent now."""
        if self.state is BreakerState.OPEN and now >= self._opens_until:
            self.state = BreakerState.PROBE
        if self.state is BreakerState.PROBE:
            return not self._probing
        return self.state is BreakerState.CLOSED

    def started(self) -> None:
        """A request that was admitted is on its way."""
        self._probing = self.state is BreakerState.PROBE

    def answered(self, now: float) -> None:
        """The endpoint lives. One that was sent before the breaker opened says nothing about now."""
        if self.state is BreakerState.OPEN:
            return
        self.state, self._probing = BreakerState.CLOSED, False
        self._failures.clear()
        self._count(now, failed=False)

    def failed(self, now: float, after: float | None = None) -> None:
        """No answer for anybody; `after`: the seconds that the endpoint asked for, honoured up to ten `open_s`."""
        policy = self.policy
        self._failures.append(now)
        # the policy may be another than when the last one failed
        while len(self._failures) > policy.failures:
            self._failures.popleft()
        in_a_row = len(self._failures) == policy.failures and now - self._failures[0] <= policy.window_s
        self._count(now, failed=True)
        too_many = in_a_row or self._share_failed()
        if self.state is BreakerState.PROBE or (self.state is BreakerState.CLOSED and too_many):
            self.state, self._probing = BreakerState.OPEN, False
            self._failures.clear()
            self._latest.clear()
            self._failed_of_latest = 0
            self._opens_until = now + min(max(after or 0.0, policy.open_s), 10 * policy.open_s)

    def abandoned(self) -> None:
        """What was admitted was not sent after all: the next one may be the probe."""
        self._probing = False

    def _count(self, now: float, *, failed: bool) -> None:
        latest, policy = self._latest, self.policy
        latest.append((now, failed))
        self._failed_of_latest += failed
        while len(latest) > policy.requests or now - latest[0][0] > policy.window_s:
            self._failed_of_latest -= latest.popleft()[1]

    def _share_failed(self) -> bool:
        """Whether an endpoint that answers now and then fails too often."""
        requests = self.policy.requests
        return len(self._latest) >= requests and self._failed_of_latest >= self.policy.ratio * requests
