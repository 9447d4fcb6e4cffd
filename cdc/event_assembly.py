"""Events: one change of one row as the message that is published (docs/events.md).

A `TableEvents` knows all that is the same for every event of its table and tenant, a `Transaction` all that is the
same for every event of the transaction; what is left per event is to join a dozen strings.
"""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache

from cdc.column_values import json_string
from cdc.event_id import id_prefix
from cdc.event_text import Target
from cdc.foreign_bytes import shown
from cdc.pgoutput import NULL, Row, parse_row
from cdc.relations import Table
from cdc.replication_frames import wal_start
from cdc.row_encoder import ValueUnchanged
from eventbus.event import encode_json
from eventbus.group_commit import Outgoing
from eventbus.subjects import Subjects
from eventbus.tokens import NO_TENANT, UNKNOWN_TENANT, tenant_token

try:
    from cdc.wire_events import Transaction as Transaction  # noqa: PLC0414 - for whoever takes it from here
    from cdc.wire_events import event_of as event_of  # noqa: PLC0414
except ImportError:  # built where there was no C compiler (hatch_build.py)
    from cdc.event_text import Transaction, event_of

_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - UTC, and printed without an offset
_KEPT_TARGETS = 10_000
"""Tenants of a table whose constant parts are kept."""


@dataclass(frozen=True)
class Origin:
    """Where events come from: the source's name, the database's, the epoch, and how subjects are written."""

    source: str
    database: str
    epoch: int
    subjects: Subjects

    @cached_property
    def id_prefix(self) -> str:
        return id_prefix(self.source, self.epoch)


def begin(origin: Origin, lsn: int, commit_ts: int, xid: int | None) -> Transaction:
    """A transaction, or a message outside any. `commit_ts`: microseconds since 2000 UTC; xid: None for a message."""
    seconds, microseconds = divmod(commit_ts, 1_000_000)
    return Transaction(origin.id_prefix, lsn, xid, _second(seconds), microseconds)


@lru_cache(maxsize=2)
def _second(since_2000: int) -> str:
    return (_EPOCH + timedelta(seconds=since_2000)).isoformat()


class _Targets(dict[str | int | None, Target]):
    """Targets of one table and op by the tenant column's value; rows of no known tenant are counted, not kept."""

    def __init__(self, table: Table, op: str, origin: Origin, unknown_tenants: Counter[str]) -> None:
        self._table, self._op, self._origin, self._unknown = table, op, origin, unknown_tenants
        self._place = table.schema, table.name

    def __missing__(self, tenant: str | int | None) -> Target:
        if not isinstance(tenant, str) and self._table.has_tenants:
            self._unknown[self._table.full_name] += 1
            return target_of(self._place, self._op, self._origin, (UNKNOWN_TENANT, "null"))
        if len(self) >= _KEPT_TARGETS:
            self.clear()
        known = _known(shown(tenant)) if isinstance(tenant, str) else _NO_TENANT
        target = self[tenant] = target_of(self._place, self._op, self._origin, known)
        return target


_NO_TENANT = NO_TENANT, "null"


def _known(tenant: str) -> tuple[str, str]:
    return tenant_token(tenant), json_string(tenant)


def target_of(place: tuple[str, str], op: str, origin: Origin, tenant: tuple[str, str]) -> Target:
    """`place`: schema and table; `tenant`: its token and its JSON."""
    schema, table = place
    token, tenant_json = tenant
    subject = origin.subjects.event(origin.source, token, schema, table, op)
    source = (
        f'"name":{json_string(origin.source)},"db":{json_string(origin.database)},'
        f'"schema":{json_string(schema)},"table":{json_string(table)},"lsn":"'
    )
    return Target(subject.encode(), f'","op":"{op}","tenant":{tenant_json},"source":{{{source}')


