"""The tables as wal2json's changes describe them: each change carries its columns, and the catalogue says the rest.

What a single change does not tell is taken from the catalogue as it is today: which columns are generated, which have been
left out because their value is stored out of line, whose partition the table is, and the replica identity until an update
or a delete shows it. The stream's word goes before the catalogue's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cdc.catalogue_facts import Facts
from cdc.described_tables import OUTBOX_SETTINGS
from cdc.event_assembly import Origin, TableEvents
from cdc.named_facts import NamedFacts
from cdc.outbox import OutboxEvents, OutboxRows
from cdc.pgoutput import NULL, UNCHANGED, Relation, Row
from cdc.pgoutput import Column as RelationColumn
from cdc.relations import Relations
from cdc.schema_changes import Description, SchemaChange, changes
from cdc.settings import TableSettings, split_table
from cdc.wal2json import FLOATING, Column, Message, columns

Signature = tuple[tuple[str, int], ...]
"""Names and type OIDs of columns, in order."""
_BY_INDEX, _FULL = "i", "f"
_KEPT_LAYOUTS = 1_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What makes a table's events. columns: those of a whole row, without generated ones.

    identity: what an old row carries; full: it is the whole row, sent with every update and delete.
    """

    columns: Signature
    identity: tuple[str, ...]
    full: bool
    key: tuple[str, ...]


@dataclass(slots=True)
class DescribedTable:
    """A captured table, under the name that the stream gives it. name: under which it is captured, its root's.

    names: of all columns, the generated ones too. layouts: for the columns of a change, where each stands in a row, None for a generated one. pk: the bytes that told
    the key last.
    """

    name: str
    facts: NamedFacts
    shape: Shape
    events: TableEvents | OutboxRows
    description: Description
    places: Mapping[str, int]
    names: frozenset[str]
    never_null: Sequence[int]
    layouts: dict[Signature, list[int | None]] = field(default_factory=dict)
    pk: bytes = b""

    def new_row(self, sent: Sequence[Column]) -> Row | None:
        """None where the change does not fit what is known."""
        layout = self.layouts.get(signature(sent))
        if layout is None:
            return None
        row: Row = [UNCHANGED] * len(self.shape.columns)
        for place, column in zip(layout, sent, strict=True):
            if place is not None:
                row[place] = column.text()
        return row

    def old_row(self, sent: Sequence[Column]) -> Row:
        row: Row = [NULL] * len(self.shape.columns)
        for column in sent:
            place = self.places.get(column.name)
            if place is not None:
                row[place] = column.text()
        return row

    def tells(self, old: Row, new: Row) -> bool:
        """Whether the WAL carried the old row; otherwise the plugin repeats the new one's values in its place."""
        return self.shape.full or any(
            new[self.places[column]] != old[self.places[column]]
            for column in self.shape.identity
            if column in self.places
        )

    def lay_out(self, sent: Signature) -> None:
        if len(self.layouts) >= _KEPT_LAYOUTS:
            self.layouts.clear()
        self.layouts[sent] = [self.places.get(name) for name, _ in sent]


