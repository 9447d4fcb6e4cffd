"""What one capture says of itself, to /readyz and `bridge cdc status`: set by what acts, and free of I/O."""

from collections import deque
from collections.abc import Callable

import msgspec

from eventbus.condition import Condition, Matter, Role

_FULL = 10077
_LOOKS = 11
_CONNECTS = "it connects to its servers"


class EventRate:
    """Events a second, over the last looks (ten seconds, at one look a second)."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque(maxlen=_LOOKS)

    def seen(self, events: int, now: float) -> None:
        """So many since the process began."""
        self._looks.append((now, events))

    @property
    def per_second(self) -> float:
        if len(self._looks) < 2:
            return 0.0
        (first_at, first), (last_at, last) = self._looks[0], self._looks[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """walsender: its PostgreSQL process, which owns the slot where it is the slot's; since: in its role, RFC 3339.

    blocked: JetStream's error code; lag_seconds: of the last heartbeat; findings: message by code.
    """

    host: str
    process: int
    walsender: int
    role: str
    since: str
    stalled: str | None = None
    blocked: int | None = None
    lag_seconds: float | None = None
    events_per_second: float | None = None
    findings: dict[str, str] = {}


class CaptureState:
    """From the process's start on, through all tenures."""

    def __init__(self) -> None:
        self.role = Role.STARTING
        self.lag_seconds: float | None = None
        """How long the last heartbeat took, or takes; None: there is none."""
        self.stalled: str | None = None
        """What is known of a stall, while there is one."""
        self.blocked: Callable[[], int | None] = _not_blocked
        """JetStream's code, while it takes nothing from us."""
        self.events = 0
        """How many were stored since the process began."""
        self.rate = EventRate()
        self.findings: dict[str, str] = {}
        """What somebody should look at although capture works: message by code."""
        self._trouble = Matter("starting", _CONNECTS)

    def stands_by(self) -> None:
        self.role = Role.STANDBY

    def claims(self, blocked: Callable[[], int | None]) -> None:
        """It has the slot, and reads and claims the position. `blocked`: as of `owns`."""
        self.role, self.blocked = Role.STARTING, blocked
        self._trouble = Matter("claiming", "it has the slot, and claims its position")

    def owns(self, blocked: Callable[[], int | None]) -> None:
        """`blocked`: asks the writer."""
        self.role, self.blocked = Role.OWNER, blocked

    def begins(self, trouble: str = _CONNECTS) -> None:
        """A tenure is over, or none has begun: because of what."""
        self.role, self._trouble = Role.STARTING, Matter("starting", trouble)
        self.stalled, self.blocked, self.rate = None, _not_blocked, EventRate()
        self.lag_seconds = None
        self.findings.clear()

    def condition(self) -> Condition:
        findings = tuple(Matter(code, message) for code, message in self.findings.items())
        return Condition(self.role, tuple(self._reasons()), findings)

    def answer(self, host: str, process: int, walsender: int, since: str) -> Answer:
        """For `bridge cdc status`."""
        owns = self.role is Role.OWNER
        return Answer(
            host=host,
            process=process,
            walsender=walsender,
            role=self.role.value,
            since=since,
            stalled=self.stalled,
            blocked=self.blocked(),
            lag_seconds=None if self.lag_seconds is None else round(self.lag_seconds, 3),
            events_per_second=round(self.rate.per_second, 1) if owns else None,
            findings=self.findings,
        )

    def hindrance(self) -> str | None:
        """What keeps it from its work, in words; that it claims its position does not."""
        reasons = (reason.message for reason in self._reasons() if reason.code != "claiming")
        return "; ".join(reasons) or None

    def _reasons(self) -> list[Matter]:
        reasons = []
        if self.role is Role.STARTING:
            reasons.append(self._trouble)
        if (code := self.blocked()) is not None:
            full = ": the stream is full" if code == _FULL else ""
            reasons.append(Matter("blocked", f"JetStream takes nothing, code {code}{full}; the slot waits"))
        if self.stalled is not None:
            reasons.append(Matter("stalled", self.stalled))
        return reasons


def _not_blocked() -> None:
    return None
