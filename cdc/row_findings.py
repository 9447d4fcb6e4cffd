"""Findings about which rows and columns of a table reach us: partitions, generated columns, rights to read. Pure."""

from collections.abc import Iterator, Mapping

from cdc.finding import Finding, Level, identifier
from cdc.server_facts import ReadRight
from cdc.settings import SourceSettings, TableSettings
from cdc.source_facts import PublicationFacts, SourceFacts, TableFacts

_STORED = "s"


def check_partitions(table: TableFacts, facts: SourceFacts, source: SourceSettings) -> Iterator[Finding]:
    for one in table.partitions:
        if one.kind == "f" or one.persistence != "p":
            what = "a foreign table" if one.kind == "f" else "unlogged"
            yield Finding(
                Level.ERROR,
                "table_not_logged",
                one.name,
                f"{one.name}, a partition of {table.name}, is {what}: its changes are not in the WAL",
                "" if one.kind == "f" else set_logged(one),
            )
    if table.parent is None:
        return
    roots = [name for name in source.tables if table.name in _partition_names(facts, name)]
    if roots:
        yield Finding(
            Level.ERROR,
            "partition_and_root",
            table.name,
            f"{table.name} is a partition of {roots[0]}, which bridge.yaml names too: its changes come under that name, and "
            f"none under its own; take {table.name} out of bridge.yaml and run `bridge cdc setup`",
        )
    else:
        yield Finding(
            Level.WARNING,
            "partition_named",
            table.name,
            f"{table.name} is a partition of {table.parent}: rows of other partitions are not captured, and one that moves "
            "between them is an insert or a delete; name the partitioned table instead",
        )


def _partition_names(facts: SourceFacts, name: str) -> set[str]:
    found = facts.tables.get(name)
    return {one.name for one in found.partitions} if found else set()


def set_logged(table: TableFacts) -> str:
    return f"ALTER TABLE {table.sql_name} SET LOGGED; -- ACCESS EXCLUSIVE while it writes the table anew; WAL: the whole table"


def check_generated(
    table: TableFacts, settings: TableSettings, publication: PublicationFacts, name: str, version: int
) -> Iterator[Finding]:
    """The WAL has no virtual ones at all, and PostgreSQL sends stored ones only from 18 on, and where it is told to."""
    listed = table.published_columns or ()
    for column, kind in table.generated.items():
        sent = kind == _STORED and (publication.generated or column in listed)
        if sent or column in settings.exclude:
            continue
        needed = column in {settings.tenant_column, *(settings.key or table.primary_key or ())}
        possible = kind == _STORED and version >= 180000
        yield Finding(
            Level.ERROR if needed else Level.WARNING,
            "generated_column",
            f"{table.name}.{column}",
            f"{column} of {table.name} is a generated column, which is not sent: events lack it"
            + (", although the key or the tenant needs it" if needed else ""),
            f"ALTER PUBLICATION {identifier(name)} SET (publish_generated_columns = stored); -- no lock on tables; no WAL; "
            "then start capture again"
            if possible
            else "",
        )


def check_rights(rights: Mapping[str, ReadRight], source: SourceSettings) -> Iterator[Finding]:
    """Of the role that reads existing rows. Without `read_dsn` that it may read nothing is as setup made it."""
    for name in source.tables:
        right = rights.get(name)
        if right is None:
            continue
        if not right.select and source.read_dsn is not None:
            schema, table = (identifier(part) for part in name.split(".", 1))
            yield Finding(
                Level.ERROR,
                "select_missing",
                name,
                f"the role of `read_dsn` may not read {name}: backfill and enrichment fail",
                f"GRANT USAGE ON SCHEMA {schema} TO …; GRANT SELECT ON {schema}.{table} TO …; -- no lock, no WAL to speak of",
            )
        elif right.select and right.filtered:
            yield Finding(
                Level.WARNING,
                "row_security",
                name,
                f"row-level security of {name} applies to the role that reads existing rows: backfill refuses the table "
                "rather than miss rows; capture is not affected, the WAL has them all",
                "ALTER ROLE … BYPASSRLS; -- no lock; or let `read_dsn` log in as the tables' owner",
            )
