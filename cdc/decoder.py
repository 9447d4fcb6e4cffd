"""pgoutput's stream to events in commit order, ready to be published; nothing is read or sent here.

    feed ──► transaction being read ──commit──► complete ──► take: groups for the group commit
     │                 └── too large to wait for its commit ──► pieces ──┘
     └──► blocks of transactions not yet committed ──► StreamedCommit: whoever feeds, feeds their frames now

A transaction's changes are counted, wanted or not, so that an event's id never depends on what is captured.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple

import msgspec

from cdc.catalogue_facts import Facts, FactsWanted
from cdc.described_tables import DescribedTables, NotConfigured
from cdc.event_assembly import Origin, Transaction, begin
from cdc.outbox import OUTBOX, InvalidMessage, OutboxEvents
from cdc.pgoutput import (
    BEGIN,
    COMMIT,
    DELETE,
    INSERT,
    MESSAGE,
    NEW_ROW,
    OLD_KEY,
    OLD_ROWS,
    ORIGIN,
    RELATION,
    STREAM_ABORT,
    STREAM_COMMIT,
    STREAM_START,
    STREAM_STOP,
    TRUNCATE,
    TYPE,
    UPDATE,
    MessageInvalid,
    message_name,
    parse_begin,
    parse_commit,
    parse_message,
    parse_relation,
    parse_row,
    parse_truncate,
    parse_two_rows,
    parse_type,
)
from cdc.position import FINISHED, Mark
from cdc.replication_frames import MESSAGE_AT, XLOG_DATA, Keepalive, parse_keepalive, sent_at, wal_start
from cdc.schema_changes import SchemaChange
from cdc.settings import TableSettings
from cdc.streamed_transactions import StreamedCommit, StreamedTransaction, StreamedTransactions
from cdc.transaction_groups import TransactionGroups
from eventbus.group_commit import Group
from eventbus.lsn import format_lsn

_OUTSIDE = "it stands outside a transaction"
_OTHERS = Enum("_OTHERS", ["HANDLERS"])
"""What comes next is for other handlers."""
_Handler = Callable[[bytes], "FactsWanted | Note | StreamedCommit | _OTHERS | None"]
"""Takes one XLogData frame."""
_OID = slice(MESSAGE_AT + 1, MESSAGE_AT + 5)
_KIND = MESSAGE_AT + 5
_ROW = MESSAGE_AT + 6
"""Where in an insert's, update's or delete's frame the relation, the kind of the first row and that row stand."""


class Note(NamedTuple):
    """A message of ours outside transactions: a heartbeat or a watermark. `lsn`: where its record ends."""

    prefix: str
    lsn: int
    content: bytes


NOTES = frozenset({"bridge.heartbeat", "bridge.backfill"})
"""Prefixes of the messages that are handed on as notes."""


class DecodingFailed(Exception):
    """A message that cannot be understood; going on would lose a change. Names message, LSN and table, no values."""


