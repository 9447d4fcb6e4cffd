"""Reads rows for mappings: together what is alike, once what is equal, never as it was before the change that asks."""

import asyncio
import time
from collections.abc import Hashable, Sequence
from typing import Any

import structlog

from eventbus.event import encode_json
from pipeline.mapping import ColumnsRead, RowsRead
from pipeline.rows.read_cache import ReadCache
from pipeline.rows.read_queue import Batch, Group, ReadQueue
from pipeline.rows.row_reads import (
    Place,
    Reading,
    ReadInvalid,
    ReadShape,
    Row,
    RowReader,
    RowsFound,
    SourceAway,
    SourceSlow,
    TableAway,
)

SESSIONS = 4
"""With each source, of one worker; the role of `dsn` may have ten by default."""
BEHIND_S = 2.0
"""So long a standby that is behind is waited for before the delivery is put off."""
INVISIBLE_S = 10.0
"""So long a commit that the primary does not show yet: one that waits for a synchronous standby."""
LONGEST_S = 15.0
"""So long a read waits, its turn included, before the delivery is put off."""
AGAIN_S = 0.02
AWAY_S = 1.0
"""So long after it could not be reached a source is not asked again."""

_Waiting = asyncio.Future["_Found"]

log = structlog.get_logger()


class _Found:
    """One read's rows, and what they were read in."""

    def __init__(self, rows: Sequence[Row], found: RowsFound) -> None:
        self.rows = rows
        self.found = found


class Enrichment:
    """Of one worker; it outlives connections to NATS."""

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader
        self._queues: dict[str, ReadQueue[_Waiting]] = {}
        self._cache = ReadCache()
        self._away: dict[str, tuple[float, str]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._closed = False

    async def rows(self, read: RowsRead, event: dict[str, Any], tenant: str) -> Sequence[Row]:
        """tenant: its key. Raises SourceAway, SourceSlow, ReadInvalid."""
        where = tuple((column, isinstance(value, list | tuple)) for column, value in read.where)
        shape = ReadShape(read.table, where, read.order_by, read.many, read.limit, read.columns)
        return await self._read(shape, tuple(value for _, value in read.where), event, tenant)

    async def columns(self, read: ColumnsRead, event: dict[str, Any], tenant: str) -> Row | None:
        """None: the row is gone. Raises as `rows`."""
        names = tuple(sorted(read.key))
        shape = ReadShape(read.table, tuple((name, False) for name in names), columns=read.columns)
        rows = await self._read(shape, tuple(read.key[name] for name in names), event, tenant)
        return rows[0] if rows else None

    async def aclose(self) -> None:
        self._closed = True
        for task in self._asking:
            task.cancel()
        if self._asking:
            await asyncio.wait(self._asking)
        await self._reader.aclose()

    async def _read(
        self, shape: ReadShape, values: tuple[Any, ...], event: dict[str, Any], tenant: str
    ) -> Sequence[Row]:
        group = Group(str((event.get("source") or {}).get("name")), tenant, shape)
        place, began = Place.of_event(event), time.monotonic()
        key = encode_json(values)
        while True:
            now = time.monotonic()
            rows = self._cache.get((group, key), place, now)
            if rows is not None:
                return rows
            found = await _within(began + LONGEST_S, self._asked(group, key, values))
            if found.found.sees(place):
                self._cache.put((group, key), found.rows, found.found.sees, now)
                return found.rows
            waited = time.monotonic() - began
            if found.found.standby and waited > BEHIND_S:
                raise SourceSlow(
                    f"the standby that source {group.source} is read at has not replayed this event's commit yet"
                )
            if not found.found.standby and waited > INVISIBLE_S:
                return found.rows
            await asyncio.sleep(AGAIN_S)

    def _asked(self, group: Group, key: Hashable, values: tuple[Any, ...]) -> _Waiting:
        if self._closed:
            raise SourceAway("this worker ends")
        until, why = self._away.get(group.source, (0.0, ""))
        if time.monotonic() < until:
            raise SourceAway(why)
        queue = self._queues.setdefault(group.source, ReadQueue(SESSIONS))
        waiting = queue.find(group, key)
        if waiting is None:
            waiting = asyncio.get_running_loop().create_future()
            waiting.add_done_callback(_look)
            queue.add(group, key, values, waiting)
            # in the next turn of the loop: what comes in this one is asked together
            asyncio.get_running_loop().call_soon(self._ask, queue)
        return waiting

    def _ask(self, queue: ReadQueue[_Waiting]) -> None:
        while not self._closed and (batch := queue.take()) is not None:
            task = asyncio.create_task(self._perform(queue, batch))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _perform(self, queue: ReadQueue[_Waiting], batch: Batch[_Waiting]) -> None:
        began = time.monotonic()
        try:
            await self._answer(batch)
        except asyncio.CancelledError:
            _fail(batch, SourceAway("this worker ends"))
            raise
        except (SourceAway, SourceSlow) as error:
            if not isinstance(error, TableAway | SourceSlow):
                self._away[batch.group.source] = time.monotonic() + AWAY_S, str(error)
            _fail(batch, error)
        except Exception as error:  # a defect of ours: each delivery's own end, as any other
            log.exception("rows were read in a way that must not be", source=batch.group.source)
            _fail(batch, error)
        finally:
            queue.done(batch, time.monotonic() - began)
            self._ask(queue)

    async def _answer(self, batch: Batch[_Waiting]) -> None:
        group = batch.group
        reading = Reading(group.source, group.tenant, group.shape, [values for values, _ in batch.reads])
        found = await self._reader.read(reading)
        for (_, waiting), rows in zip(batch.reads, found.rows, strict=True):
            if waiting.done():
                continue
            if isinstance(rows, ReadInvalid):
                waiting.set_exception(rows)
            else:
                waiting.set_result(_Found(rows, found))


async def _within(until: float, waiting: _Waiting) -> _Found:
    try:
        async with asyncio.timeout(until - time.monotonic()):
            return await asyncio.shield(waiting)
    except TimeoutError:
        raise SourceSlow(f"rows were not read within {LONGEST_S:g} s: the database is busy") from None


def _fail(batch: Batch[_Waiting], error: Exception) -> None:
    for _, waiting in batch.reads:
        if not waiting.done():
            waiting.set_exception(error)


def _look(waiting: _Waiting) -> None:
    if not waiting.cancelled():
        waiting.exception()  # whether or not somebody still asks
