"""A whole run between live changes, kills and torn batches: what a consumer then holds is the table."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.backfill import reads, table_run
from cdc.backfill.changes import TableChanges
from cdc.backfill.label import after_labels
from cdc.backfill.read_table import Range, ReadTable, Rights
from cdc.backfill.reads import ReadEvents
from cdc.backfill.run_record import RunRecord, Target
from cdc.backfill.table_reader import Chunk
from cdc.backfill.table_run import TableRun
from cdc.backfill.visibility import Visibility
from cdc.catalogue_facts import Facts
from cdc.event_assembly import Origin, TableEvents
from cdc.event_id import order_key
from cdc.pgoutput import Column, Relation
from cdc.position import RunMark, Runs, run_of, with_run
from cdc.relations import Relations
from cdc.settings import TableSettings
from eventbus.event import HEADER_BACKFILL
from eventbus.group_commit import Outgoing
from eventbus.subjects import Subjects
from eventbus.wire import parse_headers
from tests.cdc.backfill import model
from tests.cdc.backfill.model import Database, row

COLUMNS = tuple(Column(name, 20, identity=name == "id") for name in ("id", "v", "big"))
RELATION = Relation(1, "public", "items", "d", COLUMNS)
_table = Relations({"public.items": TableSettings("v")}).table(RELATION, Facts())
assert _table is not None
TABLE = ReadTable(RELATION, _table, ("id",), "", None, Rights("public", "items", "r"))
ORIGIN = Origin("shop", "db", 1, Subjects())


class Reader:
    """Reads the model's rows; queries are ranges and lists of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self) -> None:
        while self._database.leaving:
            self._database.leave()

    async def last_key(self, _table: ReadTable) -> tuple[str, ...]:
        rows, _ = self._database.read()
        return (str(max(rows)),) if rows else ()

    async def visible(self) -> Visibility:
        return self._database.read()[1]

    async def chunk(self, _table: ReadTable, wanted: Any, limit: int) -> Chunk:
        rows, visible = self._database.read()
        keys = [key for key in sorted(rows) if _holds(wanted, key)][:limit]
        found = [row(key, v=rows[key]["v"], big=rows[key]["big"]) for key in keys]
        return Chunk(found, visible if found else None, 0, cut=len(found) == limit)


def _holds(wanted: Any, key: int) -> bool:
    if isinstance(wanted, Range):
        return (not wanted.cursor or key > int(wanted.cursor[0])) and (
            not wanted.until or key <= int(wanted.until[0])
        )
    return (str(key),) in wanted


