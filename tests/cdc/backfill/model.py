"""A table of PostgreSQL with its WAL, for whoever reads the one beside the other."""

import json
import random
from typing import Any

from cdc.backfill.changes import ReadRow
from cdc.backfill.visibility import Replayed, Snapshot, Visibility
from eventbus.group_commit import Outgoing
from eventbus.lsn import format_lsn

Row = dict[str, Any]


def message(op: str, place: tuple[int, int], **members: Any) -> Outgoing:
    xid, lsn = place
    event = {"op": op, "tenant": "1", "source": {"xid": xid, "commit_lsn": format_lsn(lsn)}, "key": None}
    event |= {"before": None, "after": None} | members
    payload = json.dumps(event, separators=(",", ":")).encode()
    return Outgoing(f"events.shop.1.public.items.{op}".encode(), b"", payload, (lsn, 1))


def row(key: int, **columns: Any) -> ReadRow:
    after = {"id": key} | columns
    return ReadRow((str(key),), compact({"id": key}), "1", compact(after))


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


class Database:
    """A table of MVCC rows and its WAL: a transaction's commit record is written before it counts as ended."""

    def __init__(self, chance: random.Random, *, standby: bool) -> None:
        self.chance = chance
        self.standby = standby
        self.rows: dict[int, Row] = {key: {"id": key, "v": 0, "big": 0} for key in range(6)}
        self.ended: dict[int, Row] = dict(self.rows)
        self.leaving: list[tuple[int, int, dict[int, Row | None]]] = []
        """Committed in the WAL, and still running for snapshots: xid, LSN, what it wrote."""
        self.next_xid, self.lsn = 100, 1_000

    def transact(self) -> list[Outgoing]:
        """A transaction, whole; its events as capture publishes them."""
        xid, self.next_xid = self.next_xid, self.next_xid + 1
        self.lsn += 10
        wrote: dict[int, Row | None] = {}
        events: list[Outgoing] = []
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            events += self._change((xid, self.lsn), wrote)
        self.leaving.append((xid, self.lsn, wrote))
        # a row is locked until its transaction ends: those that wrote the same rows had ended before
        while self._conflict():
            self._end(0)
        return events

    def _change(self, place: tuple[int, int], wrote: dict[int, Row | None]) -> list[Outgoing]:
        pick = self.chance.random()
        free = [key for key in range(8) if key not in self.rows]
        if pick < 0.25 and free:
            key = self.chance.choice(free)
            self.rows[key] = wrote[key] = {"id": key, "v": place[0], "big": place[0]}
            return [message("insert", place, key={"id": key}, after=wrote[key])]
        if pick < 0.28:
            self.rows.clear()
            wrote |= dict.fromkeys(range(8))  # its lock keeps everybody else out
            return [message("truncate", place)]
        if not self.rows:
            return []
        key = self.chance.choice(list(self.rows))
        if pick < 0.45:
            del self.rows[key]
            wrote[key] = None
            return [message("delete", place, key={"id": key}, before={"id": key})]
        return [self._update(place, wrote, key, self.chance.choice(free) if free and pick > 0.85 else key)]

    def _update(self, place: tuple[int, int], wrote: dict[int, Row | None], key: int, new: int) -> Outgoing:
        row = self.rows.pop(key) | {"id": new, "v": place[0]}
        wrote[key] = None
        whole = self.chance.random() < 0.5
        if whole:
            row["big"] = place[0]
        self.rows[new] = wrote[new] = row
        sent = row if whole else {name: value for name, value in row.items() if name != "big"}
        before = {"id": key} if key != new else None
        more = {} if whole else {"unchanged": ["big"]}
        return message("update", place, key={"id": new}, before=before, after=sent, **more)

    def leave(self) -> None:
        """One that has committed counts as ended; on a standby in the order of the WAL, else in any."""
        if self.leaving:
            self._end(0 if self.standby else self.chance.randrange(len(self.leaving)))

    def _end(self, number: int) -> None:
        _, _, wrote = self.leaving.pop(number)
        for key, row in wrote.items():
            if row is None:
                self.ended.pop(key, None)
            else:
                self.ended[key] = row

    def _conflict(self) -> bool:
        keys = [key for _, _, wrote in self.leaving for key in wrote]
        return len(keys) != len(set(keys))

    def read(self) -> tuple[dict[int, Row], Visibility]:
        running = frozenset(xid for xid, _, _ in self.leaving)
        if self.standby:
            return dict(self.ended), Replayed(min((lsn for _, lsn, _ in self.leaving), default=self.lsn + 1))
        return dict(self.ended), Snapshot(min(running, default=self.next_xid), self.next_xid, running)