class TableEvents:
    """The events of one table. Each takes the transaction's next ordinal; `lsn` is the row's own."""

    def __init__(self, table: Table, origin: Origin, unknown_tenants: Counter[str]) -> None:
        self._table = table
        self._origin, self._unknown_tenants = origin, unknown_tenants
        self._with_identity: dict[tuple[int, ...], TableEvents] = {}
        self._encode, self._encode_sent = table.encoder.encode, table.encoder.encode_sent
        self._inserts, self._updates, self._deletes, self._reads = (
            _Targets(table, op, origin, unknown_tenants) for op in ("insert", "update", "delete", "read")
        )
        self._truncates = target_of((table.schema, table.name), "truncate", origin, _NO_TENANT)
        just_the_key = set(table.identity) == set(table.shape.key)
        names = table.names(table.identity)
        self._identity = "" if just_the_key else f',"identity":{encode_json(names).decode()}'
        self._no_before = f',"before":null{self._identity},"after":'

    def insert(self, within: Transaction, lsn: int, new: Row) -> Outgoing:
        tenant, key, after = self._encoded(new, None)
        return event_of(within, lsn, self._inserts[tenant], key, self._no_before, after)

    def update(self, within: Transaction, lsn: int, new: Row) -> Outgoing:
        tenant, key, after = self._encoded(new, None)
        return event_of(within, lsn, self._updates[tenant], key, self._no_before, after)

    def insert_sent(self, within: Transaction, frame: bytes, at: int) -> Outgoing:
        """`insert` of the only row of a frame, which begins at `at`."""
        encoded = self._encode_sent(frame, at)
        if encoded is None:
            return self.insert(within, wal_start(frame), parse_row(frame, at))
        tenant, key, after = encoded
        return event_of(within, wal_start(frame), self._inserts[tenant], key, self._no_before, after)

    def update_sent(self, within: Transaction, frame: bytes, at: int) -> Outgoing:
        """`update`, likewise."""
        encoded = self._encode_sent(frame, at)
        if encoded is None:
            return self.update(within, wal_start(frame), parse_row(frame, at))
        tenant, key, after = encoded
        return event_of(within, wal_start(frame), self._updates[tenant], key, self._no_before, after)

    def update_from(self, within: Transaction, lsn: int, new: Row, old: Row) -> list[Outgoing]:
        """One event; a row that moves from one tenant to another is deleted there and inserted here."""
        tenant, key, after = self._encoded(new, old)
        if self._table.moves(old, tenant):
            gone = self.delete(within, lsn, old)
            return [gone, event_of(within, lsn, self._inserts[tenant], key, self._no_before, after)]
        return [event_of(within, lsn, self._updates[tenant], key, self._before(old), after)]

    def as_sent(self, old: Row) -> "TableEvents":
        """For an old row of the identity's columns alone: those of the partition it was in, which may not be the table's.

        An identity's columns are NOT NULL, so that what is NULL was not sent.
        """
        identity = self._table.identity
        if len(old) - old.count(NULL) == len(identity) and all(old[place] != NULL for place in identity):
            return self
        sent = tuple(place for place in self._table.shape.published if old[place] != NULL)
        found = self._with_identity.get(sent)
        if found is None:
            table = replace(self._table, identity=sent)
            found = TableEvents(table, self._origin, self._unknown_tenants)
            self._with_identity[sent] = found
        return found

    @property
    def name(self) -> str:
        return self._table.full_name

    def delete(self, within: Transaction, lsn: int, old: Row) -> Outgoing:
        target = self._deletes[self._table.old_tenant(old) if self._table.has_tenants else None]
        return event_of(within, lsn, target, self._table.old_key(old), self._before(old), "null")

    def read(self, tenant: str | int | None) -> tuple[Target, str]:
        """What a row of a backfill is made of: its target, and the JSON between key and row."""
        return self._reads[tenant], self._no_before

    def truncate(self, within: Transaction, lsn: int) -> Outgoing:
        return event_of(within, lsn, self._truncates, "null", ',"before":null,"after":', "null")

    def _encoded(self, new: Row, old: Row | None) -> tuple[str | int | None, str, str]:
        """Tenant, key and row; after the row the member `unchanged`, where there is one."""
        try:
            return self._encode(new)
        except ValueUnchanged:
            return self._filled(new if old is None else self._table.filled(new, old))

    def _filled(self, row: Row) -> tuple[str | int | None, str, str]:
        try:
            return self._encode(row)
        except ValueUnchanged:
            encoder = self._table.encoder
            tenant, key, after = encoder.partial(row)
            names = encoder.unchanged(row)
            return tenant, key, f'{after},"unchanged":{encode_json(names).decode()}' if names else after

    def _before(self, old: Row) -> str:
        return f',"before":{self._table.encoder.columns(old, self._table.identity)}{self._identity},"after":'
