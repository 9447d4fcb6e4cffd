"""The backfills of a source, done by the process that owns its slot, beside the pump.

Whoever wants one writes a record; it is begun here, goes on wherever the next owner finds it in the position, and
ends here. What fails in one of them ends neither the others nor capture.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NoReturn

import msgspec
import structlog

from cdc.backfill.changes import TableChanges
from cdc.backfill.read_table import Range, ReadTable, Refused, refuse_tenant
from cdc.backfill.reads import ReadEvents
from cdc.backfill.run_record import RunRecord, State
from cdc.backfill.run_store import RunStore, StoredRun
from cdc.backfill.table_reader import TableChanged, TableReader
from cdc.backfill.table_run import TableRun
from cdc.capture_stream import CaptureStream
from cdc.decoder import Note
from cdc.event_assembly import Origin, TableEvents
from cdc.position import Mark, RunMark, run_of
from cdc.settings import split_table
from cdc.source_errors import SourceLost
from cdc.tenure import Tenure
from eventbus.errors import EventBusError, JetStreamError, NoAnswer
from eventbus.group_commit import Outgoing
from eventbus.patience import patiently

PREFIX = "bridge.backfill"
AT_ONCE = 2
"""Runs that read at the same time; each holds two sessions (the role has ten) and one chunk."""
_TELL_EVERY = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
log = structlog.get_logger()


class Backfills:
    """Those of one tenure. `run` is a task that ends with an error only."""

    def __init__(self, tenure: Tenure, stream: CaptureStream, store: RunStore, origin: Origin) -> None:
        self._tenure = tenure
        self._stream = stream
        self._store = store
        self._origin = origin
        self._nonce = secrets.token_hex(8)
        self._number = 0
        self._marked: dict[bytes, Callable[[int], Awaitable[None]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._changes: dict[str, TableChanges] = {}
        for mark in stream.runs:  # before anything is read
            if mark.table:
                self._watch(mark.run, mark.table)
        self._stored = tenure.mark
        self._stored_more = asyncio.Event()

    async def run(self) -> NoReturn:
        """Raises ConnectionLost, JetStreamError, and what ends the writer."""
        self._stream.listen(PREFIX, self._note)
        self._tenure.on_stored = self._on_stored
        async with asyncio.TaskGroup() as tasks:
            known = False
            async for changed in self._store.follow():
                # those that have begun go on first: each of them makes every position longer
                for stored in sorted(changed, key=self._has_not_begun):
                    self._follow(stored, tasks)
                if not known:
                    self._forget_unknown({stored.run for stored in changed})
                known = True
        raise AssertionError("the records are followed for ever")

    def _watch(self, run: str, table: str) -> TableChanges:
        """The table's changes, from now on."""
        if run not in self._changes:
            changes = self._changes[run] = TableChanges(*split_table(table))

            def see(messages: Sequence[Outgoing]) -> None:
                changes.see(messages)
                if moved := changes.take_moved():
                    self._stream.read_again(run, moved)

            self._stream.watch(run, see)
        return self._changes[run]

    def _forget(self, run: str) -> None:
        self._changes.pop(run, None)
        self._stream.watch(run, None)
        self._stream.forget_run(run)

    def _follow(self, stored: StoredRun, tasks: asyncio.TaskGroup) -> None:
        run, record = stored.run, stored.record
        task = self._tasks.get(run)
        if not record.is_open:
            if task is not None and record.state == "cancelled":
                task.cancel()
            self._forget(run)
        elif task is None:
            self._tasks[run] = tasks.create_task(self._whole(run, record))

    def _has_not_begun(self, stored: StoredRun) -> bool:
        return not _is_begun(run_of(self._stream.runs, stored.run))

    def _forget_unknown(self, runs: set[str]) -> None:
        for mark in self._stream.runs:
            if mark.run not in runs:
                self._forget(mark.run)

    # one run

    async def _whole(self, run: str, record: RunRecord) -> None:
        about = log.bind(source=self._tenure.source.name, run=run, table=record.target.table)
        pause = _FIRST_PAUSE
        async with self._turns:
            while True:
                try:
                    await self._attempt(run, record)
                except Refused as refused:
                    about.warning("backfill failed", because=str(refused))
                    await self._end(run, "failed", str(refused))
                    return
                except SourceLost as lost:
                    about.warning("backfill begins again", because=str(lost), in_s=pause)
                except TableChanged:
                    about.info("the table has been changed: described anew", in_s=pause)
                except EventBusError:
                    raise
                except Exception as error:  # a defect of ours must stop neither capture nor the other runs
                    log.exception("a backfill failed in a way it must not", run=run)
                    await self._end(run, "failed", f"{type(error).__name__}, see the log of capture")
                    return
                else:
                    rows = run_of(self._stored.runs, run).n
                    await self._end(run, "done")
                    about.info("backfill done", rows=rows)
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _attempt(self, run: str, record: RunRecord) -> None:
        if run_of(self._stream.runs, run).finished:
            await self._until_stored(run, _is_finished)
            return
        if record.done and not run_of(self._stream.runs, run).n:
            raise Refused("the position that told how far it came is gone: ask for it again")
        reader = await TableReader.open(self._tenure.source)
        try:
            read = await reader.describe(record.target.table)
            await reader.check(read)
            refuse_tenant(read, record.target)
            await self._begun(run, record, reader, read)
            changes = self._watch(run, record.target.table)
            self._stream.begin_run(run, record.target.table)
            await self._until_stored(run, _is_begun)
            await self._read(TableRun(run, record, self._stream, changes, reader), reader, read, record)
        finally:
            await reader.close()
        await self._until_stored(run, _is_finished)

    async def _read(self, run: TableRun, reader: TableReader, read: ReadTable, record: RunRecord) -> None:
        table = TableEvents(read.table, self._origin, Counter())
        events = ReadEvents(self._origin, table, record.target.route)
        told_at = _now()
        await run.begin()
        while not run.mark.finished:
            await self._tenure.writer.wait_room()
            await run.read(read)
            if not await self._published(run, reader, events):
                await run.come_up()
            if _now() - told_at >= _TELL_EVERY:
                told_at = _now()
                await self._tell(run.run)

    async def _published(self, run: TableRun, reader: TableReader, events: ReadEvents) -> bool:
        """Waits until the watermark has come round."""
        self._number += 1
        token = f"{self._nonce}.{self._number}"
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def marked(lsn: int) -> None:
            try:
                published = await run.publish(lsn, events)
            except EventBusError:
                raise
            except Exception as error:  # noqa: BLE001 - the run's, which it ends; the pump goes on
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(published)
            if done.cancelled():
                self._forget(run.run)

        with self._waiting(token, marked):
            await reader.mark(token)
            return await done

    @contextmanager
    def _waiting(self, token: str, marked: Callable[[int], Awaitable[None]]) -> Iterator[None]:
        self._marked[token.encode()] = marked
        try:
            yield
        finally:
            self._marked.pop(token.encode(), None)

    def _note(self, note: Note) -> Awaitable[None] | None:
        """One of an owner before us, or of a run that is over, says nothing."""
        marked = self._marked.pop(note.content, None)
        return None if marked is None else marked(note.lsn)

    # what is stored

    def _on_stored(self, mark: Mark) -> None:
        self._stored = mark
        self._stored_more.set()

    async def _until_stored(self, run: str, holds: Callable[[RunMark], bool]) -> None:
        while not holds(run_of(self._stored.runs, run)):
            self._stored_more.clear()
            await self._stored_more.wait()

    # what people see

    async def _begun(self, run: str, record: RunRecord, reader: TableReader, read: ReadTable) -> None:
        mark = run_of(self._stream.runs, run)
        left = await reader.estimate(read, Range(mark.cursor, mark.until), record.target.tenant)
        log.info(
            "backfill", source=self._tenure.source.name, run=run, table=record.target.table, rows_left=left
        )

        def begun(now: RunRecord) -> RunRecord | None:
            started = now.started or _clock()
            return msgspec.structs.replace(now, state="running", started=started, rows=mark.n + left)

        await self._change(run, begun)

    async def _tell(self, run: str) -> None:
        done = run_of(self._stored.runs, run).n
        await self._change(run, lambda now: msgspec.structs.replace(now, done=done))

    async def _change(self, run: str, change: Callable[[RunRecord], RunRecord | None]) -> None:
        """What is told in between; it is told again, so a refusal is let pass."""

        def while_open(now: RunRecord) -> RunRecord | None:
            changed = change(now) if now.is_open else None
            return None if changed is None else msgspec.structs.replace(changed, updated=_clock())

        try:
            await self._store.change(run, while_open)
        except (JetStreamError, NoAnswer) as error:
            log.warning("a backfill's progress could not be written", run=run, because=str(error))

    async def _end(self, run: str, state: State, error: str | None = None) -> None:
        """The record first: what it says is then forgotten in the position, and never the other way round."""
        done = run_of(self._stored.runs, run).n

        def ended(now: RunRecord) -> RunRecord | None:
            if not now.is_open:
                return None
            return msgspec.structs.replace(now, state=state, done=done, error=error, updated=_clock())

        await patiently(
            lambda: self._store.change(run, ended),
            lambda error: isinstance(error, JetStreamError | NoAnswer),
            first=1.0,
            longest=_LONGEST_PAUSE,
            say=lambda error: log.warning("waiting to end a backfill", run=run, because=str(error)),
        )
        self._forget(run)


def _is_begun(mark: RunMark) -> bool:
    return bool(mark.table)


def _is_finished(mark: RunMark) -> bool:
    return mark.finished


def _clock() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _now() -> float:
    return asyncio.get_running_loop().time()
