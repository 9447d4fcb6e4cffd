"""The tables as the server described them last, by OID: what their rows become.

Within the replay of a streamed transaction that transaction's descriptions hold. For what follows, the one that was
*sent* last holds, which may be another transaction's: so descriptions are numbered as they come.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

from cdc.catalogue_facts import Facts, FactsWanted
from cdc.event_assembly import Origin, TableEvents
from cdc.outbox import OutboxEvents, OutboxRows
from cdc.pgoutput import MessageInvalid, Relation, Type
from cdc.relations import Relations
from cdc.schema_changes import Description, SchemaChange, changes
from cdc.settings import TableSettings

T = TypeVar("T")
OUTBOX_SETTINGS = TableSettings(key=("id",))


class NotConfigured(NamedTuple):
    """A table that is sent, in the transaction at `lsn`, and that bridge.yaml does not name.

    missing: tables that bridge.yaml names and that are not there, so that this may be one of them, renamed.
    """

    table: str
    lsn: int
    missing: tuple[str, ...]


class ByOid(dict[bytes, T | None], Generic[T]):
    """Keys as they are on the wire; None for a relation whose changes make no events."""

    def __missing__(self, oid: bytes) -> None:
        raise MessageInvalid(f"no relation message described relation {int.from_bytes(oid)}")


class _Described(NamedTuple):
    number: int
    inserted: TableEvents | OutboxRows | None
    table: TableEvents | None
    description: Description | None


class DescribedTables:
    """Of one stream."""

    def __init__(
        self, origin: Origin, tables: Mapping[str, TableSettings], outbox: str | None, messages: OutboxEvents
    ) -> None:
        """`tables` and `outbox` by `schema.table`."""
        self._origin = origin
        self._outbox = outbox
        self._messages = messages
        self._relations = Relations({**tables, outbox: OUTBOX_SETTINGS} if outbox else tables)
        self._latest: dict[bytes, _Described] = {}
        self._pending: tuple[Relation, int] | None = None
        self._replayed: set[bytes] | None = None
        self.inserted: ByOid[TableEvents | OutboxRows] = ByOid()
        """For inserted rows."""
        self.tables: ByOid[TableEvents] = ByOid()
        """For all others: those of the outbox table make no events."""
        self.unknown_tenants: Counter[str] = Counter()
        self.schema_changes: list[SchemaChange] = []

    @property
    def replaying(self) -> bool:
        return self._replayed is not None

    def replay_begins(self) -> None:
        self._replayed = set()

    def replay_ends(self) -> None:
        for oid in self._replayed or ():
            self._hold(oid, self._latest[oid])
        self._replayed = None

    def type_message(self, message: Type) -> None:
        self._relations.type_message(message)

    def relation(self, relation: Relation, number: int, lsn: int) -> FactsWanted | None:
        """What to `learn` before anything else; None: nothing. `lsn`: of the transaction."""
        wanted = self._relations.wanted(relation)
        if wanted is None:
            self._describe(relation, number, Facts(), lsn)
        else:
            self._pending = relation, number
        return wanted

    def learn(self, facts: Facts, lsn: int) -> NotConfigured | None:
        assert self._pending is not None
        (relation, number), self._pending = self._pending, None
        # the server describes a partition beside its table, and sends the rows as the table's
        if self._describe(relation, number, facts, lsn) or facts.partition:
            return None
        return NotConfigured(relation.full_name, lsn, facts.missing)

    def _describe(self, relation: Relation, number: int, facts: Facts, lsn: int) -> bool:
        """Whether it is captured."""
        oid, found = relation.oid.to_bytes(4), self._found(relation, number, facts)
        self._hold(oid, found)
        if self._replayed is not None:
            self._replayed.add(oid)
        before = self._latest.get(oid)
        if before is None or number > before.number:
            self._latest[oid] = found
            self._compare(before, found, lsn)
        return found.inserted is not None

    def _found(self, relation: Relation, number: int, facts: Facts) -> _Described:
        table = self._relations.table(relation, facts)
        if table is None:
            return _Described(number, None, None, None)
        if self._outbox is not None and self._outbox in (relation.full_name, facts.name):
            return _Described(number, OutboxRows(table, self._messages), None, None)
        events = TableEvents(table, self._origin, self.unknown_tenants)
        return _Described(number, events, events, Description.of(relation, table))

    def _hold(self, oid: bytes, described: _Described) -> None:
        self.inserted[oid], self.tables[oid] = described.inserted, described.table

    def _compare(self, before: _Described | None, found: _Described, lsn: int) -> None:
        if before is None or before.description is None or found.description is None:
            return
        what = changes(before.description, found.description)
        if what:
            self.schema_changes.append(SchemaChange(found.description.name, lsn, what))
