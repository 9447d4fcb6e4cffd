"""A table's changes that go by while its rows are read, and what they make of the rows (rule B2). Pure.

A row that was read is published behind everything before its watermark. So what of that its snapshot did not see is
done to it first: then it is the row as it stands at the watermark, and nothing older follows a live change.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from cdc.backfill.visibility import Visibility
from cdc.column_values import json_string
from eventbus.group_commit import Outgoing
from eventbus.lsn import MAX_LSN, parse_lsn
from eventbus.tokens import escape

MAX_BYTES = 16 * 2**20
"""Of changes that are kept; beyond it the chunk is read again, once the stream has come up with it."""
_TRUNCATE = "truncate"


class ReadRow(NamedTuple):
    """A row. cursor: its key as PostgreSQL prints it, in the index's order; key, after: JSON; tenant: as in a wire row."""

    cursor: tuple[str, ...]
    key: str
    tenant: str | int | None
    after: str


@dataclass(frozen=True, slots=True)
class _Change:
    """key: JSON, None where the event does not tell it; old_key: the one before, where the event tells another."""

    xid: int | None
    lsn: int
    op: str
    key: str | None
    old_key: str | None
    tenant: str | None
    after: bytes
    whole: bool

    @property
    def moves(self) -> bool:
        return self.key is not None and self.old_key is not None

    @property
    def size(self) -> int:
        return 200 + len(self.after)


class _Source(msgspec.Struct):
    commit_lsn: str
    xid: int | None = None


class _Event(msgspec.Struct):
    op: str
    source: _Source
    key: msgspec.Raw
    after: msgspec.Raw
    before: msgspec.Raw = msgspec.Raw(b"null")
    tenant: str | None = None
    unchanged: list[str] = []


class TableChanges:
    """The changes of one table that a chunk's snapshot may not have seen."""

    def __init__(self, schema: str, table: str) -> None:
        self._subject = [escape(schema).encode(), escape(table).encode()]
        self._needle = b".%b.%b." % (*self._subject,)
        self._changes: list[_Change] = []
        self._size = 0
        self._moved: dict[str, None] = {}
        self._deleted: str | None = None
        self.overflowed = False
        """More changes came than are kept: nothing can be told until `clear`."""

    def clear(self) -> None:
        """Forgets everything; whoever calls it has to wait for older transactions again."""
        self._changes, self._size, self.overflowed = [], 0, False

    def see(self, messages: Sequence[Outgoing]) -> None:
        """Events as they are published, in order."""
        for message in messages:
            if self._needle in message.subject and message.subject.split(b".")[-3:-1] == self._subject:
                self._add(self._read(message))

    def _add(self, change: _Change) -> None:
        if change.key is not None and change.moves:
            self._moved[change.key] = None
        if self.overflowed:
            return
        self._changes.append(change)
        self._size += change.size
        if self._size > MAX_BYTES:
            self.clear()
            self.overflowed = True

    def _read(self, message: Outgoing) -> _Change:
        try:
            event = _decoder.decode(message.payload)
        except (msgspec.DecodeError, RecursionError):
            # what cannot be told may be any row's
            return _Change(None, MAX_LSN + 1, "unknown", None, None, None, b"", whole=False)
        key, old_key = _text(event.key), _old_key(event)
        if event.op == "insert" and event.unchanged:
            # a move between tenants: the delete before it tells which row it was
            old_key = self._deleted
        self._deleted = key if event.op == "delete" else None
        return _Change(
            event.source.xid,
            parse_lsn(event.source.commit_lsn),
            event.op,
            key,
            None if old_key == key else old_key,
            event.tenant,
            bytes(event.after),
            whole=not event.unchanged,
        )

    def forget_seen(self, visible: Visibility) -> None:
        """What this and every later snapshot sees need not be kept."""
        self._changes = [change for change in self._changes if not visible.sees(change.xid, change.lsn)]
        self._size = sum(change.size for change in self._changes)

    def take_moved(self) -> list[str]:
        """Keys that rows were given in place of others since the last call: no chunk may have met these rows."""
        moved, self._moved = list(self._moved), {}
        return moved

    def moves_unseen(self, visible: Visibility | None) -> list[str]:
        """Those of such keys that `visible` (None: whatever it is) does not see: only a later chunk can."""
        return [
            change.key
            for change in self._changes
            if change.key is not None
            and change.moves
            and not (visible is not None and visible.sees(change.xid, change.lsn))
        ]

    def done_to(self, rows: Iterable[ReadRow], visible: Visibility) -> list[ReadRow] | None:
        """The rows as they stand behind every change that was seen here; None: they have to be read again."""
        if self.overflowed:
            return None
        standing = {row.key: _Standing(row) for row in rows}
        for change in self._changes:
            if visible.sees(change.xid, change.lsn):
                continue
            if change.op == _TRUNCATE:
                for row in standing.values():
                    row.gone = True
            elif change.key is None:
                return None
            else:
                _do(change, standing)
        return [held.row for held in standing.values() if held.row is not None and not held.gone]


class _Standing:
    """A row that changes are done to; one that is gone may come back and then still has its unchanged values.

    row: None where a row has come in its place of which not everything is known; it is read again by its new key.
    """

    def __init__(self, row: ReadRow) -> None:
        self.gone = False
        self.place = row
        self.row: ReadRow | None = row


def _do(change: _Change, standing: dict[str, _Standing]) -> None:
    before = standing.get(change.old_key or change.key or "")
    now = standing.get(change.key or "")
    if change.old_key is not None and before is not None:
        before.gone = True
    if now is None:
        return
    if change.op == "delete":
        now.gone = True
        return
    now.row = _become(change, now.place, None if before is None else before.row)
    now.gone = now.row is None


def _become(change: _Change, place: ReadRow, before: ReadRow | None) -> ReadRow | None:
    """The row that now has the key of `place`; `before`: what it was before the change, which may have had another key."""
    after = change.after.decode()
    if not change.whole:
        if before is None:
            return None
        members, changed = _row.decode(before.after), _row.decode(change.after)
        assert members is not None
        assert changed is not None
        after = _object((members | changed).items())
    return place._replace(tenant=change.tenant, after=after)


def _old_key(event: _Event) -> str | None:
    """The key's columns as the row before had them; None where the event does not tell all of them."""
    names, before = _row.decode(event.key), _row.decode(event.before)
    if names is None or before is None or not all(name in before for name in names):
        return None
    return _object((name, before[name]) for name in names)


def _text(json: msgspec.Raw) -> str | None:
    text = bytes(json).decode()
    return None if text == "null" else text


def _object(members: Iterable[tuple[str, msgspec.Raw]]) -> str:
    return "{" + ",".join(_members(members)) + "}"


def _members(members: Iterable[tuple[str, msgspec.Raw]]) -> Iterator[str]:
    for name, value in members:
        yield f"{json_string(name)}:{bytes(value).decode()}"


_decoder = msgspec.json.Decoder(_Event)
_row: msgspec.json.Decoder[dict[str, msgspec.Raw] | None] = msgspec.json.Decoder(
    dict[str, msgspec.Raw] | None
)
