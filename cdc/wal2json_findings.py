"""What the plugin wal2json loses of this source, as findings. Pure."""

from collections.abc import Iterator

from cdc.finding import Finding, Level, columns_list
from cdc.settings import WAL2JSON, SourceSettings, TableSettings
from cdc.source_facts import SourceFacts, TableFacts


def check_wal2json(facts: SourceFacts, settings: SourceSettings) -> Iterator[Finding]:
    """Nothing where the source uses pgoutput."""
    if settings.plugin != WAL2JSON:
        return
    yield Finding(
        Level.WARNING,
        "wal2json_losses",
        settings.slot,
        "plugin wal2json sends the changes of every table of the database, captured or not; it names no table by its OID, "
        "so let capture pass everything before a table is renamed; pgoutput, which every server has, does neither",
    )
    if facts.server.encoding != "UTF8":
        yield Finding(
            Level.ERROR,
            "wal2json_encoding",
            "server_encoding",
            f"the database's encoding is {facts.server.encoding}, and plugin wal2json sends text without converting it: use "
            "pgoutput, which every server has",
            stops=True,
        )
    for name, table in settings.tables.items():
        if name in facts.tables:
            losses = "; ".join(_losses(facts.tables[name], table))
            if losses:
                yield Finding(Level.WARNING, "wal2json_losses", name, f"plugin wal2json: of {name}, {losses}")


def _losses(table: TableFacts, settings: TableSettings) -> Iterator[str]:
    numbers = [name for name in table.floating or () if name not in settings.exclude]
    if numbers:
        yield f"NaN and Infinity in {columns_list(numbers)} become null, unless it is version 2.6 or later"
    if settings.exclude:
        yield f"the values of {columns_list(list(settings.exclude))} leave the server and are dropped by capture (`exclude`)"
    if table.filtered:
        yield "all rows are sent: it knows no row filter"
