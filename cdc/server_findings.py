"""Findings about the server, the role, the slot and the publication. Pure."""

from collections.abc import Iterator

from cdc.finding import Finding, Level, identifier
from cdc.settings import SourceSettings
from cdc.source_facts import ServerFacts, SlotState, SourceFacts


def check_server(server: ServerFacts) -> Iterator[Finding]:
    if server.wal_level != "logical":
        yield Finding(
            Level.ERROR,
            "wal_level",
            "wal_level",
            f"wal_level is {server.wal_level}; logical decoding needs logical",
            "ALTER SYSTEM SET wal_level = 'logical'; -- takes a restart of PostgreSQL; more WAL for updates and deletes",
            stops=True,
        )
    if server.standby:
        yield Finding(
            Level.ERROR,
            "standby",
            "server",
            "this server is a standby; capture reads from the primary",
            stops=True,
        )
    if not server.may_replicate:
        yield Finding(
            Level.ERROR,
            "rights_missing",
            server.role,
            f"role {server.role} may not replicate",
            f"ALTER ROLE {identifier(server.role)} REPLICATION; -- no lock",
            stops=True,
        )
    yield from _retention(server)


def _retention(server: ServerFacts) -> Iterator[Finding]:
    if server.wal_keep_mb == -1:
        yield Finding(
            Level.WARNING,
            "wal_keep_unbounded",
            "max_slot_wal_keep_size",
            "while capture stands, WAL is kept without a limit and can fill the primary's disk; with a limit the slot is "
            "lost beyond it, and capture has to begin anew",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf(); -- no lock; choose what the disk "
            "can spare",
        )
    if server.idle_slot_timeout_s:
        yield Finding(
            Level.WARNING,
            "idle_slot_timeout",
            "idle_replication_slot_timeout",
            f"a slot that nobody reads for {server.idle_slot_timeout_s} s is invalidated: a capture stopped for longer "
            "has to begin anew",
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf(); -- no lock",
        )


def check_slot(facts: SourceFacts, settings: SourceSettings) -> Iterator[Finding]:
    slot, server = facts.slot, facts.server
    if not slot.exists:
        yield from _missing_slot(facts, settings)
        return
    if slot.database != slot.connected_to:
        # somebody else's, and perhaps in use: no SQL that drops it
        yield Finding(
            Level.ERROR,
            "slot_database",
            settings.slot,
            f"slot {settings.slot} belongs to database {slot.database}, the dsn names {slot.connected_to}: correct "
            "`dsn`, or give the source another `slot` in bridge.yaml",
            stops=True,
        )
        return
    yield from _unfit_slot(slot, settings)
    if slot.active_pid is None and server.free_senders <= 0:
        yield Finding(
            Level.ERROR,
            "senders_left",
            "max_wal_senders",
            "the server has no free WAL sender",
            "ALTER SYSTEM SET max_wal_senders = 20; -- takes a restart of PostgreSQL",
        )


def _missing_slot(facts: SourceFacts, settings: SourceSettings) -> Iterator[Finding]:
    yield Finding(
        Level.ERROR,
        "slot_missing",
        settings.slot,
        f"there is no slot {settings.slot}: {_SETUP}",
        stops=True,
    )
    if facts.server.free_slots <= 0:
        yield Finding(
            Level.ERROR,
            "slots_left",
            "max_replication_slots",
            "the server has no free replication slot",
            "ALTER SYSTEM SET max_replication_slots = 20; -- takes a restart of PostgreSQL",
        )


def _unfit_slot(slot: SlotState, settings: SourceSettings) -> Iterator[Finding]:
    for code, wrong, message in (
        ("slot_plugin", slot.plugin != "pgoutput", f"is made for plugin {slot.plugin}, not pgoutput"),
        (
            "slot_two_phase",
            slot.two_phase,
            "is made with two_phase: it sends the rows of a prepared transaction before the commit",
        ),
        (
            "slot_invalidated",
            slot.wal_status == "lost" or slot.invalidation is not None,
            f"can no longer be read ({slot.invalidation or 'its WAL is gone'}); changes since its position are lost",
        ),
    ):
        if wrong:
            yield Finding(
                Level.ERROR,
                code,
                settings.slot,
                f"slot {settings.slot} {message}",
                f"SELECT pg_drop_replication_slot('{settings.slot}'); -- no lock; better `bridge cdc drop`, which keeps "
                "the memory of it, and then `bridge cdc setup`",
                stops=True,
            )


def check_publication(facts: SourceFacts, settings: SourceSettings) -> Iterator[Finding]:
    name = settings.publication
    if facts.slot.publication_oid is None:
        message = f"there is no publication {name}: {_SETUP}"
        yield Finding(Level.ERROR, "publication_missing", name, message, stops=True)
        return
    for table in facts.tables.values():
        if table.published and table.name not in settings.tables:
            yield Finding(
                Level.WARNING,
                "table_not_configured",
                table.name,
                f"publication {name} sends {table.name}, which bridge.yaml does not name: {_SETUP}",
                f"ALTER PUBLICATION {identifier(name)} DROP TABLE {table.sql_name}; -- SHARE UPDATE EXCLUSIVE on the "
                "table, for a moment",
            )


_SETUP = "run `bridge cdc setup`"
