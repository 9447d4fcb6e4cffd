"""What `bridge mapping check --config` asks the sources: does each table's replica identity tell what mappings compare?"""

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Members

from bridge.settings import Settings
from cdc.catalogue import Catalogue
from cdc.identity_sql import index_identity
from cdc.settings import SourceSettings, TableSettings
from cdc.source_facts import TableFacts
from cdc.source_reading import read_facts
from pipeline.mapping import MappingFacts


async def identity_problems(settings: Settings, mappings: Iterable[MappingFacts]) -> list[tuple[str, str]]:
    """The files of mappings that compare what an update will not carry, and what to do.

    Raises SourceLost.
    """
    comparing = [found for found in mappings if found.compared and "update" in found.source.operations]
    problems: list[tuple[str, str]] = []
    for source in settings.sources.values():
        here = [found for found in comparing if found.source.table in source.tables]
        tables: Members[str, TableFacts] = await _tables(source) if here else {}
        for name in sorted({found.source.table for found in here} & set(tables)):
            of_table = [found for found in here if found.source.table == name]
            problems += _of_table(of_table, tables[name], source.tables[name])
    return problems


async def _tables(source: SourceSettings) -> Members[str, TableFacts]:
    catalogue = await Catalogue.open(source.dsn)
    try:
        return (await read_facts(catalogue, source)).tables
    finally:
        await catalogue.close()


def _of_table(
    mappings: list[MappingFacts], table: TableFacts, settings: TableSettings
) -> Iterator[tuple[str, str]]:
    """One index serves them all: it has the tenant, the key, and whatever any of them compares."""
    compared = sorted({column for found in mappings for column in found.compared} & set(table.columns))
    sql = index_identity(table, settings.tenant_column, settings.key or table.primary_key or (), compared)
    for found in mappings:
        for column in sorted(found.compared):
            if column not in table.columns:
                yield found.file, f"{table.name} has no column {column!r} to compare"
            elif column not in table.identity_columns:
                indented = sql.replace("\n", "\n    ")
                why = "the table's replica identity does not carry it. Let the DBA run"
                yield (
                    found.file,
                    f"whether {column!r} changed will be unknown on update: {why}\n    {indented}",
                )
