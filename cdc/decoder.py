"""pgoutput's stream to events in commit order, ready to be published; nothing is read or sent here.

    feed ──► transaction being read ──commit──► complete ──► take: groups for the group commit
                       └── too large to wait for its commit ──► pieces ──┘

A transaction's changes are counted, wanted or not, so that an event's id never depends on what is captured.
"""

import struct
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from cdc.catalogue_facts import Facts, FactsWanted
from cdc.event_assembly import Origin, TableEvents, Transaction
from cdc.pgoutput import (
    KEY_ROW,
    NEW_ROW,
    OLD_ROW,
    MessageInvalid,
    Relation,
    message_name,
    parse_begin,
    parse_commit,
    parse_message,
    parse_relation,
    parse_row,
    parse_truncate,
    parse_two_rows,
    parse_type,
    relation_oid,
)
from cdc.position import FINISHED, Mark
from cdc.relations import Relations
from cdc.settings import TableSettings
from cdc.transaction_groups import TransactionGroups
from eventbus.group_commit import Group, Outgoing
from eventbus.lsn import format_lsn

_Handler = Callable[[int, bytes], FactsWanted | None]


class DecodingFailed(Exception):
    """A message that cannot be understood; going on would lose a change. Names message, LSN and table, no values."""


class Decoder:
    """One connection's stream: after a reconnect begin with a new one.

    `feed` every XLogData in order; where it wants facts, `learn` them before the next. `take` what is ready after
    every burst of frames, for nothing here holds a flood back.
    """

    def __init__(self, origin: Origin, tables: Mapping[str, TableSettings], resume_after: Mark) -> None:
        """`tables` by `schema.table`; changes at or before `resume_after` are counted, but not published again."""
        self._origin = origin
        self._relations = Relations(tables)
        self._tables: dict[int, TableEvents | None] = {}
        self._pending: Relation | None = None
        self._within: Transaction | None = None
        self._skipped = False
        self._resume = resume_after.key
        self._groups = TransactionGroups(resume_after)
        self.unknown_tenants: Counter[str] = Counter()
        """Events whose tenant is NULL or not told, by `schema.table`."""
        self._handlers: dict[int, _Handler] = {
            ord("I"): self._insert,
            ord("U"): self._update,
            ord("D"): self._delete,
            ord("B"): self._begin,
            ord("C"): self._commit,
            ord("R"): self._relation,
            ord("Y"): self._type,
            ord("T"): self._truncate,
            ord("M"): self._message,
            ord("O"): self._replication_origin,
        }

    @property
    def between_transactions(self) -> bool:
        return self._within is None

    def feed(self, wal_start: int, payload: bytes) -> FactsWanted | None:
        """One message, as XLogData brings it. Raises DecodingFailed."""
        try:
            return self._handlers.get(payload[0], self._refuse)(wal_start, payload)
        except (ValueError, LookupError, struct.error, msgspec.MsgspecError) as error:
            raise self._failure(wal_start, payload, error) from error

    def learn(self, facts: Facts) -> None:
        """The answer to what the last `feed` wanted."""
        assert self._pending is not None
        relation, self._pending = self._pending, None
        self._describe(relation, facts)

    def take(self) -> list[Group[Mark]]:
        """What is ready, in order: whole transactions, any number in a group, and pieces of large ones.

        A group without messages says that a transaction ended of which pieces were taken before.
        """
        return self._groups.take()

    # messages, in the order in which a transaction brings them

    def _begin(self, _wal_start: int, payload: bytes) -> None:
        begin = parse_begin(payload)
        if self._within is not None:
            raise MessageInvalid("it begins within another transaction")
        self._skipped = (begin.final_lsn, FINISHED) <= self._resume
        self._within = Transaction.begun(begin, self._origin)

    def _replication_origin(self, _wal_start: int, _payload: bytes) -> None:
        """Where a change came from before it was replicated here: nothing an event tells."""

    def _relation(self, _wal_start: int, payload: bytes) -> FactsWanted | None:
        relation = parse_relation(payload)
        wanted = self._relations.wanted(relation)
        if wanted is None:
            self._describe(relation, Facts())
        else:
            self._pending = relation
        return wanted

    def _describe(self, relation: Relation, facts: Facts) -> None:
        table = self._relations.table(relation, facts)
        self._tables[relation.oid] = (
            None if table is None else TableEvents(table, self._origin, self.unknown_tenants)
        )

    def _type(self, _wal_start: int, payload: bytes) -> None:
        self._relations.type_message(parse_type(payload))

    def _insert(self, wal_start: int, payload: bytes) -> None:
        table, within = self._table(relation_oid(payload)), self._transaction()
        if table is None:
            within.ordinal += 1
        else:
            _expect(payload, NEW_ROW)
            self._publish(table.insert(within, wal_start, parse_row(payload)))

    def _update(self, wal_start: int, payload: bytes) -> None:
        table, within = self._table(relation_oid(payload)), self._transaction()
        if table is None:
            within.ordinal += 1
        elif payload[5] == NEW_ROW:
            self._publish(table.update(within, wal_start, parse_row(payload)))
        else:
            _expect(payload, KEY_ROW, OLD_ROW)
            old, new = parse_two_rows(payload)
            for event in table.update_from(within, wal_start, new, old):
                self._publish(event)

    def _delete(self, wal_start: int, payload: bytes) -> None:
        table, within = self._table(relation_oid(payload)), self._transaction()
        if table is None:
            within.ordinal += 1
        else:
            _expect(payload, KEY_ROW, OLD_ROW)
            self._publish(table.delete(within, wal_start, parse_row(payload)))

    def _truncate(self, wal_start: int, payload: bytes) -> None:
        within = self._transaction()
        for oid in parse_truncate(payload):
            table = self._table(oid)
            if table is None:
                within.ordinal += 1
            else:
                self._publish(table.truncate(within, wal_start))

    def _message(self, _wal_start: int, payload: bytes) -> None:
        # one outside a transaction has a place of its own, ordinal 0 at its own LSN: it moves no ordinal
        if parse_message(payload).transactional:
            self._transaction().ordinal += 1

    def _commit(self, _wal_start: int, payload: bytes) -> None:
        within, commit = self._transaction(), parse_commit(payload)
        if commit.commit_lsn != within.lsn:
            raise MessageInvalid(f"it ends a transaction at {format_lsn(commit.commit_lsn)}")
        self._within = None
        if not self._skipped:
            self._groups.finish(Mark(within.lsn, FINISHED, commit.end_lsn))

    def _refuse(self, _wal_start: int, payload: bytes) -> FactsWanted | None:
        raise MessageInvalid(f"{message_name(payload)} is not of protocol version 1, which was asked for")

    # what they share

    def _transaction(self) -> Transaction:
        if self._within is None:
            raise MessageInvalid("it stands outside a transaction")
        return self._within

    def _table(self, oid: int) -> TableEvents | None:
        """None where the change is only counted: not captured, or its transaction is published already."""
        try:
            table = self._tables[oid]
        except KeyError:
            raise MessageInvalid(f"no relation message described relation {oid}") from None
        return None if self._skipped else table

    def _publish(self, event: Outgoing) -> None:
        if event.key > self._resume:
            self._groups.add(event)

    def _failure(self, wal_start: int, payload: bytes, error: Exception) -> DecodingFailed:
        where = f"WAL {format_lsn(wal_start)}"
        if self._within is not None:
            where = f"{where}, transaction {format_lsn(self._within.lsn)} after change {self._within.ordinal}"
        return DecodingFailed(
            f"{message_name(payload)} at {where}{self._named(payload)} cannot be decoded: {error}. Capture stops, for "
            "going on would lose the change; nothing is confirmed beyond it. Report it with the server's version"
        )

    def _named(self, payload: bytes) -> str:
        if payload[:1] not in (b"I", b"U", b"D") or len(payload) < 5:
            return ""
        oid = relation_oid(payload)
        table = self._tables.get(oid)
        return f", relation {oid}" if table is None else f", table {table.name}"


def _expect(payload: bytes, *rows: int) -> None:
    if payload[5] not in rows:
        raise MessageInvalid(f"no row of kind {payload[5]:#04x} belongs there")
