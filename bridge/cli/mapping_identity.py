"""What `bridge mapping check --config` asks the sources: does each table's replica identity tell what mappings compare?"""

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Members

from bridge.settings import Settings
from cdc.catalogue import Catalogue
from cdc.settings import SourceSettings
from cdc.source_facts import TableFacts
from cdc.source_reading import read_facts
from pipeline.mapping import MappingFacts
from pipeline.mapping.changes import cure


async def identity_problems(settings: Settings, mappings: Iterable[MappingFacts]) -> list[tuple[str, str]]:
    """The files of mappings that compare what an update will not carry, and what to do.

    Raises SourceLost.
    """
    comparing = [found for found in mappings if found.compared and "update" in found.source.operations]
    problems = []
    for source in settings.sources.values():
        here = [found for found in comparing if found.source.table in source.tables]
        tables: Members[str, TableFacts] = await _tables(source) if here else {}
        problems += [
            (found.file, message)
            for found in here
            if found.source.table in tables
            for message in _unknown(found, tables[found.source.table])
        ]
    return problems


async def _tables(source: SourceSettings) -> Members[str, TableFacts]:
    catalogue = await Catalogue.open(source.dsn)
    try:
        return (await read_facts(catalogue, source)).tables
    finally:
        await catalogue.close()


def _unknown(mapping: MappingFacts, table: TableFacts) -> Iterator[str]:
    schema, _, name = table.name.partition(".")
    for column in sorted(mapping.compared):
        if column not in table.columns:
            yield f"{table.name} has no column {column!r} to compare"
        elif column not in table.identity_columns:
            how = cure(schema, name, [*table.identity_columns, column])
            yield f"whether {column!r} changed will be unknown on update: {how}"