class NamedTables:
    """By `schema.table` of the stream; None for one that is not captured."""

    def __init__(
        self,
        tables: Mapping[str, TableSettings],
        origin: Origin,
        unknown_tenants: Counter[str],
        outbox: str | None,
        messages: OutboxEvents,
    ) -> None:
        """`tables` and `outbox` by `schema.table`."""
        self._settings = {**tables, outbox: OUTBOX_SETTINGS} if outbox else tables
        self._origin = origin
        self._unknown_tenants = unknown_tenants
        self._outbox = outbox
        self._messages = messages
        self._relations = Relations(self._settings)
        self._seen: dict[tuple[str, str], Description] = {}
        self.configured = tuple(self._settings)
        self.schema_changes: list[SchemaChange] = []

    def captured_as(self, full_name: str, facts: NamedFacts) -> str | None:
        """The configured name: of a partition its topmost configured ancestor's, as a publication by root has it."""
        lineage = facts.lineage or (full_name,)
        return next((name for name in reversed(lineage) if name in self._settings), None)

    def describe(
        self, name: str, message: Message, facts: NamedFacts, known: DescribedTable | None
    ) -> DescribedTable:
        """The table as this change shows it, once facts were asked; `known`: as it was before."""
        new, old = columns(message.columns), columns(message.identity)
        generated = {column.name for column in facts.columns if column.generated}
        names = {column.name for column in new}
        both = (*new, *(column for column in old if column.name not in names))
        sent = tuple(column for column in signature(both) if column[0] not in generated)
        whole = _whole(message.action, sent, facts, known.shape.columns if known else ())
        # a partition's columns may have another order, and the same key must look the same in all of them
        whole = tuple(sorted(whole, key=lambda column: _rank(facts.order, column[0])))
        key = _key_of(message, facts)
        if facts.full:
            identity = tuple(column for column, _ in whole)
        else:
            identity = key if facts.oid is None else facts.identity
        described = self._described(name, facts, Shape(whole, identity, facts.full, key))
        described.pk = bytes(message.pk)
        if message.action in {"I", "U"}:
            described.lay_out(signature(new))
        return described

    def fit(self, table: DescribedTable, message: Message, old: Sequence[Column]) -> DescribedTable:
        """The table with the key and the identity that this change shows."""
        shape, pk = table.shape, bytes(message.pk)
        key, identity, full = shape.key, shape.identity, shape.full
        if pk != table.pk:
            key = _key_of(message, table.facts)
        if message.action in {"U", "D"}:
            identity = tuple(column.name for column in old if column.name in table.places)
            if identity != shape.identity:
                full = len(identity) == len(shape.columns) > len(key)
        fitting = Shape(shape.columns, identity, full, key)
        if fitting != shape:
            layouts = table.layouts
            table = self._described(table.name, table.facts, fitting)
            table.layouts.update(layouts)
        table.pk = pk
        return table

    def _described(self, name: str, facts: NamedFacts, shape: Shape) -> DescribedTable:
        schema, relation = split_table(name)
        described = Relation(
            facts.oid or 0,
            schema,
            relation,
            _FULL if shape.full else _BY_INDEX,  # so that the key is the one named here, not the identity
            tuple(RelationColumn(column, oid, column in shape.identity) for column, oid in shape.columns),
        )
        table = self._relations.table(described, Facts(shape.key, facts.types))
        assert table is not None, "its name was found in the settings"
        places = {column: place for place, (column, _) in enumerate(shape.columns)}
        not_null = {column.name for column in facts.columns if column.not_null}
        never_null = [
            places[column] for column, oid in shape.columns if oid in FLOATING and column in not_null
        ]
        if name == self._outbox:
            events: TableEvents | OutboxRows = OutboxRows(table, self._messages)
        else:
            events = TableEvents(table, self._origin, self._unknown_tenants)
        description = Description.of(described, table)
        names = frozenset((*places, *(column.name for column in facts.columns if column.generated)))
        return DescribedTable(name, facts, shape, events, description, places, names, never_null)

    def seen(self, place: tuple[str, str], table: DescribedTable, lsn: int) -> None:
        """What a change showed; `lsn`: of the transaction."""
        before, now = self._seen.get(place), table.description
        if before is now:
            return
        self._seen[place] = now
        what = changes(before, now) if before is not None and table.name != self._outbox else ()
        if what:
            self.schema_changes.append(SchemaChange(now.name, lsn, what))


def signature(sent: Iterable[Column]) -> Signature:
    return tuple((column.name, column.type_oid) for column in sent)


def _key_of(message: Message, facts: NamedFacts) -> tuple[str, ...]:
    """The primary key that the change names; one that is deferrable it does not name, and the catalogue does."""
    key = tuple(column.name for column in columns(message.pk)) or facts.key
    return tuple(sorted(key, key=lambda name: _rank(facts.order, name)))


def _rank(order: Sequence[str], name: str) -> int:
    """Behind all others where it is not among them: sorting then keeps what was given."""
    return order.index(name) if name in order else len(order)


def _whole(action: str, sent: Signature, facts: NamedFacts, known: Signature) -> Signature:
    """All columns of a row of which a change sent these.

    An insert sends them all. Of the others, what the stream showed before is right unless columns have come or gone;
    then the catalogue says what an update may have left out.
    """
    if action == "I":
        return sent
    today = tuple((column.name, column.type_oid) for column in facts.columns if not column.generated)
    if set(sent) <= set(known) <= set(today):
        return known
    if not set(sent) <= set(today):
        return known if set(sent) <= set(known) else sent
    if action != "U":
        return today
    kept = {column.name for column in facts.columns if column.out_of_line} | {name for name, _ in sent}
    return tuple(column for column in today if column[0] in kept)
