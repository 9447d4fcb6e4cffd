"""The SQL that gives a table a replica identity: the documented pattern, of a partitioned table with its partitions. Pure."""

from collections.abc import Iterator, Sequence

from cdc.finding import columns_list, identifier
from cdc.settings import split_table
from cdc.source_facts import TableFacts

_SUFFIX = "_bridge_identity"
_NAME_BYTES = 63
_FOREIGN = "f"


def index_identity(
    table: TableFacts, tenant: str | None, key: Sequence[str], more: Sequence[str] = ()
) -> str:
    """A unique index over NOT NULL columns as the identity: tenant, key, and what mappings compare.

    The primary key where that is all; FULL where the table has no key that could make an index unique.
    """
    if not key:
        return full_identity(table)
    if not tenant and not more and [*key] == [*(table.primary_key or ())] and not table.key_deferrable:
        return _default_identity(table)
    columns = list(dict.fromkeys([*([tenant] if tenant else []), *key, *more]))
    lines = [
        f"ALTER TABLE {table.sql_name} ALTER COLUMN {identifier(column)} SET NOT NULL;"
        " -- ACCESS EXCLUSIVE while it reads the table; no WAL to speak of"
        for column in columns
        if not table.columns.get(column, True)
    ]
    lines += _indexes(table, columns)
    lines += [
        f"ALTER TABLE {one.sql_name} REPLICA IDENTITY USING INDEX {_index(one)};"
        " -- ACCESS EXCLUSIVE for a moment; WAL: the index's columns with each delete, and with each update of one"
        for one in _members(table)
    ]
    return "\n".join(lines)


def _default_identity(table: TableFacts) -> str:
    return "\n".join(
        f"ALTER TABLE {one.sql_name} REPLICA IDENTITY DEFAULT;"
        " -- ACCESS EXCLUSIVE for a moment; WAL: the primary key with each delete, and with each update of it"
        for one in _members(table)
    )


def full_identity(table: TableFacts) -> str:
    return "\n".join(
        f"ALTER TABLE {one.sql_name} REPLICA IDENTITY FULL;"
        " -- ACCESS EXCLUSIVE for a moment; WAL: the whole old row with each update and delete"
        for one in _members(table)
    )


def _indexes(table: TableFacts, columns: list[str]) -> Iterator[str]:
    """Of a partitioned table one by one, since CONCURRENTLY cannot build them together."""
    for one in _members(table):
        how = "ON ONLY" if one.partitioned else "ON"
        what = "INDEX" if one.partitioned else "INDEX CONCURRENTLY"
        cost = (
            "SHARE for a moment; no WAL" if one.partitioned else "SHARE UPDATE EXCLUSIVE; WAL: the index once"
        )
        yield f"CREATE UNIQUE {what} {_index(one)} {how} {one.sql_name} ({columns_list(columns)}); -- {cost}"
        if one is not table and one.parent is not None:
            parent = next(other for other in _members(table) if other.name == one.parent)
            schema = identifier(split_table(parent.name)[0])
            own = identifier(split_table(one.name)[0])
            yield (
                f"ALTER INDEX {schema}.{_index(parent)} ATTACH PARTITION {own}.{_index(one)};"
                " -- SHARE UPDATE EXCLUSIVE for a moment; no WAL to speak of"
            )


def _members(table: TableFacts) -> list[TableFacts]:
    return [table, *(one for one in table.partitions if one.kind != _FOREIGN)]


def _index(table: TableFacts) -> str:
    name = split_table(table.name)[1].encode()[: _NAME_BYTES - len(_SUFFIX)].decode(errors="ignore")
    return identifier(name + _SUFFIX)
