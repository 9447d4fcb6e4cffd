"""What is read: the table as the catalogue has it, and the query for its next rows. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cdc.backfill.run_record import Target
from cdc.catalogue_facts import Facts, FactsWanted
from cdc.pgoutput import Column, Relation
from cdc.relations import Relations, Table
from cdc.settings import SourceSettings, split_table
from cdc.sql_names import quoted

SHAPE = """
SELECT @oid@::text || ' ' || string_agg(a.attname || ' ' || a.atttypid, ',' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
 WHERE a.attrelid = @oid@ AND a.attnum > 0 AND NOT a.attisdropped
"""
"""Which table it is, its columns and types as one text, which differs after every change of them and every swap."""

TABLE_SQL = """
SELECT c.oid::bigint AS oid, c.relreplident::text AS identity,
       (@shape@) AS shape,
       p.attnames::text[] AS sent, p.rowfilter AS filter, p.pubname IS NOT NULL AS published,
       current_user::text AS role
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_publication_tables p
    ON p.pubname = %(publication)s AND p.schemaname = n.nspname AND p.tablename = c.relname
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p')
""".replace("@shape@", SHAPE.replace("@oid@", "c.oid"))

COLUMNS_SQL = """
SELECT a.attname::text AS name, a.atttypid::bigint AS type,
       coalesce(c.relreplident = 'f' OR a.attnum = ANY (i.indkey), false) AS identity
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
   AND (c.relreplident = 'd' AND i.indisprimary AND i.indimmediate OR c.relreplident = 'i' AND i.indisreplident)
 WHERE a.attrelid = %(oid)s AND a.attname = ANY (%(sent)s) AND NOT a.attisdropped
 ORDER BY a.attnum
"""

KEYS_SQL = """
SELECT array_agg(a.attname::text ORDER BY k.place) AS columns
  FROM pg_catalog.pg_index i
 CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND a.attnum > 0
 WHERE i.indrelid = %(oid)s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND k.place <= i.indnkeyatts
 GROUP BY i.indexrelid, i.indisprimary
HAVING bool_and(coalesce(a.attnotnull, false))
 ORDER BY i.indisprimary DESC, i.indexrelid
"""
"""Unique indexes that know no null: their columns in the index's order, the primary key's first."""


class Refused(Exception):
    """The backfill cannot be done as asked; says why, and what would mend it."""


class TableUnknown(Refused):
    """There is no such table."""


class Rights(NamedTuple):
    """What a missing right is mended with."""

    schema: str
    table: str
    role: str

    @property
    def grant(self) -> str:
        schema, role = quoted(self.schema), quoted(self.role)
        return f"GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON {schema}.{quoted(self.table)} TO {role};"


@dataclass(frozen=True, slots=True)
class ReadTable:
    """A captured table that can be read by key. Places are those of `relation.columns`.

    key: the key's columns in their index's order; shape: what the columns are; filter: the publication's, an expression.
    """

    relation: Relation
    table: Table
    key: tuple[str, ...]
    shape: str
    filter: str | None
    rights: Rights

    @property
    def name(self) -> str:
        return f"{quoted(self.relation.schema)}.{quoted(self.relation.name)}"

    @property
    def key_places(self) -> tuple[int, ...]:
        names = [column.name for column in self.relation.columns]
        return tuple(names.index(name) for name in self.key)


@dataclass(frozen=True, slots=True)
class Query:
    """SQL with $1, $2, … and what stands for them, as text."""

    text: str
    parameters: tuple[str, ...] = ()


def relation_of(name: str, row: Mapping[str, Any], columns: Iterable[Mapping[str, Any]]) -> Relation:
    """As pgoutput would describe it, of the rows of TABLE_SQL and COLUMNS_SQL."""
    schema, table = split_table(name)
    found = (Column(column["name"], column["type"], column["identity"]) for column in columns)
    return Relation(row["oid"], schema, table, row["identity"], tuple(found))


def facts_wanted(source: SourceSettings, relation: Relation) -> FactsWanted | None:
    return Relations(source.tables).wanted(relation)


def read_table(
    source: SourceSettings,
    relation: Relation,
    facts: Facts,
    keys: Sequence[Sequence[str]],
    row: Mapping[str, Any],
) -> ReadTable:
    """`keys`: of KEYS_SQL; `row`: of TABLE_SQL. Raises Refused where the table has no key to read by."""
    relations = Relations(source.tables)
    relations.wanted(relation)
    table = relations.table(relation, facts)
    if table is None:
        raise Refused(f"{relation.full_name} is not among the tables of source {source.name}")
    rights = Rights(relation.schema, relation.name, row["role"])
    names = table.names(table.shape.key)
    if not names:
        raise Refused(
            f"{relation.full_name} has no key, so there is no order in which it could be read in pieces: give it a "
            "primary key, or name the columns of a unique index over NOT NULL columns as its `key` in bridge.yaml"
        )
    key = next((tuple(index) for index in keys if set(index) == set(names)), None)
    if key is None:
        columns = ", ".join(map(quoted, names))
        raise Refused(
            f"the key of {relation.full_name} ({columns}) is no unique index over NOT NULL columns, so it cannot be read "
            f"in pieces: CREATE UNIQUE INDEX CONCURRENTLY ON {rights.table} ({columns}); and SET NOT NULL on each"
        )
    return ReadTable(relation, table, key, row["shape"], row["filter"], rights)


def refuse_tenant(read: ReadTable, target: Target) -> None:
    """Raises Refused where a tenant is asked for of a table that has none."""
    if target.tenant is not None and read.table.shape.tenant is None:
        raise Refused(f"{target.table} has no tenant column: ask for it without a tenant")


class Range(NamedTuple):
    """Keys behind `cursor`, up to `until`; empty: from the beginning, to the end."""

    cursor: Sequence[str] = ()
    until: Sequence[str] = ()


def rows_after(read: ReadTable, keys: Range, tenant: str | None, limit: int) -> Query:
    """The rows of a range, in the key's order."""
    select, conditions, parameters = _select(read, tenant)
    if keys.cursor:
        conditions.append(f"{_row(read.key)} > ({_numbers(keys.cursor, parameters)})")
    if keys.until:
        conditions.append(f"{_row(read.key)} <= ({_numbers(keys.until, parameters)})")
    order = ", ".join(map(quoted, read.key))
    return Query(f"{select}{_where(conditions)} ORDER BY {order} LIMIT {limit}", tuple(parameters))


def last_key(read: ReadTable) -> Query:
    """The key's columns of the last row: what is inserted behind it comes as a change."""
    columns = ", ".join(map(quoted, read.key))
    order = ", ".join(f"{quoted(name)} DESC" for name in read.key)
    return Query(f"SELECT {columns} FROM {read.name} ORDER BY {order} LIMIT 1")  # noqa: S608 - as in _select


def rows_left(read: ReadTable, keys: Range, tenant: str | None) -> Query:
    """The planner's estimate, as EXPLAIN's JSON, of how many rows are to be read."""
    query = rows_after(read, keys, tenant, limit=2**31)
    return Query(f"EXPLAIN (FORMAT JSON) {query.text}", query.parameters)


def no_rows(read: ReadTable) -> Query:
    """What fails where the table's rows may not be read."""
    return rows_after(read, Range(), None, limit=0)


def rows_again(read: ReadTable, keys: Sequence[Sequence[str]], tenant: str | None) -> Query:
    """The rows that have these keys."""
    select, conditions, parameters = _select(read, tenant)
    listed = ", ".join(f"({_numbers(key, parameters)})" for key in keys)
    conditions.append(f"{_row(read.key)} IN ({listed})")
    return Query(select + _where(conditions), tuple(parameters))


SNAPSHOT = "pg_catalog.pg_current_snapshot()::text"
READ_AT = "(extract(epoch FROM pg_catalog.statement_timestamp()) * 1000000)::int8"


def _select(read: ReadTable, tenant: str | None) -> tuple[str, list[str], list[str]]:
    """Up to the table's name; conditions and parameters to go on with."""
    columns = ", ".join(quoted(column.name) for column in read.relation.columns)
    named = f"pg_catalog.to_regclass({literal(read.name)})::oid"
    same = f"({SHAPE.replace('@oid@', named)}) = $1"
    conditions, parameters = [], [read.shape]
    if read.filter:
        conditions.append(f"({read.filter})")
    place = read.table.shape.tenant
    if tenant is not None and place is not None:
        parameters.append(tenant)
        conditions.append(f"{quoted(read.table.shape.names[place])} = $2")
    # names from the catalogue, quoted; everything else is a parameter
    return f"SELECT {SNAPSHOT}, {READ_AT}, {same}, {columns} FROM {read.name}", conditions, parameters  # noqa: S608 - see above


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _numbers(values: Sequence[str], parameters: list[str]) -> str:
    first = len(parameters) + 1
    parameters += values
    return ", ".join(f"${number}" for number in range(first, first + len(values)))


def _row(names: Sequence[str]) -> str:
    return f"({', '.join(map(quoted, names))})"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
