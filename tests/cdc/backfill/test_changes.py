"""What goes by while a chunk is read, against a model of PostgreSQL: a read never ends older than a live change."""

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.backfill.changes import MAX_BYTES, ReadRow, TableChanges
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


def changes() -> TableChanges:
    return TableChanges("public", "items")


def row(key: int, **columns: Any) -> ReadRow:
    after = {"id": key} | columns
    return ReadRow((str(key),), _json({"id": key}), "1", _json(after))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


NOTHING_SEEN = Snapshot(10, 10, frozenset())


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


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_a_row_is_published_as_it_stands_at_its_watermark(seed: int, standby: Any) -> None:
    chance = random.Random(seed)
    database, seen = Database(chance, standby=standby), changes()

    def work(most: int) -> None:
        for _ in range(chance.randrange(most)):
            if chance.random() < 0.4:
                database.leave()
            else:
                seen.see(database.transact())

    for _ in range(4):
        work(6)
        rows, visible = database.read()
        chunk = [row(key, v=found["v"], big=found["big"]) for key, found in rows.items()]
        if chance.random() < 0.5:
            seen.forget_seen(visible)
        work(6)
        published = seen.done_to(chunk, visible)
        assert published is not None
        for read in published:
            key = json.loads(read.key)["id"]
            assert json.loads(read.after) == database.rows[key]
        # nothing is left out for being changed, but for rows that have come from elsewhere: they are read again
        moved = {json.loads(key)["id"] for key in {*seen.take_moved(), *seen.moves_unseen(visible)}}
        kept = {key for key in rows if key in database.rows} - moved
        assert kept <= {json.loads(read.key)["id"] for read in published}


def test_a_delete_that_does_not_tell_its_row_has_the_chunk_read_again() -> None:
    seen = changes()
    seen.see([message("delete", (9, 1), before={"v": 1})])
    assert seen.done_to([row(1)], Snapshot(10, 10, frozenset())) == [row(1)]
    seen.see([message("delete", (10, 1), before={"v": 1})])
    assert seen.done_to([row(1)], Snapshot(10, 10, frozenset())) is None


def test_a_message_that_cannot_be_read_has_the_chunk_read_again() -> None:
    seen = changes()
    seen.see([Outgoing(b"events.shop.1.public.items.update", b"", b"?", (1, 1))])
    assert seen.done_to([row(1)], Replayed(10)) is None


def test_other_tables_and_tenants_named_alike_do_not_count() -> None:
    seen = changes()
    for subject in (b"events.shop.1.public.items2.delete", b"events.shop.public.items.x.delete"):
        seen.see([Outgoing(subject, b"", b"?", (1, 1))])
    assert seen.done_to([row(1)], NOTHING_SEEN) == [row(1)]


def test_more_changes_than_are_kept_have_the_chunk_read_again_until_they_are_forgotten() -> None:
    seen = changes()
    large = message("update", (10, 1), key={"id": 2}, after={"id": 2, "v": "x" * 2**20})
    for _ in range(MAX_BYTES // 2**20):
        seen.see([large])
    assert seen.done_to([row(1)], NOTHING_SEEN) is None
    seen.clear()
    assert seen.done_to([row(1)], NOTHING_SEEN) == [row(1)]


def test_a_row_that_moves_between_tenants_keeps_the_values_that_were_not_sent() -> None:
    seen = changes()
    seen.see(
        [
            message("delete", (10, 1), key={"id": 1}, before={"id": 1}),
            message("insert", (10, 1), key={"id": 1}, after={"id": 1, "v": 2}, unchanged=["big"], tenant="2"),
        ]
    )
    (found,) = seen.done_to([row(1, v=1, big=7)], NOTHING_SEEN) or []
    assert (found.tenant, json.loads(found.after)) == ("2", {"id": 1, "v": 2, "big": 7})


def test_xids_are_compared_around_their_end() -> None:
    snapshot = Snapshot(2**33 - 5, 2**33 + 5, frozenset({2**33 + 1}))
    assert [snapshot.sees(xid % 2**32, 0) for xid in (2**33 - 6, 2**33 + 1, 2**33 + 4, 2**33 + 5)] == [
        True,
        False,
        True,
        False,
    ]
    assert not snapshot.sees(None, 0)
    assert Snapshot.parse("10:20:12,15") == Snapshot(10, 20, frozenset({12, 15}))
    assert Snapshot.parse("10:10:").ended(frozenset({9}))
    assert not Snapshot.parse("10:20:12").ended(frozenset({9, 12}))
