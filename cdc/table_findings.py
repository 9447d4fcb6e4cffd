"""Findings about one captured table: is it there, is it sent, and can its events be used? Pure."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches

from cdc.finding import Finding, Level, columns_list, identifier
from cdc.identity_findings import check_identity
from cdc.identity_sql import index_identity
from cdc.row_findings import check_generated, check_partitions, set_logged
from cdc.settings import SourceSettings, TableSettings
from cdc.source_facts import SourceFacts, TableFacts

_KINDS = {"v": "a view", "m": "a materialised view", "f": "a foreign table"}


def check_table(
    name: str, facts: SourceFacts, source: SourceSettings, compared: Collection[str] = ()
) -> Iterator[Finding]:
    """compared: columns that mappings compare with the row before."""
    settings = source.tables[name]
    table = facts.tables.get(name)
    if table is None:
        nearest = get_close_matches(name, facts.known, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else f" in database {facts.slot.connected_to}"
        yield Finding(Level.ERROR, "table_unknown", name, f"there is no table {name}{hint}", stops=True)
        return
    if table.kind in _KINDS or table.persistence != "p":
        what = _KINDS.get(table.kind, "an unlogged table")
        message = f"{name} is {what}: its changes are not in the WAL"
        cure = "" if table.kind in _KINDS else set_logged(table)
        yield Finding(Level.ERROR, "table_not_logged", name, message, cure, stops=True)
        return
    unknown = list(_unknown_columns(table, settings))
    yield from unknown
    if unknown:
        return
    if facts.publication is not None:
        yield from _publication(table, settings, source.publication)
        yield from check_generated(
            table, settings, facts.publication, source.publication, facts.server.version
        )
    yield from check_partitions(table, facts, source)
    yield from check_identity(table, settings, compared)
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


def _publication(table: TableFacts, settings: TableSettings, publication: str) -> Iterator[Finding]:
    wanted = (
        [c for c in table.columns if c not in settings.exclude and c not in table.generated]
        if settings.exclude
        else None
    )
    sent = table.published_columns
    if not table.published:
        yield Finding(
            Level.ERROR,
            "table_not_published",
            table.name,
            f"publication {publication} does not send {table.name}: run `bridge cdc setup`",
            f"ALTER PUBLICATION {identifier(publication)} ADD TABLE {table.sql_name}; -- SHARE UPDATE EXCLUSIVE on the "
            "table, for a moment; no WAL to speak of",
            stops=True,
        )
    elif sent is not None and (wanted is None or set(sent) & set(settings.exclude)):
        yield Finding(
            Level.ERROR if set(sent) & set(settings.exclude) else Level.WARNING,
            "columns_published",
            table.name,
            f"publication {publication} sends other columns of {table.name} than bridge.yaml says: run `bridge cdc setup`",
            _sent_again(table, wanted, publication),
        )
    elif sent is None and wanted is not None and table.published:
        yield Finding(
            Level.ERROR,
            "columns_published",
            table.name,
            f"publication {publication} sends columns that `exclude` of {table.name} names: run `bridge cdc setup`",
            _sent_again(table, wanted, publication),
            stops=True,
        )
    if table.filtered:
        yield Finding(
            Level.WARNING,
            "row_filter",
            table.name,
            f"publication {publication} filters rows of {table.name}: updates then arrive as inserts and deletes",
            _sent_again(table, wanted, publication),
        )


def _sent_again(table: TableFacts, columns: list[str] | None, publication: str) -> str:
    """In one transaction, so that no change falls between."""
    listed = f" ({columns_list(columns)})" if columns else ""
    name = identifier(publication)
    return (
        f"BEGIN; ALTER PUBLICATION {name} DROP TABLE {table.sql_name}; ALTER PUBLICATION {name} ADD TABLE "
        f"{table.sql_name}{listed}; COMMIT; -- SHARE UPDATE EXCLUSIVE on the table, for a moment; no WAL to speak of"
    )


def _exclude(table: TableFacts, settings: TableSettings) -> Iterator[Finding]:
    if settings.exclude and table.identity == "f":
        yield Finding(
            Level.ERROR,
            "exclude_with_full",
            table.name,
            f"{table.name} has REPLICA IDENTITY FULL: with `exclude` PostgreSQL would refuse the application's updates "
            "and deletes",
            index_identity(table, settings.tenant_column, settings.key or table.primary_key or ()),
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
