"""Rows that were read a moment ago, for whom they are new enough. Pure.

An entry serves the same tenant's same question only, for a second, and only changes whose commit it saw: so a change
never finds rows as they were before it, and what routes of one event ask is asked once.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import msgspec

from pipeline.rows.row_reads import Place, Row

KEEP_S = 1.0
ENTRIES = 1_000
ROWS, BYTES = 100, 64 * 2**10
"""Larger answers are not kept."""


@dataclass(frozen=True, slots=True)
class _Entry:
    rows: Sequence[Row]
    sees: Callable[[Place], bool]
    until: float


class ReadCache:
    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def get(self, key: Hashable, place: Place, now: float) -> Sequence[Row] | None:
        """now: seconds of a clock that never goes back."""
        entry = self._entries.get(key)
        if entry is None or now >= entry.until or not entry.sees(place):
            return None
        return entry.rows

    def put(self, key: Hashable, rows: Sequence[Row], sees: Callable[[Place], bool], now: float) -> None:
        """now: when the question was asked."""
        self._entries.pop(key, None)
        if len(rows) > ROWS or len(msgspec.json.encode(rows)) > BYTES:
            return
        self._entries[key] = _Entry(rows, sees, now + KEEP_S)
        while len(self._entries) > ENTRIES:
            self._entries.popitem(last=False)
