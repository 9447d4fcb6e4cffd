"""What goes by while a chunk is read, against a model of PostgreSQL: a read never ends older than a live change."""

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.backfill.changes import MAX_BYTES, TableChanges
from cdc.backfill.visibility import Replayed, Snapshot
from eventbus.group_commit import Outgoing
from tests.cdc.backfill.model import Database, message, row


def changes() -> TableChanges:
    return TableChanges("public", "items")


NOTHING_SEEN = Snapshot(10, 10, frozenset())


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
