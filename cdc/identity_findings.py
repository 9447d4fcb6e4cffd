"""Findings about a table's replica identity and key: do old rows carry what tenants and mappings need? Pure."""

from collections.abc import Collection, Iterator

from cdc.finding import Finding, Level, identifier
from cdc.identity_sql import full_identity, index_identity
from cdc.settings import TableSettings
from cdc.source_facts import TableFacts


def check_identity(
    table: TableFacts, settings: TableSettings, compared: Collection[str]
) -> Iterator[Finding]:
    """compared: columns that mappings compare with the row before."""
    tenant, key = settings.tenant_column, list(settings.key or table.primary_key or ())
    known = [column for column in sorted(compared) if column in table.columns]
    cure = index_identity(table, tenant, key, known) if key else full_identity(table)
    yield from _old_row(table, tenant, known, cure)
    yield from _old_key(table, key, cure)
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


def _old_row(table: TableFacts, tenant: str | None, compared: list[str], cure: str) -> Iterator[Finding]:
    name, identity = table.name, table.identity_columns
    unknown = [column for column in compared if column not in identity]
    if table.identity == "d" and table.key_deferrable:
        yield Finding(
            Level.ERROR,
            "deferrable_key",
            name,
            f"the primary key of {name} is deferrable and so no replica identity: PostgreSQL refuses updates and deletes "
            "of the table once it is published",
            cure,
        )
    elif not identity:
        yield Finding(
            Level.ERROR,
            "no_identity",
            name,
            f"{name} has no replica identity: PostgreSQL refuses updates and deletes of a published table then",
            cure,
        )
    elif tenant is not None and tenant not in identity:
        yield Finding(
            Level.ERROR,
            "delete_without_tenant",
            name,
            f"the replica identity of {name} lacks {tenant}: a delete then carries no tenant, and reaches no route",
            cure,
        )
    elif unknown:
        yield Finding(
            Level.ERROR,
            "compared_unknown",
            name,
            f"the replica identity of {name} lacks {', '.join(unknown)}, which mappings compare: whether it changed is "
            "unknown on update, and their deliveries fail",
            cure,
        )
    else:
        yield from _partitions(table, [*([tenant] if tenant else []), *compared], cure)


def _old_key(table: TableFacts, key: list[str], cure: str) -> Iterator[Finding]:
    lacking = [column for column in key if column not in table.identity_columns]
    if table.identity_columns and lacking:
        yield Finding(
            Level.WARNING,
            "delete_without_key",
            table.name,
            f"the replica identity of {table.name} lacks {', '.join(lacking)} of its key: a delete then carries no key, and is "
            "not kept in order with the row's other events; nor is it told where a row gets another key",
            cure,
        )


def _partitions(table: TableFacts, needed: list[str], cure: str) -> Iterator[Finding]:
    """A partition has an identity of its own, also one that is made tomorrow."""
    lacking = [
        one.name
        for one in table.partitions
        if one.kind == "r" and not (one.identity_columns and {*needed} <= {*one.identity_columns})
    ]
    if lacking:
        yield Finding(
            Level.ERROR,
            "partition_identity",
            table.name,
            f"{len(lacking)} partitions of {table.name} ({', '.join(lacking[:3])}{', …' * (len(lacking) > 3)}) have another "
            "replica identity than it: their deletes carry no tenant, or are refused. A new partition needs its own, too",
            cure,
        )
