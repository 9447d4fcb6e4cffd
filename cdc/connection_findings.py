"""Findings about the way to the server: is it the server that answers, and does it let us replicate? Pure."""

from collections.abc import Iterator

from cdc.finding import Finding, Level
from cdc.role_findings import hba_lines
from cdc.server_facts import Replication, ServerFacts
from cdc.source_facts import SlotState
from eventbus.lsn import format_lsn

SHORTEST_S, LONGEST_S = 5.0, 60.0
"""What wal_sender_timeout should lie between: feedback goes out each third of it, a takeover waits for all of it."""


def check_session(server: ServerFacts) -> Iterator[Finding]:
    """A pooler hands out process numbers of its own, for it cannot know which backend a cancel will have to reach."""
    if server.session_pid != server.announced_pid:
        yield _pooler("something between us and the server answers for it")


def check_replication(
    tried: Replication, server: ServerFacts, slot: SlotState, publication: str
) -> Iterator[Finding]:
    refused = tried.refused
    if refused is not None:
        yield _refused(refused, server, slot)
        return
    if not SHORTEST_S <= tried.sender_timeout_s <= LONGEST_S:
        meant = "never" if tried.sender_timeout_s == 0 else f"after {tried.sender_timeout_s:g} s"
        yield Finding(
            Level.WARNING,
            "wal_sender_timeout",
            "wal_sender_timeout",
            f"our replication session is given up {meant}: shorter than {SHORTEST_S:g} s, a busy moment ends it; longer than "
            f"{LONGEST_S:g} s, a standby waits that long for the slot of an owner that vanished. It stands in `options` of "
            "the dsn; without that we ask for 15 s",
        )
    if tried.switched_at is not None and (slot.confirmed_flush or tried.switched_at) < tried.switched_at:
        yield Finding(
            Level.WARNING,
            "timeline",
            f"timeline {tried.timeline}",
            f"the server was promoted at {format_lsn(tried.switched_at)}, beyond where the slot of {publication} is "
            "confirmed: `bridge cdc start` compares with what was published, and stops if the server lacks some of it",
        )


def _refused(refused: str, server: ServerFacts, slot: SlotState) -> Finding:
    if "startup parameter" in refused or "pgbouncer" in refused.lower():
        return _pooler(f"it refuses a replication connection ({refused})")
    if "pg_hba.conf" in refused:
        return Finding(
            Level.ERROR,
            "pg_hba",
            server.role,
            f"pg_hba.conf refuses the replication connection: {refused}; a line for the database is what counts, not one "
            "for `replication`",
            hba_lines(server.role, slot.connected_to),
        )
    return Finding(
        Level.ERROR,
        "replication_refused",
        server.role,
        f"the replication connection is refused: {refused}",
    )


def _pooler(why: str) -> Finding:
    return Finding(
        Level.ERROR,
        "pooler",
        "dsn",
        f"the dsn leads to a connection pooler: {why}; replication needs the server itself: let `dsn` name its own host and "
        "port",
        stops=True,
    )
