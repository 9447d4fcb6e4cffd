"""The table `public.orders` with transactions that change it: what each of them sees, locks and leaves behind.

What a query sees and what the WAL says differ for a while: a transaction whose commit record is written may still be
invisible, as it is while a synchronous standby takes its time.
"""

from dataclasses import dataclass, field

from tests.cdc.pgoutput_stream import ORDERS, OTHER, delete, insert, message, truncate, update
from tests.simulation.chance import Chance

Row = tuple[str, str]
"""Company and status; a status is written once only."""
Effect = tuple[int | None, Row | None]
"""The row with this id becomes that one, or goes; id None: every row goes."""


@dataclass(frozen=True, slots=True)
class Event:
    """What must be published: `op`, a value that must stand in its payload, and what it does to the table."""

    op: str
    value: str
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A message of the plugin. ordinals: how many it takes; by: the subtransaction's xid; nobodys: a logical message."""

    payload: bytes
    ordinals: int = 1
    events: tuple[Event, ...] = ()
    by: int = 0
    nobodys: bool = False


@dataclass
class Transaction:
    """One that has not ended. own: what it sees differently from a query outside; savepoints: subxid and what it saw."""

    xid: int
    large: bool = False
    own: dict[int, Row | None] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    savepoints: list[tuple[int, dict[int, Row | None], int]] = field(default_factory=list)
    subxids: list[int] = field(default_factory=list)
    truncates: bool = False

    @property
    def writes_as(self) -> int:
        return self.savepoints[-1][0] if self.savepoints else self.xid


class Orders:
    """moves: whether rows take other keys; rows: as a query sees them."""

    def __init__(self, chance: Chance) -> None:
        self.random = chance
        count = chance.choice((0, 3, 7))
        self.old: dict[int, Row] = {n: ("7", f"old{n}") for n in range(1, count + 1)}
        self.rows = dict(self.old)
        self.moves = chance.random() < 0.3
        self._versions: dict[int, list[tuple[int, Row | None]]] = {
            n: [(0, row)] for n, row in self.rows.items()
        }
        self._locked: dict[int, int] = {}
        self._truncated_by = 0
        self._next = 1
        self._next_id = 10

    def at(self, id_: int, lsn: int) -> Row | None:
        """The row behind everything that was committed before `lsn`."""
        found = None
        for committed, row in self._versions.get(id_, ()):
            if committed < lsn:
                found = row
        return found

    def change(self, within: Transaction) -> Change:
        """The transaction's next change, of whatever kind its locks allow."""
        kind = self.random.randrange(14)
        if kind == 0 or self._truncated_by not in (0, within.xid):
            return Change(insert(OTHER, "1"))
        if kind == 1:
            return Change(message(transactional=True), nobodys=True)
        if kind == 2:
            value = self._value()
            content = b'{"topic":"t","payload":{"v":"%b"}}' % value.encode()
            payload = message(transactional=True, prefix="bridge.outbox", content=content)
            return Change(payload, 1, (Event("message", value),), nobodys=True)
        if kind == 3 and not within.large and self._truncatable(within):
            return self._truncate(within)
        free = self._free(within) if kind < 11 else []
        if not free:
            return self._insert(within)
        id_ = self.random.choice(free)
        old = self._seen(within, id_)
        assert old is not None
        if kind == 4:
            self._write(within, id_, None)
            event = Event("delete", old[1], ((id_, None),))
            return Change(delete(ORDERS, *_values(id_, old), kind=b"O"), 1, (event,))
        if kind == 5:
            return self._to_other_tenant(within, id_, old)
        if kind == 6 and self.moves:
            return self._to_other_key(within, id_, old)
        new = (old[0], self._value())
        self._write(within, id_, new)
        event = Event("update", new[1], ((id_, new),))
        return Change(update(ORDERS, _values(id_, new), _values(id_, old), b"O"), 1, (event,))

    def commit(self, ended: Transaction, lsn: int) -> None:
        """Its commit record is written; nobody else sees it before `appear`."""
        if ended.truncates:
            for id_ in self._versions:
                self._versions[id_].append((lsn, None))
        for id_, row in ended.own.items():
            self._versions.setdefault(id_, []).append((lsn, row))

    def appear(self, ended: Transaction) -> None:
        """From now on queries see it, and its locks are gone."""
        if ended.truncates:
            self.rows.clear()
        for id_, row in ended.own.items():
            if row is None:
                self.rows.pop(id_, None)
            else:
                self.rows[id_] = row
        self.release(ended)

    @property
    def locked(self) -> bool:
        """Nobody can read: a transaction that truncates has not ended."""
        return self._truncated_by != 0

    def release(self, ended: Transaction) -> None:
        if self._truncated_by == ended.xid:
            self._truncated_by = 0
        self._locked = {id_: xid for id_, xid in self._locked.items() if xid != ended.xid}

    def _insert(self, within: Transaction) -> Change:
        id_, row = self._next_id, ("7", self._value())
        self._next_id += 1
        self._write(within, id_, row)
        return Change(insert(ORDERS, *_values(id_, row)), 1, (Event("insert", row[1], ((id_, row),)),))

    def _to_other_tenant(self, within: Transaction, id_: int, old: Row) -> Change:
        new = ("8" if old[0] == "7" else "7", self._value())
        self._write(within, id_, new)
        events = (Event("delete", old[1], ((id_, None),)), Event("insert", new[1], ((id_, new),)))
        return Change(update(ORDERS, _values(id_, new), _values(id_, old), b"O"), 2, events)

    def _to_other_key(self, within: Transaction, id_: int, old: Row) -> Change:
        # to the front as well, where a backfill has already been
        taken = [n for n in range(1, 10) if self._seen(within, n) is None and n not in self._locked]
        to, new = self.random.choice([*taken, self._next_id]), (old[0], self._value())
        self._next_id += to == self._next_id
        self._write(within, id_, None)
        self._write(within, to, new)
        event = Event("update", new[1], ((id_, None), (to, new)))
        return Change(update(ORDERS, _values(to, new), _values(id_, old), b"O"), 1, (event,))

    def _truncatable(self, within: Transaction) -> bool:
        return all(xid == within.xid for xid in self._locked.values())

    def _truncate(self, within: Transaction) -> Change:
        within.truncates, self._truncated_by = True, within.xid
        within.own.clear()
        for id_ in self.rows:
            self._write(within, id_, None)
        return Change(truncate(ORDERS), 1, (Event("truncate", "", ((None, None),)),))

    def _write(self, within: Transaction, id_: int, row: Row | None) -> None:
        self._locked[id_] = within.xid
        within.own[id_] = row

    def _free(self, within: Transaction) -> list[int]:
        ids = {*self.rows, *within.own}
        return [
            id_
            for id_ in sorted(ids)
            if self._locked.get(id_, within.xid) == within.xid and self._seen(within, id_)
        ]

    def _seen(self, within: Transaction, id_: int) -> Row | None:
        return within.own[id_] if id_ in within.own else self.rows.get(id_)

    def _value(self) -> str:
        self._next += 1
        return f"v{self._next}."


def _values(id_: int, row: Row) -> list[str]:
    return [str(id_), *row, ""]