class Decoder:
    """One connection's stream: after a reconnect begin with a new one.

    `feed` all frames in order; where it wants facts, `learn` them before the next. `take` what is ready after every
    burst of frames, for nothing here holds a flood back.
    """

    def __init__(
        self,
        origin: Origin,
        tables: Mapping[str, TableSettings],
        resume_after: Mark,
        outbox: str | None = None,
    ) -> None:
        """`tables` by `schema.table`; changes at or before `resume_after` are counted, but not published again.

        outbox: the table, `schema.table`, whose inserted rows are messages.
        """
        self._origin = origin
        self._messages = OutboxEvents(origin)
        self._described = DescribedTables(origin, tables, outbox, self._messages)
        self._inserted, self._tables = self._described.inserted, self._described.tables
        self._streamed = StreamedTransactions()
        self._within: Transaction | None = None
        self._skipped = False
        finished = resume_after.ordinal >= FINISHED
        self._resume_lsn = resume_after.lsn if finished else resume_after.lsn - 1
        self._groups = TransactionGroups(resume_after)
        self._ordinary: list[_Handler] = [self._refuse] * 256
        self._in_block: list[_Handler] = [*self._streamed.handlers]
        self._in_block[STREAM_STOP] = self._stream_stop
        self._handlers = self._ordinary
        for tag, handler in (
            (INSERT, self._insert),
            (UPDATE, self._update),
            (DELETE, self._delete),
            (BEGIN, self._begin),
            (COMMIT, self._commit),
            (RELATION, self._relation),
            (TYPE, self._type),
            (TRUNCATE, self._truncate),
            (MESSAGE, self._message),
            (ORIGIN, self._replication_origin),
            (STREAM_START, self._stream_start),
            (STREAM_ABORT, self._streamed.abort),
            (STREAM_COMMIT, self._stream_commit),
        ):
            self._ordinary[tag] = handler

    @property
    def between_transactions(self) -> bool:
        """True also while streamed transactions are open: they are sent again whole (rule C8)."""
        return self._within is None and not self._streamed.in_block

    @property
    def unknown_tenants(self) -> Counter[str]:
        """Events whose tenant is NULL or not told, by `schema.table`; for whoever tells it to clear."""
        return self._described.unknown_tenants

    @property
    def schema_changes(self) -> list[SchemaChange]:
        """Since the stream began; for whoever tells them to clear."""
        return self._described.schema_changes

    @property
    def invalid_messages(self) -> list[InvalidMessage]:
        """Of the outbox; for whoever tells them to clear."""
        return self._messages.invalid

    @property
    def streamed(self) -> Mapping[int, StreamedTransaction]:
        """Those not yet committed, by xid."""
        return self._streamed.open

    def feed(self, frames: Iterator[bytes]) -> Keepalive | FactsWanted | Note | StreamedCommit | None:
        """CopyData frames up to the first that asks for something; None: all are taken.

        Raises DecodingFailed, CannotStream.
        """
        handlers, frame = self._handlers, b""
        try:
            # all of a slice in one loop: a call per frame from outside would cost as much as what most frames need
            for frame in frames:
                if frame[0] != XLOG_DATA:
                    return parse_keepalive(frame)
                wanted = handlers[frame[MESSAGE_AT]](frame)
                if wanted is not None:
                    if wanted is not _OTHERS.HANDLERS:
                        return wanted
                    handlers = self._handlers
        except (ValueError, LookupError, OverflowError, struct.error, msgspec.MsgspecError) as error:
            raise self._failure(frame, error) from error
        return None

    def learn(self, facts: Facts) -> NotConfigured | None:
        """The answer to what the last `feed` wanted. What it returns is not captured from here on."""
        return self._described.learn(facts, self._lsn)

    def take(self) -> list[Group[Mark]]:
        """What is ready, in order: whole transactions, any number in a group, and pieces of large ones.

        A group without messages says that a transaction ended of which pieces were taken before.
        """
        return self._groups.take()

    # messages, in the order in which a transaction brings them

    def _begin(self, frame: bytes) -> None:
        self._check_outside()
        final_lsn, commit_ts, xid = parse_begin(frame[MESSAGE_AT:])
        self._skipped = final_lsn <= self._resume_lsn
        self._within = begin(self._origin, final_lsn, commit_ts, xid)

    def _replication_origin(self, _frame: bytes) -> None:
        """Where a change came from before it was replicated here: nothing an event tells."""

    def _relation(self, frame: bytes) -> FactsWanted | None:
        relation = parse_relation(frame[MESSAGE_AT:])
        number = wal_start(frame) if self._described.replaying else self._streamed.next_number()
        return self._described.relation(relation, number, self._lsn)

    def _type(self, frame: bytes) -> None:
        self._described.type_message(parse_type(frame[MESSAGE_AT:]))

    def _insert(self, frame: bytes) -> None:
        table, within, kind = self._inserted[frame[_OID]], self._within, frame[_KIND]
        if table is None or within is None or self._skipped:
            self._transaction().ordinal += 1
        elif kind == NEW_ROW:
            self._groups.add(table.insert_sent(within, frame, _ROW))
        else:
            raise _unknown_kind(kind)

    def _update(self, frame: bytes) -> None:
        table, within, kind = self._tables[frame[_OID]], self._within, frame[_KIND]
        if table is None or within is None or self._skipped:
            self._transaction().ordinal += 1
        elif kind == NEW_ROW:
            self._groups.add(table.update_sent(within, frame, _ROW))
        elif kind in OLD_ROWS:
            old, new = parse_two_rows(frame, _ROW)
            table = table.as_sent(old) if kind == OLD_KEY else table
            for event in table.update_from(within, wal_start(frame), new, old):
                self._groups.add(event)
        else:
            raise _unknown_kind(kind)

    def _delete(self, frame: bytes) -> None:
        table, within, kind = self._tables[frame[_OID]], self._within, frame[_KIND]
        if table is None or within is None or self._skipped:
            self._transaction().ordinal += 1
        elif kind in OLD_ROWS:
            old = parse_row(frame, _ROW)
            table = table.as_sent(old) if kind == OLD_KEY else table
            self._groups.add(table.delete(within, wal_start(frame), old))
        else:
            raise _unknown_kind(kind)

    def _truncate(self, frame: bytes) -> None:
        within = self._transaction()
        for oid in parse_truncate(frame[MESSAGE_AT:]):
            table = self._tables[oid]
            if table is None or self._skipped:
                within.ordinal += 1
            else:
                self._groups.add(table.truncate(within, wal_start(frame)))

    def _message(self, frame: bytes) -> Note | None:
        # one outside a transaction has a place of its own, ordinal 0 at its own LSN: it moves no ordinal
        message = parse_message(frame[MESSAGE_AT:])
        if message.transactional:
            within = self._transaction()
            if message.prefix == OUTBOX and not self._skipped:
                self._groups.add(self._messages.message(within, wal_start(frame), message.content))
            else:
                within.ordinal += 1
        elif message.prefix == OUTBOX:
            self._check_outside()
            event = self._messages.lone_message(message.lsn, sent_at(frame), message.content)
            self._groups.add_lone(event, message.lsn)
        elif message.prefix in NOTES:
            return Note(message.prefix, message.lsn, message.content)
        return None

    def _commit(self, frame: bytes) -> None:
        commit_lsn, end_lsn = parse_commit(frame[MESSAGE_AT:])
        if commit_lsn != self._transaction().lsn:
            raise MessageInvalid(f"it ends a transaction at {format_lsn(commit_lsn)}")
        self._within = None
        if not self._skipped:
            self._groups.finish(commit_lsn, end_lsn)
        if self._described.replaying:
            self._described.replay_ends()

    def _refuse(self, frame: bytes) -> FactsWanted | None:
        name = message_name(frame[MESSAGE_AT:])
        raise MessageInvalid(f"{name} is not of protocol version 2, or stands where it does not belong")

    # transactions that are sent before they commit

    def _stream_start(self, frame: bytes) -> _OTHERS:
        self._check_outside()
        self._streamed.start(frame)
        self._handlers = self._in_block
        return _OTHERS.HANDLERS

    def _stream_stop(self, frame: bytes) -> _OTHERS:
        self._streamed.stop(frame)
        self._handlers = self._ordinary
        return _OTHERS.HANDLERS

    def _stream_commit(self, frame: bytes) -> StreamedCommit:
        self._check_outside()
        self._described.replay_begins()
        return self._streamed.commit(frame)

    # what they share

    def _check_outside(self) -> None:
        if self._within is not None:
            raise MessageInvalid("it stands within another transaction")

    @property
    def _lsn(self) -> int:
        return self._within.lsn if self._within else 0

    def _transaction(self) -> Transaction:
        if self._within is None:
            raise MessageInvalid(_OUTSIDE)
        return self._within

    def _failure(self, frame: bytes, error: Exception) -> DecodingFailed:
        payload = frame[MESSAGE_AT:]
        where = f"WAL {format_lsn(wal_start(frame))}" if payload else "an unknown place"
        if self._within is not None:
            where = f"{where}, transaction {format_lsn(self._within.lsn)} after change {self._within.ordinal}"
        return DecodingFailed(
            f"{message_name(payload)} at {where}{self._named(payload)} cannot be decoded: {error}. Capture stops, for "
            "going on would lose the change; nothing is confirmed beyond it. Report it with the server's version"
        )

    def _named(self, payload: bytes) -> str:
        if payload[0:1] not in (b"I", b"U", b"D") or len(payload) < 5:
            return ""
        table = self._inserted.get(payload[1:5])
        return f", relation {int.from_bytes(payload[1:5])}" if table is None else f", table {table.name}"


def _unknown_kind(kind: int) -> MessageInvalid:
    return MessageInvalid(f"no row of kind {kind:#04x} belongs there")
