"""`bridge cdc check`: all findings about a source, and those with which capture does not begin."""

from collections.abc import Iterable

from cdc.finding import Finding, Level
from cdc.server_findings import check_publication, check_server, check_slot
from cdc.settings import SourceSettings
from cdc.source_facts import SourceFacts
from cdc.table_findings import check_table


def check(facts: SourceFacts, settings: SourceSettings) -> list[Finding]:
    """All findings, errors first. Pure."""
    findings = [
        *check_server(facts.server),
        *check_publication(facts, settings),
        *check_slot(facts, settings),
    ]
    for name, table in settings.tables.items():
        findings += check_table(name, table, facts, settings.publication)
    return sorted(findings, key=lambda finding: finding.level is not Level.ERROR)


def before_setup(findings: Iterable[Finding]) -> list[Finding]:
    """Those that setup cannot mend, and would build upon."""
    mended = {
        "slot_missing",
        "publication_missing",
        "table_not_published",
        "columns_published",
        "rights_missing",
    }
    return [finding for finding in findings if finding.stops and finding.code not in mended]
