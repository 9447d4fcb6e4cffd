"""From the claimed position on: read, decode, publish, confirm (rules C7, C8).

Memory is bounded: nothing is read while the writer holds its 16 MiB; a read takes about 64 KiB, and beside that there
is one row with its JSON, and what `transaction_spool` keeps of transactions that have not committed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

import msgspec
import structlog

from cdc.catalogue_facts import FactsWanted
from cdc.decoder import Decoder, Note
from cdc.decoding_reports import RecurringReports, tell_decoding
from cdc.described_tables import NotConfigured
from cdc.named_facts import TableWanted
from cdc.position import Mark, RunMark, Runs, run_of, with_run, without_run
from cdc.replication_frames import MESSAGE_AT, XLOG_DATA, Keepalive, parse_keepalive, wal_start
from cdc.source_errors import CaptureStopped, SourceLost
from cdc.start_decision import table_renamed
from cdc.streamed_transactions import StreamedCommit
from cdc.tenure import Tenure
from cdc.transaction_spool import TransactionSpool
from cdc.wal2json_decoder import Wal2jsonDecoder
from eventbus.big_events import BigEvents
from eventbus.fence import waiting_reason
from eventbus.group_commit import Group, Outgoing
from eventbus.lsn import format_lsn

Listener = Callable[[Note], Awaitable[None] | None]
Watcher = Callable[[Sequence[Outgoing]], None]
log = structlog.get_logger()


class CaptureStream:
    """The stream of one tenure. `pump` and `pulse` are tasks of their own, and end with an error only."""

    def __init__(self, tenure: Tenure, decoder: Decoder | Wal2jsonDecoder, big_events: BigEvents) -> None:
        self._tenure = tenure
        self._decoder = decoder
        self._big_events = big_events
        self._mark = tenure.mark
        self._runs = tenure.mark.runs
        self._listeners: dict[str, Listener] = {}
        self._watchers: dict[str, Watcher] = {}
        self._last_frame = b""
        self.heard_at = _now()
        """When the server sent something last."""
        self.replaying = False
        """A large transaction is published that was sent before; nothing is read meanwhile."""
        self._told: set[str] = set()
        self._recurring = RecurringReports(tenure.source.name, decoder)

    def listen(self, prefix: str, listener: Listener) -> None:
        """Notes of this prefix go to `listener`, each when all that stands before it was put.

        Nothing that stands behind it is put before what `listener` returns is done.
        """
        self._listeners[prefix] = listener

    @property
    def reached(self) -> int:
        """The LSN of what the server sent last; 0: it carried none."""
        frame = self._last_frame
        if not frame:
            return 0
        return wal_start(frame) if frame[0] == XLOG_DATA else parse_keepalive(frame).wal_end

    def watch(self, name: str, watcher: Watcher | None) -> None:
        """From now on `watcher` sees the events that are put; None: `name` sees no more."""
        self._watchers.pop(name, None)
        if watcher is not None:
            self._watchers[name] = watcher

    @property
    def runs(self) -> Runs:
        """How far the backfills are, with all that was put."""
        return self._runs

    def begin_run(self, run: str, table: str) -> None:
        """Its mark is in the next position, before any of its rows: so whoever goes on knows which changes to note."""
        mark = run_of(self._runs, run)
        if not mark.table:
            self._runs = with_run(self._runs, msgspec.structs.replace(mark, table=table))
            self._put(Group.of((), self._mark))

    async def put_reads(self, messages: Sequence[Outgoing], lsn: int, run: RunMark) -> None:
        """Rows of a backfill and where they lead it; only from the listener to which the note at `lsn` came."""
        mark = Mark(lsn, 0, lsn)
        group = await self._big_events.put(Group.of(messages, mark))
        self._runs = with_run(self._runs, run)
        self._put(group)

    def read_again(self, run: str, keys: Iterable[str]) -> None:
        """Rows that may have passed what a run has still to read: from the next position on."""
        mark = run_of(self._runs, run)
        if mark in self._runs and not mark.finished:
            self._runs = with_run(self._runs, mark.with_again(keys))

    def forget_run(self, run: str) -> None:
        """It is over: the position need not tell of it any more."""
        if any(mark.run == run for mark in self._runs):
            self._runs = without_run(self._runs, run)
            self._put(Group.of((), self._mark))

    async def pump(self) -> None:
        """Slot to writer. It may be cancelled at any moment: only whole groups are put. Raises CannotStream, too."""
        replication, spool = self._tenure.connections.replication, TransactionSpool()
        try:
            while True:
                await self._tenure.writer.wait_room()
                read = await replication.read()
                self._last_frame, self.heard_at = read[-1][:MESSAGE_AT], _now()
                await self._decode(read, spool)
                await spool.settle(self._decoder.streamed)
        finally:
            spool.close()

    async def _decode(self, slice_: Iterable[bytes], spool: TransactionSpool) -> None:
        decoder, frames = self._decoder, iter(slice_)
        while (asked := decoder.feed(frames)) is not None:
            match asked:
                case Keepalive():
                    await self._keepalive(asked)
                case Note():
                    await self._note(asked)
                case StreamedCommit():
                    await self._replay(asked, spool)
                case _:
                    self._tell(await self._learn(asked))
        tell_decoding(self._tenure.source.name, decoder)
        await self._put_ready()
        # none of the above waits in a flood: the writer's turn, so that the server works while we decode
        await asyncio.sleep(0)

    async def _replay(self, committed: StreamedCommit, spool: TransactionSpool) -> None:
        """A transaction that was sent before it committed, as if it were sent now."""
        self.replaying = True
        await self._decode((committed.begin,), spool)
        async for frames in spool.read(committed.transaction):
            await self._tenure.writer.wait_room()
            await self._decode(frames, spool)
        await self._decode((committed.commit,), spool)
        self.replaying = False

    async def _learn(self, wanted: FactsWanted | TableWanted) -> NotConfigured | None:
        decoder, catalogue = self._decoder, self._tenure.connections.catalogue
        if isinstance(decoder, Wal2jsonDecoder):
            assert isinstance(wanted, TableWanted)
            return decoder.learn(await catalogue.named_facts(wanted))
        assert isinstance(wanted, FactsWanted)
        return decoder.learn(await catalogue.facts(wanted))

    def _tell(self, found: NotConfigured | None) -> None:
        if found is None:
            return
        table, lsn, missing = found
        if missing:
            raise CaptureStopped(table_renamed(table, lsn, missing))
        if table not in self._told:
            self._told.add(table)
            log.warning(
                "a table is sent that bridge.yaml does not name: its changes are not captured; name it there, or let "
                "`bridge cdc setup` take it out of the publication",
                source=self._tenure.source.name,
                table=table,
                lsn=format_lsn(lsn),
            )

    async def _keepalive(self, keepalive: Keepalive) -> None:
        # everything before it is put before its LSN can be; within a transaction it says nothing that may be let go
        await self._put_ready()
        wal_end = keepalive.wal_end if self._decoder.between_transactions else 0
        self._tenure.progress.keepalive(wal_end, _now(), asks=keepalive.reply)
        self._tenure.changed.set()

    async def _note(self, note: Note) -> None:
        await self._put_ready()
        listener = self._listeners.get(note.prefix)
        if listener is not None:
            waits = listener(note)
            if waits is not None:
                await waits

    async def _put_ready(self) -> None:
        for group in self._decoder.take():
            for watcher in self._watchers.values():
                watcher(group.messages)
            if (rest := self._not_stored(group)) is not None:
                self._put(await self._big_events.put(rest))

    def _not_stored(self, group: Group[Mark]) -> Group[Mark] | None:
        """Without what a torn batch stored, which is decoded once more only for the watchers; None: all of it is."""
        stored = self._tenure.mark.key
        if self._tenure.noted.key == stored:
            return group
        if group.mark.key <= stored:
            return None
        return Group.of([message for message in group.messages if message.key > stored], group.mark)

    def _put(self, group: Group[Mark]) -> None:
        # flush never goes back: what a position without events said in between may be let go of by now
        self._mark = group.mark._replace(flush=max(self._mark.flush, group.mark.flush), runs=self._runs)
        self._tenure.progress.put(self._mark.flush)
        self._tenure.writer.put(replace(group, mark=self._mark))

    def put_lone(self) -> None:
        """A position without events, where a keepalive tells that PostgreSQL may let go of more."""
        if self._decoder.between_transactions and self._tenure.writer.room:
            flush = self._tenure.progress.lone(_now())
            if flush is not None:
                self._put(Group.of((), self._mark._replace(flush=flush)))

    def tell_recurring(self) -> None:
        """Counts rows that lack something, and says so every minute."""
        self._recurring.tell(_now())

    @property
    def between_transactions(self) -> bool:
        return self._decoder.between_transactions


class Pulse:
    """Feedback in time, whatever else stands still; from the lock on."""

    def __init__(self, tenure: Tenure) -> None:
        self._tenure = tenure
        self._blocked: int | None = None
        self.stream: CaptureStream | None = None

    async def run(self) -> None:
        """Ends with SourceLost only."""
        tenure = self._tenure
        while True:
            tenure.changed.clear()
            self._tell_blocked()
            if self.stream is not None:
                self.stream.put_lone()
                self.stream.tell_recurring()
            confirmed = tenure.progress.feedback(_now())
            if confirmed is not None:
                tenure.connections.replication.confirm(confirmed)
            if tenure.progress.server_wants_to_end:
                raise SourceLost("PostgreSQL shuts down, and waits for what may not be confirmed yet")
            await self._wait()

    def _tell_blocked(self) -> None:
        blocked, source = self._tenure.writer.blocked, self._tenure.source.name
        if blocked == self._blocked:
            return
        self._blocked = blocked
        if blocked is None:
            log.info("publishing again", source=source)
        else:
            stream = self._tenure.writer.position.place.stream
            log.warning(
                "the stream takes nothing; the slot waits",
                source=source,
                stream=stream,
                because=waiting_reason(blocked),
                code=blocked,
            )

    async def _wait(self) -> None:
        tenure, stream = self._tenure, self.stream
        lone = stream is not None and stream.between_transactions and tenure.writer.room
        try:
            async with asyncio.timeout_at(tenure.progress.wake(between_transactions=lone)):
                await tenure.changed.wait()
        except TimeoutError:
            pass


def _now() -> float:
    return asyncio.get_running_loop().time()
