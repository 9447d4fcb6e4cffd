"""Findings about WAL that is kept: too long for the primary, or too short for capture. Pure."""

from collections.abc import Iterable, Iterator

from cdc.finding import Finding, Level
from cdc.providers import setting
from cdc.server_facts import OpenTransaction, ServerFacts
from cdc.settings import SourceSettings

OLD_S = 3600.0
"""An open transaction is told from then on: a slot keeps the WAL from its beginning."""
_MB = 2**20


def check_retention(server: ServerFacts, settings: SourceSettings) -> Iterator[Finding]:
    if server.wal_keep_mb == -1:
        yield Finding(
            Level.WARNING,
            "wal_keep_unbounded",
            "max_slot_wal_keep_size",
            "while capture stands, WAL is kept without a limit and can fill the primary's disk; with a limit the slot is "
            "lost beyond it, and capture has to begin anew",
            setting(
                server.provider,
                "max_slot_wal_keep_size",
                "50GB",
                "no lock; WAL: kept up to that; choose what the disk can spare",
            ),
        )
    elif settings.wal_limit is not None and settings.wal_limit >= server.wal_keep_mb * _MB:
        yield Finding(
            Level.WARNING,
            "wal_limit_too_high",
            "wal_limit",
            f"the source's `wal_limit` is not below max_slot_wal_keep_size ({server.wal_keep_mb} MB): the slot is lost "
            "before we warn; lower `wal_limit` in bridge.yaml to about half of it",
        )
    if server.idle_slot_timeout_s:
        yield Finding(
            Level.WARNING,
            "idle_slot_timeout",
            "idle_replication_slot_timeout",
            f"a slot that nobody reads for {server.idle_slot_timeout_s} s is invalidated: a capture stopped for longer "
            "has to begin anew",
            setting(server.provider, "idle_replication_slot_timeout", "0", "no lock, no WAL"),
        )


def check_transactions(transactions: Iterable[OpenTransaction]) -> Iterator[Finding]:
    """The oldest ones are what holds back the slot's restart_lsn and catalog_xmin."""
    for found in transactions:
        if found.age_s < OLD_S:
            continue
        hours = f"{found.age_s / 3600:.1f} h"
        what = (
            f"prepared transaction {found.name} of {found.who}"
            if found.prepared
            else f"the transaction of process {found.name} ({found.who})"
        )
        literal = found.name.replace("'", "''")
        yield Finding(
            Level.WARNING,
            "prepared_transaction" if found.prepared else "long_transaction",
            found.name,
            f"{what} has been open for {hours}: the slot keeps all WAL since then, and setup cannot make a slot meanwhile",
            f"ROLLBACK PREPARED '{literal}'; -- or COMMIT PREPARED; no lock; WAL: one record"
            if found.prepared
            else f"SELECT pg_terminate_backend({found.name}); -- no lock; it is rolled back; WAL: one record",
        )
