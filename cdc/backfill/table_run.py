"""One backfill, done: chunk by chunk, each published at its watermark (rules B1 to B4)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from cdc.backfill.changes import ReadRow, TableChanges
from cdc.backfill.key_values import KeyUnreadable, key_values
from cdc.backfill.pace import Pace
from cdc.backfill.read_table import Range, ReadTable, Refused, rows_after, rows_again
from cdc.backfill.reads import ReadEvents, Watermark
from cdc.backfill.run_record import RunRecord
from cdc.backfill.table_reader import CHUNK_TIMEOUT_S, Chunk, ChunkTooSlow, TableReader
from cdc.capture_stream import CaptureStream
from cdc.position import RunMark, run_of

_AGAIN_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class _Step:
    """A chunk that was read. before: the run's mark then; cursor, finished: where it leads, unless rows are to be read
    besides; again: of those the keys that were looked up.
    """

    chunk: Chunk
    before: RunMark
    cursor: tuple[str, ...]
    finished: bool = False
    again: frozenset[str] = frozenset()


class TableRun:
    """One run, on one description of its table, for as long as that holds."""

    def __init__(
        self, run: str, record: RunRecord, stream: CaptureStream, changes: TableChanges, reader: TableReader
    ) -> None:
        """`changes`: that of the table go to it."""
        self.run = run
        self._record = record
        self._stream = stream
        self._changes = changes
        self._reader = reader
        self._pace = Pace(record.chunk, record.rate)
        self._step: _Step | None = None

    async def begin(self) -> None:
        """From here on all that was published before is visible. Raises SourceLost."""
        self._changes.clear()
        await self._reader.settle()

    @property
    def mark(self) -> RunMark:
        """How far it is, with all that was put."""
        return run_of(self._stream.runs, self.run)

    async def read(self, table: ReadTable) -> None:
        """The next chunk. Then the watermark is to be written, and `publish` called when it comes round.

        Raises TableChanged, Refused, SourceLost.
        """
        await asyncio.sleep(self._pace.wait(_now()))
        mark = self.mark
        step = await (self._read_again(mark, table) if mark.again else self._read_on(mark, table))
        if step.chunk.visible is not None:
            self._changes.forget_seen(step.chunk.visible)
        self._pace.took(len(step.chunk.rows), step.chunk.size, _now())
        self._step = step

    async def _read_on(self, mark: RunMark, table: ReadTable) -> _Step:
        if not mark.cursor:
            mark = msgspec.structs.replace(mark, until=await self._reader.last_key(table))
        while True:
            limit = self._pace.rows
            query = rows_after(table, Range(mark.cursor, mark.until), self._record.target.tenant, limit)
            try:
                chunk = await self._reader.chunk(table, query, limit)
            except ChunkTooSlow:
                if not self._pace.slower():
                    raise Refused(_too_slow(table)) from None
            else:
                cursor = chunk.rows[-1].cursor if chunk.rows else mark.cursor
                return _Step(chunk, mark, cursor, finished=not chunk.cut)

    async def _read_again(self, mark: RunMark, table: ReadTable) -> _Step:
        keys = mark.again[:_AGAIN_AT_ONCE]
        query = rows_again(table, _values(keys, table), self._record.target.tenant)
        try:
            visible = await self._reader.visible()
            chunk = await self._reader.chunk(table, query, limit=len(keys) + 1)
        except ChunkTooSlow:
            raise Refused(_too_slow(table)) from None
        # where none of the keys is there, an older snapshot tells what that means
        chunk.visible = chunk.visible or visible
        done = frozenset(row.key for row in chunk.rows) if chunk.cut else frozenset(keys)
        return _Step(chunk, mark, mark.cursor, again=done)

    async def publish(self, lsn: int, events: ReadEvents) -> bool:
        """Everything before the watermark at `lsn` is put, nothing behind it. False: the chunk has to be read again."""
        assert self._step is not None
        step, self._step = self._step, None
        mark, rows = self.mark, self._rows(step.chunk)
        if rows is None or mark.cursor != step.before.cursor:
            return False
        # where a kill comes between its groups, the first chunk too has an end to read to
        before = msgspec.structs.replace(mark, until=step.before.until)
        watermark = Watermark(lsn, step.chunk.read_at)
        for messages, reached in events.groups(rows, watermark, before, self._after(before, step)):
            await self._stream.put_reads(messages, lsn, reached)
        return True

    def _after(self, mark: RunMark, step: _Step) -> RunMark:
        left = tuple(key for key in mark.again if key not in step.again)
        after = msgspec.structs.replace(mark, cursor=step.cursor, again=left)
        after = after.with_again(self._changes.moves_unseen(step.chunk.visible))
        finished = step.finished and not after.again and after.cursor == step.cursor
        return msgspec.structs.replace(after, finished=finished)

    def _rows(self, chunk: Chunk) -> list[ReadRow] | None:
        if self._changes.overflowed:
            return None
        if chunk.visible is None:
            return []
        rows = self._changes.done_to(chunk.rows, chunk.visible)
        tenant = self._record.target.tenant
        return rows if rows is None or tenant is None else [row for row in rows if row.tenant == tenant]

    async def come_up(self) -> None:
        """After `publish` said False: begins to see changes anew. Raises SourceLost."""
        self._pace.slower()
        await self.begin()


def _values(keys: Sequence[str], table: ReadTable) -> list[tuple[str, ...]]:
    columns = [table.relation.columns[place] for place in table.key_places]
    try:
        return [key_values(key, [(column.name, column.type_oid) for column in columns]) for key in keys]
    except KeyUnreadable:
        raise Refused(
            f"a row of {table.relation.full_name} got another key meanwhile, of a type that cannot be looked up again: "
            "ask for the backfill when keys stand still"
        ) from None


def _too_slow(table: ReadTable) -> str:
    columns = ", ".join(table.key)
    return (
        f"reading a single row of {table.relation.full_name} by its key takes more than {CHUNK_TIMEOUT_S} s; an index on "
        f"(tenant column, {columns}) helps where --tenant is given, ANALYZE where statistics are old"
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
