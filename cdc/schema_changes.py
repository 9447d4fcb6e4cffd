"""What of a table's events is another shape than before, in words. Pure; names and type OIDs only, no values."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cdc.pgoutput import Relation
from cdc.relations import Table


class Description(NamedTuple):
    """What decides a table's events. columns: published ones, each with its type's OID."""

    name: str
    columns: Mapping[str, int]
    replica_identity: str
    identity: tuple[str, ...]
    key: tuple[str, ...]

    @classmethod
    def of(cls, relation: Relation, table: Table) -> "Description":
        return cls(
            relation.full_name,
            {
                relation.columns[place].name: relation.columns[place].type_oid
                for place in table.shape.published
            },
            relation.replica_identity,
            tuple(table.names(table.identity)),
            tuple(table.names(table.shape.key)),
        )


class SchemaChange(NamedTuple):
    """In the transaction at `lsn`; 0: before the first."""

    table: str
    lsn: int
    what: tuple[str, ...]


def changes(before: Description, after: Description) -> tuple[str, ...]:
    """Empty where events keep their shape."""
    return tuple(_changes(before, after))


def _changes(before: Description, after: Description) -> Iterator[str]:
    if before.name != after.name:
        yield f"renamed from {before.name}"
    renamed = _renamed(before.columns, after.columns)
    if renamed is not None:
        yield f"column {renamed[0]} renamed to {renamed[1]}"
    else:
        yield from (f"column {name} added" for name in after.columns if name not in before.columns)
        yield from (f"column {name} dropped" for name in before.columns if name not in after.columns)
    for name, type_oid in after.columns.items():
        if before.columns.get(name, type_oid) != type_oid:
            yield f"column {name} of another type: OID {before.columns[name]} became {type_oid}"
    if before.replica_identity != after.replica_identity:
        kinds = (_IDENTITIES.get(one.replica_identity, one.replica_identity) for one in (before, after))
        yield "replica identity {} became {}".format(*kinds)
    if before.identity != after.identity:
        yield f"an old row carries ({', '.join(after.identity)}) in place of ({', '.join(before.identity)})"
    if before.key != after.key:
        yield f"the key is ({', '.join(after.key)}) in place of ({', '.join(before.key)})"


_IDENTITIES = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL", "i": "USING INDEX"}


def _renamed(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, str] | None:
    """One column that has another name in the same place: the stream does not tell it from one dropped and one added."""
    if list(before.values()) != list(after.values()):
        return None
    differing = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    return differing[0] if len(differing) == 1 else None
