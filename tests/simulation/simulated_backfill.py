"""A capture's backfills in the simulation: `cdc.backfill`'s own code, reading the model's table.

Written anew here is only what waits on the event loop: the turn from run to run, and the wait for a watermark.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from cdc.backfill.backfills import PREFIX, Backfills
from cdc.backfill.changes import ReadRow
from cdc.backfill.read_table import Range, ReadTable, Refused, read_table
from cdc.backfill.reads import ReadEvents
from cdc.backfill.run_record import RunRecord, Target
from cdc.backfill.table_reader import Chunk, TableReader
from cdc.backfill.table_run import TableRun
from cdc.backfill.visibility import Snapshot, Visibility
from cdc.catalogue_facts import Facts
from cdc.event_assembly import Origin
from cdc.pgoutput import parse_relation
from cdc.position import RunMark, run_of
from cdc.source_errors import SourceLost
from tests.cdc.pgoutput_stream import COLUMNS, ORDERS, relation
from tests.simulation.steps import SOURCE, pause

if TYPE_CHECKING:
    from tests.simulation.capture_world import CaptureWorld
    from tests.simulation.simulated_capture import SimulatedCapture

_MOST_SETTLED = 40
"""So often is looked whether transactions end that were there; those that wait in their commit always do."""
READ_TABLE = read_table(
    SOURCE,
    parse_relation(relation(ORDERS, "orders", COLUMNS, COLUMNS, "f")),
    Facts(key=("id",)),
    [["id"]],
    {"role": "bridge", "shape": "", "filter": None},
)


def rows_after(_read: ReadTable, keys: Range, _tenant: str | None, limit: int) -> Any:
    """In place of SQL: which ids are meant, and how many of them at most."""
    first, last = (int(key[0]) if key else None for key in keys)
    return lambda id_: (first is None or id_ > first) and (last is None or id_ <= last), limit


def rows_again(_read: ReadTable, keys: Sequence[Sequence[str]], _tenant: str | None) -> Any:
    ids = {int(key[0]) for key in keys}
    return ids.__contains__, len(ids)


class ModelReader:
    """As `TableReader`."""

    def __init__(self, world: "CaptureWorld") -> None:
        self._world = world
        self._server = world.server

    @classmethod
    async def open(cls, world: "CaptureWorld") -> "ModelReader":
        await pause()
        return cls(world)

    async def close(self) -> None:
        pass

    async def describe(self, _name: str) -> ReadTable:
        await self._asked()
        return READ_TABLE

    async def check(self, _read: ReadTable) -> None:
        await self._asked()

    async def estimate(self, _read: ReadTable, _keys: Range, _tenant: str | None) -> int:
        return len(self._server.orders.rows)

    async def last_key(self, _read: ReadTable) -> tuple[str, ...]:
        await self._unlocked()
        return tuple(str(id_) for id_ in sorted(self._server.orders.rows)[-1:])

    async def settle(self) -> None:
        await self._asked()
        committed = list(self._server.hidden)
        # behind it every transaction that has begun before is in a snapshot's list, if it has not ended
        self._server.commit_message()
        running = self._server.snapshot().running
        for _ in range(_MOST_SETTLED):
            if self._server.snapshot().ended(running):
                return
            await pause()
        # our own commit has come back by now, so theirs have
        while any(one in self._server.hidden for one in committed):
            await pause()

    async def visible(self) -> Visibility:
        await self._asked()
        return self._server.snapshot()

    async def chunk(self, read: ReadTable, query: tuple[Callable[[int], bool], int], limit: int) -> Chunk:
        await self._unlocked()
        wanted, most = query
        orders, chunk = self._server.orders, Chunk()
        for id_ in [one for one in sorted(orders.rows) if wanted(one)][:most]:
            tenant, key, after = read.table.encoder.encode([str(id_), *orders.rows[id_], ""])
            chunk.rows.append(ReadRow((str(id_),), key, tenant, after))
            chunk.visible = self._snapshot()
        chunk.cut = len(chunk.rows) >= limit
        self._world.note(("read", tuple((row.cursor, row.after) for row in chunk.rows), chunk.visible))
        return chunk

    async def mark(self, token: str) -> None:
        await self._asked()
        self._server.say(PREFIX, token.encode())
        await self._asked()

    def _snapshot(self) -> Snapshot:
        return self._server.snapshot()

    async def _unlocked(self) -> None:
        await self._asked()
        while self._server.orders.locked:
            await pause()

    async def _asked(self) -> None:
        await pause()
        if self._world.chance(0.01):
            raise SourceLost("the reading connection is cut")


class ModelStore:
    """As `RunStore`; `records` by run."""

    def __init__(self, records: dict[str, RunRecord]) -> None:
        self._records = records

    async def change(self, run: str, change: Callable[[RunRecord], RunRecord | None]) -> RunRecord | None:
        await pause()
        changed = change(self._records[run])
        if changed is not None:
            self._records[run] = changed
        await pause()
        return changed


class SimulatedBackfills(Backfills):
    """`work` is a task beside the pump."""

    def __init__(self, capture: "SimulatedCapture", stream: Any, origin: Origin) -> None:
        world = capture.capture_world
        store: Any = ModelStore(world.runs)
        super().__init__(capture.tenure, stream, store, origin)
        self._world = world
        self._nonce = world.new_id("n-")

    async def work(self) -> NoReturn:
        self._stream.listen(PREFIX, self._note)
        self._tenure.on_stored = self._on_stored
        self._forget_unknown(set(self._world.runs))
        while True:
            for run, record in list(self._world.runs.items()):
                if record.is_open:
                    await self._whole(run, record)
                else:
                    self._forget(run)
            await pause()

    async def _whole(self, run: str, record: RunRecord) -> None:
        try:
            await self._attempt(run, record)
        except Refused as refused:
            await self._end(run, "failed", str(refused))
        except SourceLost as lost:
            self._world.note(("backfill begins again:", lost))
        else:
            await self._end(run, "done")

    async def _published(self, run: TableRun, reader: TableReader, events: ReadEvents) -> bool:
        self._number += 1
        token, done = f"{self._nonce}.{self._number}", list[bool]()

        async def marked(lsn: int) -> None:
            done.append(await run.publish(lsn, events))

        with self._waiting(token, marked):
            await reader.mark(token)
            while not done:
                await pause()
        return done[0]

    async def _until_stored(self, run: str, holds: Callable[[RunMark], bool]) -> None:
        while not holds(run_of(self._stored.runs, run)):
            await pause()


def some_run(chunk: int) -> RunRecord:
    return RunRecord(target=Target("public.orders"), chunk=chunk)
