"""Findings about the publication as a whole, and about the outbox that it sends. Pure."""

from collections.abc import Iterator

from cdc.finding import Finding, Level, identifier
from cdc.settings import SourceSettings
from cdc.source_facts import PublicationFacts, SourceFacts

_SETUP = "run `bridge cdc setup`"
_NO_LOCK = "no lock on tables, no WAL to speak of"
_OUTBOX_COLUMNS = ("id", "tenant", "topic", "key", "payload", "created_at")


def check_publication(facts: SourceFacts, settings: SourceSettings) -> Iterator[Finding]:
    name, publication = settings.publication, facts.publication
    if publication is None:
        message = f"there is no publication {name}: {_SETUP}"
        yield Finding(Level.ERROR, "publication_missing", name, message, stops=True)
        return
    yield from _sent(publication, facts, settings)
    for table in facts.tables.values():
        if table.listed and table.name not in settings.tables and table.name != settings.outbox:
            yield Finding(
                Level.WARNING,
                "table_not_configured",
                table.name,
                f"publication {name} sends {table.name}, which bridge.yaml does not name: {_SETUP}",
                f"ALTER PUBLICATION {identifier(name)} DROP TABLE {table.sql_name}; -- SHARE UPDATE EXCLUSIVE on the "
                "table, for a moment; no WAL to speak of",
            )


def _sent(publication: PublicationFacts, facts: SourceFacts, settings: SourceSettings) -> Iterator[Finding]:
    name = settings.publication
    if publication.missing_operations:
        yield Finding(
            Level.ERROR,
            "operations_published",
            name,
            f"publication {name} does not send every {', '.join(publication.missing_operations)}: {_SETUP}",
            f"ALTER PUBLICATION {identifier(name)} SET (publish = 'insert, update, delete, truncate'); -- {_NO_LOCK}",
            stops=True,
        )
    roots = [table.name for table in facts.tables.values() if table.partitioned and table.published]
    if roots and not publication.via_root:
        yield Finding(
            Level.ERROR,
            "partition_root",
            name,
            f"publication {name} sends the rows of {', '.join(roots)} under the names of partitions, which bridge.yaml does "
            f"not know: {_SETUP}",
            f"ALTER PUBLICATION {identifier(name)} SET (publish_via_partition_root = true); -- {_NO_LOCK}",
            stops=True,
        )
    if publication.whole:
        yield Finding(
            Level.ERROR,
            "publication_whole",
            name,
            f"publication {name} is for all tables, of the database or of a schema: the server decodes and sends what nobody "
            "asked for, `exclude` does not hold, and tables without a replica identity refuse updates; let setup make one of "
            "another name",
            f"DROP PUBLICATION {identifier(name)}; -- no lock on tables; then `bridge cdc setup`",
        )


def check_outbox(facts: SourceFacts, settings: SourceSettings) -> Iterator[Finding]:
    if settings.outbox is None:
        return
    table = facts.tables.get(settings.outbox)
    if table is None:
        message = f"there is no outbox {settings.outbox}: {_SETUP}"
        yield Finding(Level.ERROR, "outbox_missing", settings.outbox, message)
        return
    missing = [column for column in _OUTBOX_COLUMNS if column not in table.columns]
    if missing or table.kind != "r" or table.persistence != "p":
        lacks = f"lacks {', '.join(missing)}" if missing else "is no ordinary table"
        yield Finding(
            Level.ERROR,
            "outbox_columns",
            table.name,
            f"{table.name} is not the outbox that setup makes: it {lacks}; rename it, or give the source another `outbox`, "
            f"and {_SETUP}",
        )
    elif facts.publication is not None and not table.published:
        yield Finding(
            Level.ERROR,
            "table_not_published",
            table.name,
            f"publication {settings.publication} does not send the outbox {table.name}: {_SETUP}",
            f"ALTER PUBLICATION {identifier(settings.publication)} ADD TABLE {table.sql_name}; -- SHARE UPDATE EXCLUSIVE on "
            "the table, for a moment; no WAL to speak of",
        )
