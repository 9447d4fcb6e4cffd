"""What the WAL does not say and the catalogue is asked for: key columns, types that are not built in, names of today.

Pure: who decodes says what it wants (`FactsWanted`), who has a connection runs the queries and answers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cdc.built_in_types import BUILT_IN
from cdc.column_values import TEXT, Form
from cdc.nested_values import HSTORE, array_of

KEY_COLUMNS_SQL = """
SELECT a.attname::text
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = %s AND i.indisprimary
ORDER BY a.attnum
"""
"""Parameter: `FactsWanted.relation`, an OID as a number. Rows: one column name each."""

TYPES_SQL = """
WITH RECURSIVE wanted(oid) AS (
    SELECT unnest(%s::oid[])
    UNION
    SELECT reached.oid
    FROM wanted JOIN pg_catalog.pg_type t ON t.oid = wanted.oid
    CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS reached(oid)
    WHERE reached.oid <> 0
)
SELECT t.oid::bigint, t.typname::text, t.typtype::text, t.typbasetype::bigint,
       coalesce(e.oid, 0)::bigint, coalesce(e.typdelim, ',')::text
FROM wanted JOIN pg_catalog.pg_type t USING (oid)
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
"""
"""Parameter: `FactsWanted.types`, a list of OIDs as numbers. Rows: the members of `TypeFacts`, in order."""

NAMES_SQL = """
SELECT (SELECT n.nspname || '.' || c.relname
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = %s),
       ARRAY(SELECT t.name FROM unnest(%s::text[]) AS t(name) WHERE NOT EXISTS (
         SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname || '.' || c.relname = t.name)),
       EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(%s) a(oid)
         JOIN pg_catalog.pg_class c ON c.oid = a.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname || '.' || c.relname = ANY (%s))
"""
"""Parameters: `FactsWanted.relation`, `FactsWanted.tables`, both again.

One row: `Facts.name`, `Facts.missing`, `Facts.partition`.
"""


@dataclass(frozen=True, slots=True)
class FactsWanted:
    """relation: whose primary key is asked for, 0 where it is known; types: OIDs not seen before.

    tables: where the relation is sent under a name that is not configured, the names that are; else empty.
    """

    relation: int
    types: tuple[int, ...]
    tables: tuple[str, ...] = ()


class TypeFacts(NamedTuple):
    """A row of pg_type. kind: typtype; base: of a domain, else 0; element: of a true array, else 0."""

    oid: int
    name: str
    kind: str
    base: int
    element: int
    delimiter: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The answer to `FactsWanted`. A type that is gone by now is missing: its values stay text.

    name: the relation's `schema.table` today, None where it is gone; missing: those of `tables` that are not there;
    partition: whether it is one of a table in `tables`.
    """

    key: tuple[str, ...] = ()
    types: Mapping[int, TypeFacts] = field(default_factory=dict)
    name: str | None = None
    missing: tuple[str, ...] = ()
    partition: bool = False

    @classmethod
    def of_rows(
        cls, key: Iterable[tuple[str]], types: Iterable[tuple[int, str, str, int, int, str]]
    ) -> "Facts":
        found = map(TypeFacts._make, types)
        return cls(tuple(name for (name,) in key), {facts.oid: facts for facts in found})


def form_of_facts(oid: int, types: Mapping[int, TypeFacts]) -> Form:
    """A domain takes its base type's form, an array its element's; everything else is text but hstore."""
    if oid in BUILT_IN:
        return BUILT_IN[oid]
    facts = types.get(oid)
    if facts is None:
        return TEXT
    if facts.kind == "d":
        return form_of_facts(facts.base, types)
    if facts.element:
        return array_of(form_of_facts(facts.element, types).to_json, facts.delimiter)
    return HSTORE if facts.kind == "b" and facts.name == "hstore" else TEXT
