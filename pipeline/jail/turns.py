"""Who is rendered for next. Pure.

Tenants take turns, so that the thousand deliveries of one wait behind each other and nobody else behind them. A tenant
whose text took more than it may is kept apart for a while. Time is passed in, in seconds of a clock that never goes back.
"""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

APART_S = 600.0
"""So long a tenant's tasks go to the child apart, from the last one that was too much."""


class TurnsQueue(Generic[T]):
    """First come, first served within a tenant; one each in turn between them."""

    def __init__(self) -> None:
        self._tenants: OrderedDict[str, deque[T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, tenant: str, task: T) -> None:
        self._tenants.setdefault(tenant, deque()).append(task)
        self._size += 1

    def again(self, tenant: str, task: T) -> None:
        """It was taken, and nothing came of it: it is the tenant's next."""
        waiting = self._tenants.setdefault(tenant, deque())
        waiting.appendleft(task)
        self._tenants.move_to_end(tenant, last=False)
        self._size += 1

    def take(self) -> T:
        """Raises KeyError where nothing waits."""
        tenant, waiting = self._tenants.popitem(last=False)
        task = waiting.popleft()
        if waiting:
            self._tenants[tenant] = waiting
        self._size -= 1
        return task

    def withdraw(self, tenant: str) -> list[T]:
        """All of a tenant's, in their order."""
        waiting = self._tenants.pop(tenant, deque())
        self._size -= len(waiting)
        return list(waiting)


class Apart:
    """The tenants that are kept apart, and until when."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def put(self, tenant: str, now: float) -> None:
        self._until[tenant] = now + APART_S

    def holds(self, tenant: str, now: float) -> bool:
        until = self._until.get(tenant)
        if until is None:
            return False
        if until <= now:
            del self._until[tenant]
            return False
        return True
