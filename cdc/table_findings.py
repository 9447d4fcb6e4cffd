"""Findings about one captured table: is it there, is it sent, and can its events be used? Pure."""

from collections.abc import Iterator
from difflib import get_close_matches

from cdc.finding import Finding, Level, columns_list, identifier
from cdc.settings import TableSettings
from cdc.source_facts import SourceFacts, TableFacts

_KINDS = {"v": "a view", "m": "a materialised view", "f": "a foreign table"}


def check_table(
    name: str, settings: TableSettings, facts: SourceFacts, publication: str
) -> Iterator[Finding]:
    table = facts.tables.get(name)
    if table is None:
        nearest = get_close_matches(name, facts.known, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else f" in database {facts.slot.connected_to}"
        yield Finding(Level.ERROR, "table_unknown", name, f"there is no table {name}{hint}", stops=True)
        return
    if table.kind in _KINDS or table.persistence != "p":
        what = _KINDS.get(table.kind, "an unlogged table")
        message = f"{name} is {what}: its changes are not in the WAL"
        yield Finding(Level.ERROR, "table_not_logged", name, message, stops=True)
        return
    unknown = list(_unknown_columns(table, settings))
    yield from unknown
    if unknown:
        return
    yield from _publication(table, settings, facts, publication)
    yield from _identity(table, settings)
    yield from _exclude(table, settings)


def _unknown_columns(table: TableFacts, settings: TableSettings) -> Iterator[Finding]:
    named = [("tenant_column", settings.tenant_column)]
    named += [("key", column) for column in settings.key] + [
        ("exclude", column) for column in settings.exclude
    ]
    for key, column in named:
        if column is not None and column not in table.columns:
            nearest = get_close_matches(column, table.columns, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            if key == "tenant_column" and not nearest:
                hint = "; a table without a tenant says `tenant_column: null`"
            yield Finding(
                Level.ERROR,
                "column_unknown",
                f"{table.name}.{column}",
                f"{key} of {table.name} names column {column}, which is not there{hint}",
                stops=True,
            )


def _publication(
    table: TableFacts, settings: TableSettings, facts: SourceFacts, publication: str
) -> Iterator[Finding]:
    if facts.slot.publication_oid is None:
        return
    wanted = (
        [column for column in table.columns if column not in settings.exclude] if settings.exclude else None
    )
    sent = table.published_columns
    if not table.published:
        yield Finding(
            Level.ERROR,
            "table_not_published",
            table.name,
            f"publication {publication} does not send {table.name}: run `bridge cdc setup`",
            f"ALTER PUBLICATION {identifier(publication)} ADD TABLE {table.sql_name}; -- SHARE UPDATE EXCLUSIVE on the "
            "table, for a moment",
            stops=True,
        )
    elif sent is not None and (wanted is None or set(sent) & set(settings.exclude)):
        yield Finding(
            Level.ERROR if set(sent) & set(settings.exclude) else Level.WARNING,
            "columns_published",
            table.name,
            f"publication {publication} sends other columns of {table.name} than bridge.yaml says: run `bridge cdc setup`",
        )
    elif sent is None and wanted is not None and table.published:
        yield Finding(
            Level.ERROR,
            "columns_published",
            table.name,
            f"publication {publication} sends columns that `exclude` of {table.name} names: run `bridge cdc setup`",
            stops=True,
        )
    if table.filtered:
        yield Finding(
            Level.WARNING,
            "row_filter",
            table.name,
            f"publication {publication} filters rows of {table.name}: updates then arrive as inserts and deletes",
        )


def _identity(table: TableFacts, settings: TableSettings) -> Iterator[Finding]:
    tenant, key = settings.tenant_column, list(settings.key or table.primary_key or ())
    if not table.identity_columns:
        yield Finding(
            Level.ERROR,
            "no_identity",
            table.name,
            f"{table.name} has no replica identity: PostgreSQL refuses updates and deletes of a published table then",
            _identity_sql(table, tenant, key) if key else _full_sql(table),
        )
    elif tenant is not None and tenant not in table.identity_columns:
        yield Finding(
            Level.ERROR,
            "delete_without_tenant",
            table.name,
            f"the replica identity of {table.name} lacks {tenant}: a delete then carries no tenant, and reaches no route",
            _identity_sql(table, tenant, key),
        )
    if tenant is not None and not table.columns[tenant]:
        yield Finding(
            Level.WARNING,
            "tenant_nullable",
            f"{table.name}.{tenant}",
            f"{tenant} of {table.name} may be NULL: such rows belong to no tenant and reach only routes for any",
            f"ALTER TABLE {table.sql_name} ALTER COLUMN {identifier(tenant)} SET NOT NULL; -- ACCESS EXCLUSIVE while it "
            "reads the table; no WAL to speak of",
        )
    if not key:
        yield Finding(
            Level.WARNING,
            "no_key",
            table.name,
            f"{table.name} has no primary key: its events of one tenant stay in one order; `key` in bridge.yaml can name "
            "columns",
        )


def _exclude(table: TableFacts, settings: TableSettings) -> Iterator[Finding]:
    if settings.exclude and table.identity == "f":
        yield Finding(
            Level.ERROR,
            "exclude_with_full",
            table.name,
            f"{table.name} has REPLICA IDENTITY FULL: with `exclude` PostgreSQL would refuse the application's updates "
            "and deletes",
            _identity_sql(table, settings.tenant_column, list(settings.key or table.primary_key or ())),
            stops=True,
        )
        return
    needed = {*table.identity_columns, *(settings.key or table.primary_key or ()), settings.tenant_column}
    for column in settings.exclude:
        if column in needed:
            yield Finding(
                Level.ERROR,
                "exclude_needed",
                f"{table.name}.{column}",
                f"`exclude` of {table.name} names {column}, which its key, tenant or replica identity needs",
                stops=True,
            )


def _identity_sql(table: TableFacts, tenant: str | None, key: list[str]) -> str:
    """A unique index over NOT NULL columns, tenant first, as the replica identity."""
    columns = ([tenant] if tenant else []) + [column for column in key if column != tenant]
    if not columns or (tenant and not key):
        return _full_sql(table)
    index = f"{table.name.partition('.')[2]}_bridge_identity"
    lines = [
        f"ALTER TABLE {table.sql_name} ALTER COLUMN {identifier(column)} SET NOT NULL;"
        " -- ACCESS EXCLUSIVE while it reads the table"
        for column in columns
        if not table.columns[column]
    ]
    lines.append(
        f"CREATE UNIQUE INDEX CONCURRENTLY {identifier(index)} ON {table.sql_name} ({columns_list(columns)});"
        " -- SHARE UPDATE EXCLUSIVE; WAL: the index once"
    )
    lines.append(
        f"ALTER TABLE {table.sql_name} REPLICA IDENTITY USING INDEX {identifier(index)};"
        " -- ACCESS EXCLUSIVE for a moment; WAL: the index's columns with each delete, and with each update of one"
    )
    return "\n".join(lines)


def _full_sql(table: TableFacts) -> str:
    return (
        f"ALTER TABLE {table.sql_name} REPLICA IDENTITY FULL;"
        " -- ACCESS EXCLUSIVE for a moment; WAL: the whole old row with each update and delete"
    )
