"""What the preflight needs to know of a source, read from its catalogue in three queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdc.catalogue import Catalogue, SlotState
from cdc.finding import identifier
from cdc.settings import SourceSettings, split_table

_SERVER = """
SELECT current_setting('server_version_num')::int AS version,
       current_setting('wal_level') AS wal_level,
       pg_catalog.pg_is_in_recovery() AS standby,
       (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size') AS wal_keep_mb,
       extract(epoch FROM current_setting('idle_replication_slot_timeout', true)::interval)::bigint
         AS idle_slot_timeout_s,
       current_setting('max_replication_slots')::int
         - (SELECT count(*)::int FROM pg_catalog.pg_replication_slots) AS free_slots,
       current_setting('max_wal_senders')::int
         - (SELECT count(*)::int FROM pg_catalog.pg_stat_replication) AS free_senders,
       r.rolname::text AS role, r.rolsuper OR r.rolreplication AS may_replicate
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""

_TABLES = """
SELECT n.nspname || '.' || c.relname AS name, c.relkind::text AS kind, c.relpersistence::text AS persistence,
       c.relreplident::text AS identity,
       r.prrelid IS NOT NULL AS published,
       r.prqual IS NOT NULL AS filtered,
       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs::int2[])) AS published_columns,
       (SELECT jsonb_object_agg(a.attname, a.attnotnull) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
          FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
            ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
         WHERE i.indrelid = c.oid AND i.indisprimary) AS primary_key,
       (SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
          FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
            ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
         WHERE i.indrelid = c.oid AND i.indisreplident) AS identity_index
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_publication p ON p.pubname = %(publication)s
  LEFT JOIN pg_catalog.pg_publication_rel r ON r.prrelid = c.oid AND r.prpubid = p.oid
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_(toast|temp)' AND n.nspname <> 'pg_catalog'
   AND n.nspname <> 'information_schema'
"""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Settings in force: megabytes and seconds as the names say; -1 and 0 as PostgreSQL means them."""

    version: int
    wal_level: str
    standby: bool
    wal_keep_mb: int
    idle_slot_timeout_s: int | None
    free_slots: int
    free_senders: int
    role: str
    may_replicate: bool


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table. kind, persistence, identity: pg_class's letters; columns: name → NOT NULL."""

    name: str
    kind: str
    persistence: str
    identity: str
    published: bool
    filtered: bool
    published_columns: Sequence[str] | None
    columns: Mapping[str, bool]
    primary_key: Sequence[str] | None
    identity_index: Sequence[str] | None

    @property
    def sql_name(self) -> str:
        """The name as SQL writes it."""
        return ".".join(identifier(part) for part in split_table(self.name))

    @property
    def identity_columns(self) -> Sequence[str]:
        """What an old row carries; empty: nothing, and then PostgreSQL refuses updates and deletes."""
        match self.identity:
            case "f":
                return list(self.columns)
            case "i":
                return self.identity_index or ()
            case "d":
                return self.primary_key or ()
            case _:
                return ()


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """A source as it is; `tables`: those that bridge.yaml names or the publication has; `known`: all there are."""

    server: ServerFacts
    slot: SlotState
    tables: Mapping[str, TableFacts]
    known: Sequence[str]


async def read_facts(catalogue: Catalogue, settings: SourceSettings) -> SourceFacts:
    """Raises SourceLost."""
    (server,) = await catalogue.rows(_SERVER)
    rows = await catalogue.rows(_TABLES, {"publication": settings.publication})
    wanted = {".".join(split_table(name)) for name in settings.tables}
    tables = {
        row["name"]: TableFacts(**{**row, "columns": row["columns"] or {}})
        for row in rows
        if row["name"] in wanted or row["published"]
    }
    slot = await catalogue.slot(settings.slot, settings.publication)
    return SourceFacts(ServerFacts(**server), slot, tables, sorted(row["name"] for row in rows))
