"""The tables as the stream describes them: what the last relation message in stream order says, never the catalogue.

Relation and type messages, the settings, and the facts that only the catalogue has make a `Table` of each relation
that is captured.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cdc.built_in_types import BUILT_IN, form_of_message
from cdc.catalogue_facts import Facts, FactsWanted, form_of_facts
from cdc.column_values import TEXT, Form
from cdc.pgoutput import UNCHANGED, Relation, Row, Type
from cdc.row_encoder import NO_KEY, RowEncoder, RowShape
from cdc.settings import TableSettings

_DEFAULT_IDENTITY = "d"


@dataclass(frozen=True, slots=True)
class Table:
    """A captured relation. Numbers are places of columns in its rows, counted from 0.

    has_tenants: its settings name a tenant column; shape.tenant is None all the same where the relation, as it is at
    this point of the stream, has no such column. identity: the published columns that an old row carries.
    """

    schema: str
    name: str
    has_tenants: bool
    shape: RowShape
    identity: tuple[int, ...]
    encoder: RowEncoder

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    def old_key(self, old: Row) -> str:
        """The key as an old row tells it: null unless the identity holds all of it."""
        return self.encoder.key(old) if set(self.shape.key) <= set(self.identity) else NO_KEY

    def old_tenant(self, old: Row) -> str | int:
        """The tenant's value in an old row; `UNCHANGED` where that does not tell."""
        place = self.shape.tenant
        return UNCHANGED if place is None or place not in self.identity else old[place]

    def moves(self, old: Row, tenant: str | int | None) -> bool:
        """Whether an update that leaves the row with this tenant takes it away from another."""
        before = self.old_tenant(old)
        return UNCHANGED not in (before, tenant) and before != tenant

    def filled(self, new: Row, old: Row) -> Row:
        """The new row with those of its unchanged values that the old one carries."""
        row = list(new)
        for place in self.identity:
            if row[place] == UNCHANGED:
                row[place] = old[place]
        return row

    def names(self, places: tuple[int, ...]) -> list[str]:
        return [self.shape.names[place] for place in places]


class Relations:
    """Relations by OID. Between `describe` and the Table there may be facts to be asked of the catalogue."""

    def __init__(self, settings: Mapping[str, TableSettings]) -> None:
        self._settings = settings
        self._forms: dict[int, Form] = dict(BUILT_IN)

    def type_message(self, message: Type) -> None:
        form = form_of_message(message)
        if form is not None:
            self._forms[message.oid] = form

    def wanted(self, relation: Relation) -> FactsWanted | None:
        """What must be known before `table`; None where the stream has told it all."""
        settings = self._settings.get(relation.full_name)
        types = {column.type_oid for column in relation.columns if column.type_oid not in self._forms}
        if settings is None:
            return FactsWanted(relation.oid, tuple(sorted(types)), tuple(self._settings))
        known = settings.key or _key_by_identity(relation)
        if known and not types:
            return None
        return FactsWanted(0 if known else relation.oid, tuple(sorted(types)))

    def table(self, relation: Relation, facts: Facts) -> Table | None:
        """None for a relation that is configured neither by the stream's name nor, renamed since, by today's."""
        settings = self._settings.get(relation.full_name) or self._settings.get(facts.name or "")
        if settings is None:
            return None
        for column in relation.columns:
            if column.type_oid not in self._forms:
                self._forms[column.type_oid] = form_of_facts(column.type_oid, facts.types)
        shape = self._shape(relation, settings, facts)
        identity = tuple(place for place in shape.published if relation.columns[place].identity)
        has_tenants = settings.tenant_column is not None
        return Table(relation.schema, relation.name, has_tenants, shape, identity, RowEncoder(shape))

    def _shape(self, relation: Relation, settings: TableSettings, facts: Facts) -> RowShape:
        places = {column.name: place for place, column in enumerate(relation.columns)}
        return RowShape(
            names=tuple(places),
            forms=tuple(self._forms.get(column.type_oid, TEXT) for column in relation.columns),
            published=tuple(place for name, place in places.items() if name not in settings.exclude),
            key=_key_places(relation, settings, facts, places),
            tenant=places.get(settings.tenant_column or ""),
        )


def _key_places(
    relation: Relation, settings: TableSettings, facts: Facts, places: Mapping[str, int]
) -> tuple[int, ...]:
    """Empty where there is no key, or where the row, older than the key, lacks a column of it."""
    names = settings.key or _key_by_identity(relation) or facts.key
    return tuple(places[name] for name in names) if all(name in places for name in names) else ()


def _key_by_identity(relation: Relation) -> tuple[str, ...]:
    """The default identity is the primary key: then the stream itself tells it, as of this very change.

    Not where the primary key is deferrable, for that is no identity.
    """
    if relation.replica_identity != _DEFAULT_IDENTITY:
        return ()
    return tuple(column.name for column in relation.columns if column.identity)
