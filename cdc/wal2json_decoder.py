"""wal2json's stream to events, in place of `cdc.decoder` where the source's plugin is wal2json; nothing is read or sent here.

The plugin sends the changes of every table of the database. All of them are counted, so that an event's id depends neither
on what is captured nor on the catalogue.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from cdc.decoder import NOTES, DecodingFailed, Note
from cdc.described_tables import NotConfigured
from cdc.event_assembly import Origin, TableEvents, Transaction, begin
from cdc.named_facts import NamedFacts, TableWanted
from cdc.outbox import OUTBOX, InvalidMessage, OutboxEvents, OutboxRows
from cdc.pgoutput import NULL, MessageInvalid, Row
from cdc.position import FINISHED, Mark
from cdc.replication_frames import MESSAGE_AT, XLOG_DATA, Keepalive, parse_keepalive, sent_at, wal_start
from cdc.schema_changes import SchemaChange
from cdc.settings import TableSettings
from cdc.streamed_transactions import StreamedTransaction
from cdc.transaction_groups import TransactionGroups
from cdc.wal2json import Message, columns, content_bytes, microseconds, parse
from cdc.wal2json_tables import DescribedTable, NamedTables
from eventbus.group_commit import Group, Outgoing
from eventbus.lsn import format_lsn, parse_lsn

_KEPT_NAMES = 10_000
"""Tables whose being captured or not is remembered: an application may make and drop them without end."""


class Wal2jsonDecoder:
    """One connection's stream, used as `cdc.decoder.Decoder` is; `feed` wants the facts of `catalogue.named_facts`."""

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
        self.unknown_tenants: Counter[str] = Counter()
        """Events whose tenant is NULL or not told, by `schema.table`; for whoever tells it to clear."""
        self.lost_values: Counter[str] = Counter()
        """NaN and Infinity that came as null, where that is seen, by `schema.table.column`; likewise."""
        self._origin = origin
        self._messages = OutboxEvents(origin)
        self._named = NamedTables(tables, origin, self.unknown_tenants, outbox, self._messages)
        self._tables: dict[tuple[str, str], DescribedTable | None] = {}
        self._pending: tuple[Message, int] | None = None
        self._within: Transaction | None = None
        self._skipped = False
        finished = resume_after.ordinal >= FINISHED
        self._resume_lsn = resume_after.lsn if finished else resume_after.lsn - 1
        self._groups = TransactionGroups(resume_after)

    @property
    def between_transactions(self) -> bool:
        return self._within is None

    @property
    def schema_changes(self) -> list[SchemaChange]:
        """Since the stream began; for whoever tells them to clear."""
        return self._named.schema_changes

    @property
    def invalid_messages(self) -> list[InvalidMessage]:
        """Of the outbox; likewise."""
        return self._messages.invalid

    @property
    def streamed(self) -> Mapping[int, StreamedTransaction]:
        """None: the plugin sends a transaction when it has committed."""
        return {}

    def feed(self, frames: Iterator[bytes]) -> Keepalive | TableWanted | Note | None:
        """CopyData frames up to the first that asks for something; None: all are taken. Raises DecodingFailed."""
        for frame in frames:
            if frame[0] != XLOG_DATA:
                return parse_keepalive(frame)
            try:
                asked = self._take_in(parse(frame[MESSAGE_AT:]), frame)
            except (ValueError, LookupError, OverflowError, msgspec.MsgspecError) as error:
                raise self._failure(frame, error) from error
            if asked is not None:
                return asked
        return None

    def learn(self, facts: NamedFacts) -> NotConfigured | None:
        """The answer to what the last `feed` wanted. What it returns is not captured from here on."""
        assert self._pending is not None
        (message, lsn), self._pending = self._pending, None
        place = message.schema, message.table
        full_name = ".".join(place)
        name = self._named.captured_as(full_name, facts)
        if len(self._tables) >= _KEPT_NAMES:
            self._tables.clear()
        if name is None:
            self._tables[place] = None
            self._transaction().ordinal += 1
            # every other table of the database comes along; only one that may be a captured one, renamed, is worth a word
            if facts.missing or facts.oid is None:
                return NotConfigured(full_name, self._transaction().lsn, facts.missing)
            return None
        table = self._tables[place] = self._named.describe(name, message, facts, self._tables.get(place))
        try:
            if not self._captured(message, lsn, table):
                raise MessageInvalid("its columns are neither the table's of today nor those seen before")
        except (ValueError, LookupError, OverflowError, msgspec.MsgspecError) as error:
            raise self._failure_of(message, lsn, error) from error
        return None

    def take(self) -> list[Group[Mark]]:
        """What is ready, in order, as `cdc.decoder.Decoder.take` gives it."""
        return self._groups.take()

    def _take_in(self, message: Message, frame: bytes) -> TableWanted | Note | None:
        match message.action:
            case "I" | "U" | "D" | "T":
                return self._change(message, wal_start(frame))
            case "M":
                return self._message(message, frame)
            case "B":
                self._begin(message)
            case "C":
                self._commit(message)
            case _:
                raise MessageInvalid(
                    f"action {message.action!r} is not of format version 2, which was asked for"
                )
        return None

    def _begin(self, message: Message) -> None:
        self._check_outside()
        final_lsn = parse_lsn(message.lsn)
        self._skipped = final_lsn <= self._resume_lsn
        commit_ts = microseconds(message.timestamp or "")
        self._within = begin(self._origin, final_lsn, commit_ts, message.xid or 0)

    def _commit(self, message: Message) -> None:
        commit_lsn = parse_lsn(message.lsn)
        if commit_lsn != self._transaction().lsn:
            raise MessageInvalid(f"it ends a transaction at {format_lsn(commit_lsn)}")
        self._within = None
        if not self._skipped:
            self._groups.finish(commit_lsn, parse_lsn(message.nextlsn))

    def _message(self, message: Message, frame: bytes) -> Note | None:
        content = content_bytes(message.content)
        if message.transactional:
            within = self._transaction()
            if message.prefix == OUTBOX and not self._skipped:
                self._groups.add(self._messages.message(within, wal_start(frame), content))
            else:
                within.ordinal += 1
        elif message.prefix == OUTBOX:
            self._check_outside()
            lsn = parse_lsn(message.lsn)
            self._groups.add_lone(self._messages.lone_message(lsn, sent_at(frame), content), lsn)
        elif message.prefix in NOTES:
            return Note(message.prefix, parse_lsn(message.lsn), content)
        return None

    def _change(self, message: Message, lsn: int) -> TableWanted | None:
        within, place = self._transaction(), (message.schema, message.table)
        if self._skipped:
            within.ordinal += 1
            return None
        if place not in self._tables:
            return self._ask(message, lsn)
        table = self._tables[place]
        if table is None:
            within.ordinal += 1
            return None
        if not self._captured(message, lsn, table):
            return self._ask(message, lsn)
        return None

    def _ask(self, message: Message, lsn: int) -> TableWanted:
        self._pending = message, lsn
        types = {column.type_oid for column in (*columns(message.columns), *columns(message.identity))}
        return TableWanted(message.schema, message.table, tuple(sorted(types)), self._named.configured)

    def _captured(self, message: Message, lsn: int, table: DescribedTable) -> bool:
        """A change of a captured table; False where it does not fit what is known of the table."""
        if message.action == "T":
            self._truncate(message, lsn, table)
            return True
        sent, old = columns(message.columns), columns(message.identity)
        new = table.new_row(sent) if message.action != "D" else None
        if (new is None) != (message.action == "D") or not table.names.issuperset(
            [column.name for column in old]
        ):
            return False
        fitting = self._named.fit(table, message, old)
        if fitting is not table:
            self._tables[message.schema, message.table] = table = fitting
        self._named.seen((message.schema, message.table), table, self._transaction().lsn)
        self._tell_lost(table, new)
        before = table.old_row(old) if old else None
        for event in _events_of(table, self._transaction(), lsn, new, before):
            self._groups.add(event)
        return True

    def _truncate(self, message: Message, lsn: int, table: DescribedTable) -> None:
        """Of a partition it says nothing: its root is truncated in the same breath, or rows were taken away silently."""
        within_root = table.name != f"{message.schema}.{message.table}"
        if isinstance(table.events, TableEvents) and not within_root:
            self._groups.add(table.events.truncate(self._transaction(), lsn))
        else:
            self._transaction().ordinal += 1

    def _tell_lost(self, table: DescribedTable, new: Row | None) -> None:
        for place in table.never_null if new is not None else ():
            if new is not None and new[place] == NULL:
                self.lost_values[f"{table.name}.{table.shape.columns[place][0]}"] += 1

    def _check_outside(self) -> None:
        if self._within is not None:
            raise MessageInvalid("it stands within another transaction")

    def _transaction(self) -> Transaction:
        if self._within is None:
            raise MessageInvalid("it stands outside a transaction")
        return self._within

    def _failure(self, frame: bytes, error: Exception) -> DecodingFailed:
        payload = frame[MESSAGE_AT:]
        try:
            message = parse(payload)
        except (ValueError, msgspec.MsgspecError):
            message = Message("?")
        return self._failure_of(message, wal_start(frame), error)

    def _failure_of(self, message: Message, lsn: int, error: Exception) -> DecodingFailed:
        """Names action, place and table, no values."""
        where = f"WAL {format_lsn(lsn)}"
        if self._within is not None:
            where = f"{where}, transaction {format_lsn(self._within.lsn)} after change {self._within.ordinal}"
        table = f", table {message.schema}.{message.table}" if message.table else ""
        return DecodingFailed(
            f"wal2json's message {message.action} at {where}{table} cannot be decoded: {error}. Capture stops, for going on "
            "would lose the change; nothing is confirmed beyond it. The database's encoding must be UTF8; otherwise report "
            "it with the versions of PostgreSQL and wal2json"
        )


def _events_of(
    table: DescribedTable, within: Transaction, lsn: int, new: Row | None, before: Row | None
) -> list[Outgoing]:
    """Of one change; none of what is done to the outbox but inserting, which counts all the same."""
    events = table.events
    if new is not None and before is None:
        return [events.insert(within, lsn, new)]
    if isinstance(events, OutboxRows):
        within.ordinal += 1
        return []
    if new is None:
        assert before is not None, "an old row is all that a delete has"
        return [events.delete(within, lsn, before)]
    assert before is not None
    if table.tells(before, new):
        return events.update_from(within, lsn, new, before)
    return [events.update(within, lsn, new)]
