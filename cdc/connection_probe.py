"""What only `bridge cdc check` tries: the replication connection, and what else the role may see. Nothing is changed."""

import psycopg

from cdc.catalogue import Catalogue
from cdc.replication_connection import ReplicationConnection, timeline_switches
from cdc.server_facts import HbaRule, OpenTransaction, ReadRight, Replication, Tried
from cdc.settings import SourceSettings
from cdc.source_errors import SourceLost

_MAY_SEE_HBA = "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE') AS may"
_HBA = """
SELECT line_number AS line, type, coalesce(database, '{}') AS databases, coalesce(user_name, '{}') AS users, address,
       netmask, auth_method AS method, error
  FROM pg_catalog.pg_hba_file_rules() ORDER BY line_number
"""
# another role's session shows no xact_start to a role without pg_read_all_stats: then it is left out
_TRANSACTIONS = """
SELECT true AS prepared, gid AS name, owner || ' in ' || database AS who,
       extract(epoch FROM now() - prepared)::float8 AS age_s
  FROM pg_catalog.pg_prepared_xacts
UNION ALL
SELECT false, pid::text, usename || ', ' || application_name, extract(epoch FROM now() - xact_start)::float8
  FROM pg_catalog.pg_stat_activity
 WHERE backend_xid IS NOT NULL AND xact_start IS NOT NULL
 ORDER BY age_s DESC
"""
_RIGHTS = """
SELECT n.nspname || '.' || c.relname AS name, pg_catalog.has_table_privilege(c.oid, 'SELECT')
         AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may,
       pg_catalog.row_security_active(c.oid) AS filtered
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname || '.' || c.relname = ANY (%(tables)s) AND c.relkind IN ('r', 'p')
"""


async def tried(catalogue: Catalogue, settings: SourceSettings) -> Tried:
    """Raises SourceLost where the connection that is open already fails."""
    rights, read_refused = await _rights(catalogue, settings)
    transactions = [OpenTransaction(**row) for row in await catalogue.rows(_TRANSACTIONS)]
    return Tried(await _replication(settings.dsn), await _hba(catalogue), transactions, rights, read_refused)


async def _replication(dsn: str) -> Replication:
    try:
        connection = await ReplicationConnection.open(dsn)
    except SourceLost as refused:
        return Replication(str(refused).removeprefix("PostgreSQL: "))
    try:
        timeline = (await connection.identify()).timeline
        switches = timeline_switches(await connection.timeline_history(timeline))
        return Replication(
            None, await connection.wal_sender_timeout(), timeline, max(switches.values(), default=None)
        )
    finally:
        await connection.close()


async def _hba(catalogue: Catalogue) -> list[HbaRule] | None:
    """None where the role may not look, or the server cannot."""
    (row,) = await catalogue.rows(_MAY_SEE_HBA)
    if not row["may"]:
        return None
    try:
        return [HbaRule(**rule) for rule in await catalogue.rows(_HBA)]
    except psycopg.Error:
        return None


async def _rights(catalogue: Catalogue, settings: SourceSettings) -> tuple[dict[str, ReadRight], str | None]:
    if settings.read_dsn is None:
        return await _rights_in(catalogue, settings), None
    try:
        reader = await Catalogue.open(settings.read_dsn)
    except SourceLost as refused:
        return {}, str(refused).removeprefix("PostgreSQL: ")
    try:
        return await _rights_in(reader, settings), None
    finally:
        await reader.close()


async def _rights_in(reader: Catalogue, settings: SourceSettings) -> dict[str, ReadRight]:
    rows = await reader.rows(_RIGHTS, {"tables": list(settings.tables)})
    return {row["name"]: ReadRight(row["may"], row["filtered"]) for row in rows}
