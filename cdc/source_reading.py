"""Reads what the preflight needs to know of a source, in four queries."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cdc.catalogue import Catalogue
from cdc.providers import ADMIN_ROLES, recognised
from cdc.server_facts import OLDEST, ServerFacts
from cdc.settings import SourceSettings
from cdc.source_dsn import dsn_facts
from cdc.source_facts import PublicationFacts, SourceFacts, TableFacts

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
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true)::int, 0)
         - (SELECT coalesce(sum(numbackends), 0)::int FROM pg_catalog.pg_stat_database) AS free_connections,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') AS synchronous_standby_names,
       current_setting('server_encoding') AS encoding,
       pg_catalog.pg_backend_pid() AS session_pid,
       r.rolname::text AS role, r.rolsuper AS superuser, r.rolconnlimit AS connection_limit,
       r.rolsuper OR r.rolreplication OR EXISTS (
         SELECT FROM pg_catalog.pg_roles g
          WHERE g.rolname = 'rds_replication' AND pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')) AS may_replicate,
       ARRAY(SELECT a.rolname::text FROM pg_catalog.pg_roles a WHERE a.rolname = ANY (%(administrators)s)) AS administrators,
       (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'output_plugin_libraries') AS trusted_plugins
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""

# to_jsonb: PostgreSQL 18 has a column that others lack
_PUBLICATION = """
SELECT p.puballtables OR EXISTS (
         SELECT FROM pg_catalog.pg_publication_namespace s WHERE s.pnpubid = p.oid) AS whole,
       array_remove(ARRAY[CASE WHEN NOT p.pubinsert THEN 'insert' END, CASE WHEN NOT p.pubupdate THEN 'update' END,
                          CASE WHEN NOT p.pubdelete THEN 'delete' END,
                          CASE WHEN NOT p.pubtruncate THEN 'truncate' END], NULL) AS missing_operations,
       p.pubviaroot AS via_root,
       coalesce(to_jsonb(p) ->> 'pubgencols' = 's', false) AS generated
  FROM pg_catalog.pg_publication p WHERE p.pubname = %(publication)s
"""

_TABLES = """
SELECT n.nspname || '.' || c.relname AS name, c.relkind::text AS kind, c.relpersistence::text AS persistence,
       c.relreplident::text AS identity,
       r.prrelid IS NOT NULL AS listed,
       r.prrelid IS NOT NULL OR coalesce(p.puballtables, false) OR EXISTS (
         SELECT FROM pg_catalog.pg_publication_namespace s WHERE s.pnpubid = p.oid AND s.pnnspid = n.oid) AS published,
       r.prqual IS NOT NULL AS filtered,
       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs::int2[])) AS published_columns,
       (SELECT jsonb_object_agg(a.attname, a.attnotnull) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT jsonb_object_agg(a.attname, a.attgenerated) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> '') AS generated,
       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.atttypid IN (700, 701, 1700)) AS floating,
       (SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
          FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
            ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
         WHERE i.indrelid = c.oid AND i.indisprimary) AS primary_key,
       EXISTS (SELECT FROM pg_catalog.pg_index i
                WHERE i.indrelid = c.oid AND i.indisprimary AND NOT i.indimmediate) AS key_deferrable,
       (SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
          FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
            ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
         WHERE i.indrelid = c.oid AND i.indisreplident) AS identity_index,
       (SELECT pn.nspname || '.' || pc.relname
          FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class pc ON pc.oid = h.inhparent
          JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
         WHERE h.inhrelid = c.oid AND c.relispartition) AS parent
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_publication p ON p.pubname = %(publication)s
  LEFT JOIN pg_catalog.pg_publication_rel r ON r.prrelid = c.oid AND r.prpubid = p.oid
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_(toast|temp)' AND n.nspname <> 'pg_catalog'
   AND n.nspname <> 'information_schema'
 ORDER BY name
"""


async def read_facts(catalogue: Catalogue, settings: SourceSettings) -> SourceFacts:
    """Raises SourceLost."""
    server = await _server(catalogue, settings)
    if server.version < OLDEST:
        return SourceFacts(server, await catalogue.slot(settings.slot, settings.publication), None, {}, [])
    publication = {"publication": settings.publication}
    sends = [PublicationFacts(**row) for row in await catalogue.rows(_PUBLICATION, publication)]
    found = {row["name"]: _table(row) for row in await catalogue.rows(_TABLES, publication)}
    wanted = {*settings.tables, settings.outbox}
    tables = {
        name: replace(table, partitions=tuple(_below(name, found.values())))
        for name, table in found.items()
        if name in wanted or table.listed
    }
    slot = await catalogue.slot(settings.slot, settings.publication)
    return SourceFacts(server, slot, sends[0] if sends else None, tables, list(found))


async def _server(catalogue: Catalogue, settings: SourceSettings) -> ServerFacts:
    (row,) = await catalogue.rows(_SERVER, {"administrators": list(ADMIN_ROLES)})
    dsn = dsn_facts(settings.dsn)
    administrators = row.pop("administrators")
    return ServerFacts(
        **row,
        provider=recognised(administrators),
        announced_pid=catalogue.announced_pid,
        application_name=dsn.application_name,
        any_server=dsn.hosts > 1 and dsn.any_server,
    )


def _table(row: Mapping[str, Any]) -> TableFacts:
    return TableFacts(**{**row, "columns": row["columns"] or {}, "generated": row["generated"] or {}})


def _below(name: str, tables: Iterable[TableFacts]) -> Iterator[TableFacts]:
    """All partitions of a table, parents first."""
    for table in tables:
        if table.parent == name:
            yield table
            yield from _below(table.name, tables)
