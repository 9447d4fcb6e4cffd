"""Which reads are asked next, and which of them together: fair to tenants, with few sessions. Pure.

A tenant asks one thing at a time, and those whose last answer took long share half of the sessions, so that nobody's
slow reads keep the others waiting.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pipeline.rows.row_reads import ReadShape

T = TypeVar("T")
BATCH = 100
SLOW_S = 0.5


@dataclass(frozen=True, slots=True)
class Group:
    """Reads that may be asked together. tenant: its key."""

    source: str
    tenant: str
    shape: ReadShape


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """reads: values, and who waits for them."""

    group: Group
    reads: tuple[tuple[tuple[Any, ...], T], ...]


@dataclass
class ReadQueue(Generic[T]):
    """Of one source. sessions: how many batches may be under way."""

    sessions: int
    _waiting: OrderedDict[Group, OrderedDict[Hashable, tuple[tuple[Any, ...], T]]] = field(
        default_factory=OrderedDict
    )
    _busy: set[str] = field(default_factory=set)
    _slow: set[str] = field(default_factory=set)

    def find(self, group: Group, key: Hashable) -> T | None:
        """Who waits for the same read, which has not been asked yet."""
        reads = self._waiting.get(group)
        found = reads.get(key) if reads else None
        return found[1] if found else None

    def add(self, group: Group, key: Hashable, values: tuple[Any, ...], waits: T) -> None:
        """key: equal where the values are."""
        self._waiting.setdefault(group, OrderedDict())[key] = values, waits

    def take(self) -> Batch[T] | None:
        """What may be asked now; `done` is owed for it."""
        if len(self._busy) >= self.sessions:
            return None
        crowded = len(self._busy & self._slow) >= max(1, self.sessions // 2)
        for group in self._waiting:
            if group.tenant not in self._busy and not (crowded and group.tenant in self._slow):
                return self._take(group)
        return None

    def done(self, batch: Batch[T], seconds: float) -> None:
        """seconds: how long it took."""
        tenant = batch.group.tenant
        self._busy.discard(tenant)
        if seconds >= SLOW_S:
            self._slow.add(tenant)
        else:
            self._slow.discard(tenant)

    def _take(self, group: Group) -> Batch[T]:
        reads = self._waiting.pop(group)
        # of a tenant's slow reads each is asked alone: one of them may be what is slow
        most = 1 if group.tenant in self._slow else BATCH
        taken = tuple(reads.popitem(last=False)[1] for _ in range(min(most, len(reads))))
        if reads:
            self._waiting[group] = reads  # behind everybody else's
        self._busy.add(group.tenant)
        return Batch(group, taken)
