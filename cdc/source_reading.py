"""Reads what the preflight needs to know of a source, in three queries."""

from cdc.catalogue import Catalogue
from cdc.settings import SourceSettings, split_table
from cdc.source_facts import ServerFacts, SourceFacts, TableFacts

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
