"""What a world of lanes knows of its deliveries, of what is on its way, of pauses and of what the ERPs took."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Bucket:
    """Keys under compare-and-set."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[int, Any]] = {}
        self._revision = 0

    def get(self, key: str) -> tuple[int, Any]:
        return self.values.get(key, (0, None))

    def update(self, key: str, value: Any, expected: int | None) -> int | None:
        """expected: None: whatever is there."""
        if expected is not None and self.get(key)[0] != expected:
            return None
        self._revision += 1
        self.values[key] = (self._revision, value)
        return self._revision


@dataclass
class Fate:
    """What a delivery will meet. unsafe: must not be sent twice; answers: before the ERP takes it; born: when stored;
    place: in the order of its key.
    """

    lane: int
    tenant: str
    route: str
    key: int
    unsafe: bool
    answers: list[str]
    born: float
    paused_before: float
    place: int

    @property
    def name(self) -> str:
        return f"{self.tenant}/{self.route}"


@dataclass(eq=False)
class Late:
    """A request on its way to the server: it acts when it arrives, whatever has become of who sent it.

    before: when it has arrived for sure.
    """

    act: Callable[[], Any]
    not_before: float
    before: float = math.inf
    done: bool = False
    answer: Any = None


@dataclass
class Pauses:
    """One route's, as the world knows them. since: while it is paused; total: seconds it was paused before."""

    since: float | None = None
    total: float = 0.0

    def so_far(self, now: float) -> float:
        return self.total + (0.0 if self.since is None else now - self.since)


@dataclass
class Booked:
    """What the ERPs were sent and took."""

    seqs: list[int] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    highest: dict[tuple[str, int], int] = field(default_factory=dict)
