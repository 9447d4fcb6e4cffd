"""What the catalogue says today of a table known by its name alone, for a plugin that tells no more. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cdc.catalogue_facts import TypeFacts

TABLE_SQL = """
WITH found AS (
  SELECT c.oid, c.relreplident
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = %s AND c.relname = %s
), lineage AS (
  SELECT c.oid, n.nspname || '.' || c.relname AS name, a.place
    FROM found f, pg_catalog.pg_partition_ancestors(f.oid) WITH ORDINALITY AS a(oid, place)
    JOIN pg_catalog.pg_class c ON c.oid = a.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
), wanted AS (
  SELECT %s::text[] AS tables
)
SELECT (SELECT f.oid::bigint FROM found f),
       (SELECT f.relreplident = 'f' FROM found f),
       ARRAY(SELECT l.name FROM lineage l ORDER BY l.place),
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
              WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = (
                SELECT l.oid FROM lineage l, wanted w WHERE l.name = ANY (w.tables) ORDER BY l.place DESC LIMIT 1)
              ORDER BY a.attnum),
       ARRAY(SELECT jsonb_build_array(a.attname, a.atttypid::bigint, a.attgenerated <> '', a.attnotnull,
                                      a.attlen = -1 AND a.attstorage <> 'p')
               FROM found f JOIN pg_catalog.pg_attribute a ON a.attrelid = f.oid
              WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.attname::text
               FROM found f JOIN pg_catalog.pg_index i ON i.indrelid = f.oid
               JOIN pg_catalog.pg_attribute a ON a.attrelid = f.oid AND a.attnum = ANY (i.indkey)
              WHERE CASE f.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate
                                        WHEN 'i' THEN i.indisreplident ELSE false END
              ORDER BY a.attnum),
       ARRAY(SELECT t.name FROM wanted w, unnest(w.tables) AS t(name) WHERE NOT EXISTS (
         SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname || '.' || c.relname = t.name))
"""
"""Parameters: schema, name, the configured tables' names. One row: the beginnings of `NamedFacts`, in order."""


@dataclass(frozen=True, slots=True)
class TableWanted:
    """types: OIDs not seen before; tables: the names that are configured."""

    schema: str
    name: str
    types: tuple[int, ...]
    tables: tuple[str, ...]

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"


class ColumnFacts(NamedTuple):
    """generated: no part of what pgoutput sends; out_of_line: its value may be stored there, and then be left out."""

    name: str
    type_oid: int
    generated: bool
    not_null: bool
    out_of_line: bool


@dataclass(frozen=True, slots=True)
class NamedFacts:
    """oid: None where there is no such table today. lineage: of a partition itself and its ancestors, up to the root.

    order: the columns' names of the topmost of them that is configured; empty where the table is no partition.
    full: whether the replica identity is the whole row; identity: its columns otherwise; missing: those of the
    configured tables that are not there.
    """

    oid: int | None = None
    full: bool = False
    lineage: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    columns: tuple[ColumnFacts, ...] = ()
    identity: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    types: Mapping[int, TypeFacts] = field(default_factory=dict)
