"""What `bridge mapping check --config` asks the sources: can the tables be read as the mappings ask?"""

from collections.abc import AsyncIterator, Iterable

from bridge.settings import Settings
from cdc.row_reads.question import Order, ReadRefused, ReadTooSlow, Shape
from cdc.row_reads.session import RowSession, TableChanged
from cdc.settings import SourceSettings
from pipeline.mapping.mapping_facts import MappingFacts, TableRead
from pipeline.yaml_tree import Mark, nearest

_NO_TABLES = ("outbox.", "intake.")
"""Schemas of events that are no changes of a table."""


def uncaptured(settings: Settings, mappings: Iterable[MappingFacts]) -> list[tuple[str, str]]:
    """The files of mappings whose source's table nobody captures, and what to do."""
    captured = {table for source in settings.sources.values() for table in source.tables}
    return [
        (
            mapping.file,
            f"gets no events: no source of {settings.file.name} captures {table}{nearest(table, captured)}",
        )
        for mapping in mappings
        if (table := mapping.source.table) not in captured and not table.startswith(_NO_TABLES)
    ]


async def table_problems(settings: Settings, mappings: Iterable[MappingFacts]) -> list[tuple[str, Mark, str]]:
    """Of each mapping that reads what cannot be read: its file, where that stands, and why.

    Each question is asked as it would be, with nothing to find. Raises SourceLost.
    """
    reading = [mapping for mapping in mappings if mapping.reads]
    problems = []
    for source in settings.sources.values():
        if here := [mapping for mapping in reading if _is_from(mapping, source)]:
            problems += [problem async for problem in _of_source(source, here)]
    return problems


def _is_from(mapping: MappingFacts, source: SourceSettings) -> bool:
    """Whether its events come from there; an application's messages may come from any."""
    return mapping.source.table in source.tables or mapping.source.table.startswith("outbox.")


async def _of_source(
    source: SourceSettings, mappings: Iterable[MappingFacts]
) -> AsyncIterator[tuple[str, Mark, str]]:
    session = await RowSession.open(source)
    try:
        for mapping in mappings:
            for read in mapping.reads:
                why = await _refusal(session, read)
                if why:
                    mark = Mark(mapping.file, read.line, 1)
                    yield mapping.file, mark, f"enrich.{read.name} cannot be read: {why}"
    finally:
        await session.close()


async def _refusal(session: RowSession, read: TableRead) -> str:
    where = tuple((column, False) for column in read.where)
    order = tuple(Order(column, descending) for column, descending in read.order_by)
    try:
        await session.check(Shape(read.table, where, order, read.many, columns=read.columns))
    except (ReadRefused, ReadTooSlow) as error:
        return str(error)
    except TableChanged:
        return f"table {read.table} changes just now; check again"
    return ""