class World:
    """EVENTS, the position, and the stream of one tenure after the other."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.database = Database(chance, standby=chance.random() < 0.3)
        self.wal: list[Outgoing] = []
        self.log: list[Outgoing] = []
        self.runs: Runs = (RunMark("r", "public.items"),)
        self.stored: tuple[int, Runs] = (0, self.runs)
        """What the position tells: how much of the log, and the marks."""
        self.changes = TableChanges("public", "items")
        self.watched = False
        """Whether somebody notes the table's changes: from a run's begin on, or because its mark names the table."""

    # what TableRun sees of the stream

    async def put_reads(self, messages: Sequence[Outgoing], _lsn: int, run: RunMark) -> None:
        self.runs = with_run(self.runs, run)
        self.log += messages
        self.store()

    # what goes on besides

    def work(self, most: int) -> None:
        for _ in range(self.chance.randrange(most)):
            if self.chance.random() < 0.4:
                self.database.leave()
            else:
                self.wal += self.database.transact()

    def come_to(self, place: int) -> None:
        """Puts what stands in the WAL before `place`, as capture does."""
        put = sum(not is_read(message) for message in self.log)
        for message in self.wal[put:place]:
            if self.watched:
                self.changes.see([message])
            mark = run_of(self.runs, "r")
            moved = self.changes.take_moved()
            if mark in self.runs and not mark.finished and moved:
                self.runs = with_run(self.runs, mark.with_again(moved))
            self.log.append(message)
        self.store()

    def store(self) -> None:
        if self.chance.random() < 0.7:
            self.stored = (len(self.log), self.runs)

    def kill(self) -> None:
        """What is not stored is gone, but for the beginning of a torn batch: here of reads."""
        kept, runs = self.stored
        torn: list[Outgoing] = []
        for message in self.log[kept : kept + self.chance.randrange(4)]:
            if not is_read(message):
                break
            torn.append(message)
        labels = [headers(message)[HEADER_BACKFILL] for message in torn][-1:]
        self.log = self.log[: kept + len(torn)]
        self.runs = after_labels(runs, labels, 1)
        self.stored = (len(self.log), self.runs)
        self.changes = TableChanges("public", "items")
        self.watched = bool(run_of(self.runs, "r").table)
        self.come_to(self.chance.randrange(len(self.wal) + 1))

    def run(self, chunk: int | None = None) -> TableRun:
        self.watched = True
        chunk = chunk or self.chance.randrange(1, 4)
        record = RunRecord(target=Target("public.items"), chunk=chunk)
        stream: Any = self
        reader: Any = Reader(self.database)
        return TableRun("r", record, stream, self.changes, reader)


def is_read(message: Outgoing) -> bool:
    return message.subject.endswith(b".read")


def headers(message: Outgoing) -> dict[str, str]:
    return parse_headers(b"NATS/1.0\r\n" + message.headers + b"\r\n")


def read_events() -> ReadEvents:
    return ReadEvents(ORIGIN, TableEvents(TABLE.table, ORIGIN, Counter()), None)


async def backfilled(world: World) -> None:
    events = read_events()
    run, kills, steps = world.run(), 0, 0
    await run.begin()
    while not run_of(world.runs, "r").finished:
        steps += 1
        busy = 3 if steps < 100 else 1
        world.work(busy)
        world.come_to(world.chance.randrange(len(world.wal) + 1))
        await run.read(TABLE)
        watermark, lsn = len(world.wal), world.database.lsn + 5
        world.database.lsn += 5
        world.work(busy)
        if kills < 6 and world.chance.random() < 0.2:
            kills += 1
            world.kill()
            run = world.run()
            await run.begin()
            continue
        world.come_to(watermark)
        if not await run.publish(lsn, events):
            await run.come_up()
        if kills < 6 and world.chance.random() < 0.2:
            kills += 1
            world.kill()
            run = world.run()
            await run.begin()
        world.store()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_what_a_consumer_holds_is_the_table(seed: int) -> None:
    chance = random.Random(seed)
    world = World(chance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdc.position.MOST_AGAIN", chance.choice((1, 1_000)))
        patch.setattr(reads, "GROUP_EVENTS", chance.choice((1, 2, 900)))
        patch.setattr(table_run, "rows_after", lambda _table, keys, _tenant, _limit: keys)
        patch.setattr(table_run, "rows_again", lambda _table, keys, _tenant: keys)
        asyncio.run(backfilled(world))
    world.come_to(len(world.wal))
    read = [message for message in world.log if is_read(message)]
    assert [json.loads(message.payload)["id"] for message in read] == [
        f"shop:br:{n}" for n in range(1, len(read) + 1)
    ]
    assert held(world.log) == world.database.rows
    places = [order_key(headers(message), 1) for message in read]
    assert places == sorted(places)


async def test_each_part_of_the_first_chunk_knows_its_end_and_the_rows_that_took_another_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kill may come behind any of its groups: then the position has no more than that group's mark."""
    monkeypatch.setattr(table_run, "rows_after", lambda _table, keys, _tenant, _limit: keys)
    monkeypatch.setattr(reads, "GROUP_EVENTS", 1)
    world, marks = first_chunk_read(), list[RunMark]()

    async def put_reads(_messages: Sequence[Outgoing], _lsn: int, run: RunMark) -> None:
        marks.append(run)

    monkeypatch.setattr(world, "put_reads", put_reads)
    run = world.run(chunk=3)
    await run.begin()
    await run.read(TABLE)
    world.wal.append(
        model.message(
            "update", (100, 1_010), key={"id": 0}, before={"id": 5}, after={"id": 0}, unchanged=["big"]
        )
    )
    world.come_to(1)
    assert await run.publish(1_020, read_events())
    assert [mark.n for mark in marks] == [1, 2, 3, 3]
    assert {(mark.table, mark.until, mark.again) for mark in marks} == {
        ("public.items", ("5",), ('{"id":0}',))
    }


async def test_more_changes_than_are_kept_beside_a_key_that_is_not_there_are_not_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table_run, "rows_again", lambda _table, keys, _tenant: keys)
    world = first_chunk_read()
    world.runs = (RunMark("r", "public.items", n=3, cursor=("3",), until=("5",), again=('{"id":0}',)),)
    run = world.run()
    await run.begin()
    await run.read(TABLE)
    world.wal.append(model.message("update", (100, 1_010), key={"id": 0}, before={"id": 5}, after={"id": 0}))
    monkeypatch.setattr("cdc.backfill.changes.MAX_BYTES", 1)
    world.come_to(1)
    assert not await run.publish(1_020, read_events())
    assert run.mark.again == ('{"id":0}',)


def first_chunk_read() -> World:
    """Rows 1 to 5."""
    world = World(random.Random(1))
    world.database.standby = False
    del world.database.rows[0], world.database.ended[0]
    return world


def held(log: Sequence[Outgoing]) -> dict[int, dict[str, Any]]:
    """By a consumer who keeps the last it heard of each key, and knows no row from before."""
    rows: dict[int, dict[str, Any]] = {}
    for message in log:
        event = json.loads(message.payload)
        if event["op"] == "truncate":
            rows.clear()
            continue
        key = event["key"]["id"]
        old = event["before"]["id"] if event["before"] else key
        before = rows.pop(old, {})
        if event["op"] != "delete":
            rows[key] = before | event["after"]
    return rows
