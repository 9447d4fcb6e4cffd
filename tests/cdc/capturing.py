"""A source on a real server, its workload, and what EVENTS holds of it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from bridge.shipped_files import shipped
from cdc.capture import Capture
from cdc.drop import drop
from cdc.event_id import parse_event_id
from cdc.position import Position, decode_position
from cdc.settings import SourceSettings, TableSettings
from cdc.setup import set_up
from cdc.start_decision import Consent
from eventbus.connection import connect
from eventbus.errors import JetStreamError
from eventbus.event import HEADER_EVENT_ID, HEADER_OBJECT, decode_event
from eventbus.jetstream import JetStream, StoredMessage
from eventbus.lsn import parse_lsn
from eventbus.objects import ObjectStore
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.settings import NatsSettings, StreamSettings
from eventbus.subjects import Subjects

MB = 2**20
STREAMS = StreamSettings(
    events_max_bytes=64 * MB, deliveries_max_bytes=16 * MB, attempts_max_bytes=MB, dlq_max_bytes=MB
)
TABLES = """
CREATE TABLE orders (
  id int PRIMARY KEY, company int NOT NULL, status text, cost numeric(12,2), note text, changed int NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX orders_identity ON orders (company, id);
ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_identity;
CREATE TABLE history (n bigserial PRIMARY KEY, op text, id int, changed int);
CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO history (op, id, changed) VALUES (lower(TG_OP), coalesce(NEW.id, OLD.id), NEW.changed);
  RETURN NULL;
END $$;
CREATE TABLE marks (n bigserial PRIMARY KEY);
CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION remember();
"""

T = TypeVar("T")


async def eventually(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], within: float = 20.0) -> T:
    """What `ask` answers, once it holds. Fails after `within` seconds with the last answer."""
    deadline = asyncio.get_running_loop().time() + within
    while not holds(found := await ask()):
        assert asyncio.get_running_loop().time() < deadline, (
            f"not within {within} s; the last answer: {found!r}"
        )
        await asyncio.sleep(0.02)
    return found


@dataclass
class Source:
    """One source and the servers it lives on. `dsn`: a superuser's."""

    dsn: str
    nats: NatsSettings
    settings: SourceSettings = field(init=False)

    def __post_init__(self) -> None:
        # slots are the cluster's: the database's name makes them this test's own
        name = psycopg.conninfo.conninfo_to_dict(self.dsn)["dbname"]
        self.settings = SourceSettings(
            "shop",
            self.dsn,
            {"public.orders": TableSettings("company"), "public.marks": TableSettings()},
            slot=f"slot_{name}",
            publication="bridge",
        )

    async def create(self, tables: str = TABLES) -> None:
        await self.sql(tables)
        await self.set_up()

    async def set_up(self) -> None:
        await set_up(self.settings, None, shipped("migrations"))

    async def drop(self) -> None:
        async with await connect(self.nats, name="test", reconnect=False) as connection:
            await drop(self.settings, None, connection, self.nats.namespace)

    async def sql(self, *commands: str) -> list[tuple[Any, ...]]:
        """Each in a transaction of its own; the last one's rows."""
        rows: list[tuple[Any, ...]] = []
        async with await AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            for command in commands:
                cursor = await connection.execute(command.encode())
                rows = await cursor.fetchall() if cursor.description else []
        return rows

    async def value(self, query: str) -> Any:
        return (await self.sql(query))[0][0]

    def capture(self, consent: Consent | None = None, *, snapshot: bool = False) -> Capture:
        return Capture(self.settings, self.nats, STREAMS, consent or Consent(), snapshot=snapshot)

    @contextlib.asynccontextmanager
    async def capturing(
        self, consent: Consent | None = None, capture: Capture | None = None
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Capture in this process; stopped with a drain at the end."""
        stop = asyncio.Event()
        task = asyncio.create_task((capture or self.capture(consent)).run(stop))
        try:
            yield task
            stop.set()
            async with asyncio.timeout(20):
                await task
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def captured(self, within: float = 20.0) -> None:
        """Waits until everything committed so far is published."""
        target = parse_lsn(
            await self.value("INSERT INTO marks DEFAULT VALUES RETURNING pg_current_wal_insert_lsn()")
        )
        slot = self.settings.slot
        await eventually(
            self.position, lambda at: at is not None and at.slot == slot and at.mark.flush >= target, within
        )

    async def confirmed(self, lsn: str) -> None:
        """Waits until PostgreSQL may let go of everything up to `lsn`."""
        query = f"SELECT confirmed_flush_lsn >= '{lsn}' FROM pg_replication_slots WHERE slot_name = '{self.settings.slot}'"
        await eventually(lambda: self.value(query), bool)

    @contextlib.asynccontextmanager
    async def jetstream(self) -> AsyncIterator[JetStream]:
        async with await connect(self.nats, name="test", reconnect=False) as connection:
            yield JetStream(connection)

    async def position(self) -> Position | None:
        subjects = Subjects(self.nats.namespace)
        async with self.jetstream() as jetstream:
            stream = subjects.stream("EVENTS")
            if await jetstream.stream_info(stream) is None:
                return None
            found = await jetstream.last_message(stream, subjects.position("shop"))
        return decode_position(found.payload) if found else None

    async def events(self, *tables: str) -> list[dict[str, Any]]:
        """All events of these tables, of `orders` where none is named, in the stream's order, big ones resolved."""
        subjects = Subjects(self.nats.namespace)
        async with self.jetstream() as jetstream:
            last = await jetstream.last_message(subjects.stream("EVENTS"), subjects.events_of("shop"))
            found = [] if last is None else await _read(jetstream, subjects, last)
        return [event for event in found if event["source"]["table"] in (tables or ("orders",))]


async def _read(jetstream: JetStream, subjects: Subjects, last: StoredMessage) -> list[dict[str, Any]]:
    objects = ObjectStore(jetstream, subjects.bucket("BIG_EVENTS"))
    found: list[dict[str, Any]] = []
    async with OrderedReader(
        jetstream, Reading(subjects.stream("EVENTS"), [subjects.events_of("shop")])
    ) as reader:
        while True:
            for message in await reader.next():
                payload = message.payload
                if HEADER_OBJECT in message.headers:
                    payload = await objects.get(message.headers[HEADER_OBJECT])
                event = decode_event(payload)
                assert event["id"] == message.headers[HEADER_EVENT_ID]
                found.append(event)
                if message.seq == last.seq:
                    return found


async def fill(source: Source) -> None:
    """Leaves no room in EVENTS."""
    subject = Subjects(source.nats.namespace).event("other", "_", "s", "t", "insert")
    async with source.jetstream() as jetstream:
        for size in (10_000, 1_000, 0):
            with contextlib.suppress(JetStreamError):
                while True:
                    await jetstream.publish(subject, bytes(size))


AS_EVENTS_HOLDS = 35_000
"""Changes of a workload that are about 50 MB of events: a quick machine must not fill the stream."""


class Workload:
    """Mixed transactions on `orders` from one session, so that the history's order is the commits' order."""

    def __init__(self, seed: int, first: int = 1) -> None:
        """first: the least id it gives."""
        self._random = random.Random(seed)
        self._ids: list[int] = []
        self._next = first
        self.changes = 0

    async def run(self, source: Source, changes: int) -> None:
        """At least so many changes."""
        async with await AsyncConnection.connect(source.dsn, autocommit=True) as connection:
            while self.changes < changes:
                async with connection.transaction():
                    for _ in range(self._random.choice((1, 1, 1, 2, 5, 40))):
                        await self._change(connection)

    async def large(self, source: Source, rows: int) -> None:
        """One transaction of many rows."""
        ids = range(self._next, self._next + rows)
        await source.sql(
            f"INSERT INTO orders SELECT i, i % 7, 'bulk', i / 3.0 FROM generate_series({ids[0]}, {ids[-1]}) i"
        )
        self._next += rows
        self._ids += ids
        self.changes += rows

    async def _change(self, connection: AsyncConnection[Any]) -> None:
        pick, self.changes = self._random.random(), self.changes + 1
        if not self._ids or pick < 0.4:
            note = self._random.randbytes(
                self._random.choice((3, 30, 3000))
            ).hex()  # the longest is stored out of line
            row = [self._next, self._random.randrange(7), "open", self._random.randrange(10**6), note]
            await connection.execute("INSERT INTO orders VALUES (%s, %s, %s, %s / 100.0, %s)", row)
            self._ids.append(self._next)
            self._next += 1
            return
        place = self._random.randrange(len(self._ids))
        if pick < 0.85:
            update = "UPDATE orders SET status = %s, changed = changed + 1 WHERE id = %s"
            await connection.execute(update, [self._random.choice(("open", "closed")), self._ids[place]])
        elif pick < 0.9:
            update = "UPDATE orders SET company = (company + 1) %% 7, changed = changed + 1 WHERE id = %s"
            await connection.execute(update, [self._ids[place]])
        else:
            await connection.execute("DELETE FROM orders WHERE id = %s", [self._ids.pop(place)])


async def assert_gap_free(
    source: Source, earlier: Sequence[dict[str, Any]] = (), *, one_session: bool = True
) -> list[dict[str, Any]]:
    """EVENTS against the table: each change once, in commit order, and the rows they lead to are the table's.

    earlier: events that were taken out of the stream; one_session: only then the history's order is the commits' order,
    too.
    """
    events = [*earlier, *await source.events()]
    places = [parse_event_id(event["id"]) for event in events]
    assert all(one < next_ for one, next_ in pairwise(places))
    history = await source.sql("SELECT op, id, changed FROM history ORDER BY n")
    changes = _changes(events)
    if not one_session:
        changes, history = sorted(changes, key=repr), sorted(history, key=repr)
    assert changes == history
    rows = _replayed(events)
    columns = ("id", "company", "status", "cost", "note", "changed")
    table = await source.sql(f"SELECT {', '.join(columns)} FROM orders ORDER BY id")
    assert [tuple(rows[key][column] for column in columns) for key in sorted(rows)] == table
    return events


def _replayed(events: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    deleted: dict[int, dict[str, Any]] = {}
    for event in events:
        key = event["key"]["id"]
        if event["op"] == "delete":
            deleted[key] = rows.pop(key)
        elif event["op"] == "insert":
            assert key not in rows
            # a move between tenants may leave values unchanged, and so unsent
            rows[key] = {**deleted.get(key, {}), **event["after"]}
        else:
            rows[key] = {**rows[key], **event["after"]}
    return rows


def _changes(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """As the history tells them: a move between tenants, two events of one update, is an update there."""
    changes: list[tuple[Any, ...]] = []
    for event in events:
        key = event["key"]["id"]
        moved = changes and event["op"] == "insert" and changes[-1][:2] == ("delete", key)
        if moved:
            changes[-1] = ("update", key, event["after"]["changed"])
        elif event["op"] == "delete":
            changes.append(("delete", key, None))
        else:
            changes.append((event["op"], key, event["after"]["changed"]))
    return changes
