"""`bridge cdc check`: all findings about a source, and those with which capture does not begin."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from cdc.commit_findings import check_commits
from cdc.connection_findings import check_replication, check_session
from cdc.finding import Finding, Level
from cdc.publication_findings import check_outbox, check_publication
from cdc.retention_findings import check_retention, check_transactions
from cdc.role_findings import check_hba, check_role
from cdc.row_findings import check_rights
from cdc.server_facts import OLDEST, Tried
from cdc.server_findings import check_server, check_slot
from cdc.settings import SourceSettings
from cdc.source_facts import SourceFacts
from cdc.table_findings import check_table
from cdc.wal2json_findings import check_wal2json


def check(
    facts: SourceFacts, settings: SourceSettings, compared: Mapping[str, Collection[str]] | None = None
) -> list[Finding]:
    """All findings, errors first, else in the order of what is looked at. Pure.

    compared: by table, the columns that mappings compare with the row before.
    """
    if facts.server.version < OLDEST:
        return [_too_old(facts.server.version)]
    findings = [
        *check_session(facts.server),
        *check_server(facts.server),
        *check_role(facts.server),
        *check_retention(facts.server, settings),
        *check_commits(facts.server),
        *check_publication(facts, settings),
        *check_outbox(facts, settings),
        *check_slot(facts, settings),
        *check_wal2json(facts, settings),
    ]
    if facts.tried is not None:
        findings += _check_tried(facts.tried, facts, settings)
    for name in settings.tables:
        findings += check_table(name, facts, settings, (compared or {}).get(name, ()))
    return sorted(findings, key=lambda finding: finding.level is not Level.ERROR)


def _too_old(version: int) -> Finding:
    return Finding(
        Level.ERROR,
        "server_version",
        "server_version",
        f"the server is PostgreSQL {version // 10000}; capture needs {OLDEST // 10000} or later",
        stops=True,
    )


def _check_tried(tried: Tried, facts: SourceFacts, settings: SourceSettings) -> Iterator[Finding]:
    server, slot = facts.server, facts.slot
    pooled = server.session_pid != server.announced_pid
    if server.wal_level == "logical" and server.may_replicate and not server.standby and not pooled:
        yield from check_replication(tried.replication, server, slot, settings.publication)
    yield from check_hba(tried.hba, server.role, slot.connected_to)
    yield from check_transactions(tried.transactions)
    if tried.read_refused is not None:
        yield Finding(
            Level.ERROR, "read_refused", "read_dsn", f"`read_dsn` cannot be used: {tried.read_refused}"
        )
    yield from check_rights(tried.rights, settings)


def before_setup(findings: Iterable[Finding]) -> list[Finding]:
    """Those that setup cannot mend, and would build upon."""
    mended = {
        "slot_missing",
        "publication_missing",
        "table_not_published",
        "columns_published",
        "operations_published",
        "partition_root",
        "rights_missing",
    }
    return [finding for finding in findings if finding.stops and finding.code not in mended]
