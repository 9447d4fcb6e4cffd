"""Was anything lost, doubled or reordered? Judged from the ERPs' own logs against the database's own history.

Nothing of the pipeline is asked: not its streams, not its counters. Only a dead letter is taken from the DLQ, and it
counts only where the demo planted its reason.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bridge.demo.workload import (
    BAD_EMAIL,
    BLOCKED_COST_CENTER,
    NETSUITE_TENANT,
    PLAIN_TENANT,
    SAP_TENANT,
    UNKNOWN_COST_CENTER,
)

_NUMBER = re.compile(r"#(\d+) ")
CLOSED = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the history: what the database committed. old and new: the row's columns."""

    table: str
    op: str
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change that its tenant's route wants: `planted` is the reason for which it must become a dead letter."""

    tenant: str
    row: int
    number: int
    planted: str | None


@dataclass(frozen=True, slots=True)
class Effect:
    """Something an ERP did, or a dead letter with its reason: the tenant's key and the change's number."""

    tenant: str
    number: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts; `lost`, `doubled`, `misordered` and `unplanned` are zero where all is well."""

    committed: int
    wanted: int
    delivered: int
    dead_lettered: int
    lost: int
    doubled: int
    misordered: int
    unplanned: int

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.misordered or self.unplanned)

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def number_in(text: str) -> int:
    """The change's number in a text that an ERP received. Raises ValueError where there is none."""
    found = _NUMBER.search(text)
    if found is None:
        raise ValueError(f"no change number in {text!r}")
    return int(found[1])


def wanted_of(change: Change) -> Wanted | None:
    """What the demo's routes want of this change; they are written here a second time, by hand, on purpose."""
    new, old = change.new, change.old
    if new is None:
        return None
    match change.table:
        case "work_orders" if new["id_company"] == SAP_TENANT:
            if new["id_status_work_order"] != CLOSED or (old and old["id_status_work_order"] == CLOSED):
                return None
            planted = {UNKNOWN_COST_CENTER: "mapping", BLOCKED_COST_CENTER: "rejected"}
            return _wanted(new, "description", planted.get(new["costs_center_description"]))
        case "third_parties" if new["id_company"] == NETSUITE_TENANT:
            return _wanted(new, "name", "rejected" if new["email"] == BAD_EMAIL else None)
        case "work_requests" if new["id_company"] == PLAIN_TENANT:
            return _wanted(new, "description", None)
        case _:
            return None


def _wanted(row: Mapping[str, Any], text: str, planted: str | None) -> Wanted:
    return Wanted(row["id_company"], row["id"], number_in(row[text]), planted)


def judge(history: Sequence[Change], effects: Iterable[Effect], dead: Iterable[Effect]) -> Verdict:
    """history in the order of each row, effects in each ERP's order."""
    wanted = {(w.tenant, w.number): w for w in map(wanted_of, history) if w is not None}
    done = [(effect.tenant, effect.number) for effect in effects]
    letters = {(letter.tenant, letter.number): letter.reason for letter in dead}
    due = [place for place, want in wanted.items() if want.planted is None]
    counts = Counter(done)
    return Verdict(
        committed=len(history),
        wanted=len(wanted),
        delivered=sum(1 for place in due if counts[place]),
        dead_lettered=sum(1 for place in wanted if place in letters),
        lost=sum(1 for place in wanted if not counts[place] and place not in letters),
        doubled=sum(count - 1 for count in counts.values()),
        misordered=_misordered(wanted, done),
        unplanned=_unplanned(wanted, counts, letters),
    )


def _misordered(wanted: Mapping[tuple[str, int], Wanted], done: Sequence[tuple[str, int]]) -> int:
    """Rows whose changes reached the ERP in another order than they were committed in."""
    place_in_history = {place: index for index, place in enumerate(wanted)}
    by_row: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for place in done:
        if place in wanted:
            by_row[wanted[place].tenant, wanted[place].row].append(place_in_history[place])
    return sum(1 for order in by_row.values() if order != sorted(order))


def _unplanned(
    wanted: Mapping[tuple[str, int], Wanted],
    counts: Mapping[tuple[str, int], int],
    letters: Mapping[tuple[str, int], str | None],
) -> int:
    """Deliveries nobody wanted, and dead letters for a reason the demo did not plant."""
    strange = sum(1 for place in counts if place not in wanted or wanted[place].planted)
    return strange + sum(
        1 for place, reason in letters.items() if place not in wanted or wanted[place].planted != reason
    )
