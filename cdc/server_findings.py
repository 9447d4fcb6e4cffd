"""Findings about the server and the slot. Pure."""

from collections.abc import Iterator

from cdc.finding import Finding, Level, identifier
from cdc.providers import logical_wal, setting
from cdc.server_facts import ServerFacts
from cdc.settings import SourceSettings
from cdc.source_facts import SlotState, SourceFacts


def check_server(server: ServerFacts) -> Iterator[Finding]:
    if server.wal_level != "logical":
        yield Finding(
            Level.ERROR,
            "wal_level",
            "wal_level",
            f"wal_level is {server.wal_level}; logical decoding needs logical",
            logical_wal(server.provider),
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
    if server.any_server:
        yield Finding(
            Level.WARNING,
            "any_host",
            "dsn",
            "the dsn names several hosts and takes any of them, standbys too, and not always the same: add "
            "`target_session_attrs=read-write` to it",
        )
    if server.encoding == "SQL_ASCII":
        yield Finding(
            Level.ERROR,
            "server_encoding",
            "server_encoding",
            "the database's encoding is SQL_ASCII: PostgreSQL does not know what its text means, and capture stops at the "
            "first value that is not UTF-8; copy the database into one with an encoding (pg_dump, pg_restore)",
        )


def _trust(server: ServerFacts, plugin: str) -> Iterator[Finding]:
    """From the releases of August 2026 on a server uses only the plugins that it is told to trust."""
    if server.trusted_plugins is None:
        return
    trusted = [name.strip().strip('"') for name in server.trusted_plugins.split(",") if name.strip()]
    if plugin not in trusted:
        names = ", ".join(identifier(name) for name in (*trusted, plugin))
        yield Finding(
            Level.ERROR,
            "plugin_not_trusted",
            "output_plugin_libraries",
            f"the server may not use {plugin}: output_plugin_libraries does not name it, so no role can read a slot of it",
            f"ALTER SYSTEM SET output_plugin_libraries = {names}; SELECT pg_reload_conf(); -- no lock; every role with "
            "REPLICATION may use it then",
            stops=True,
        )


def check_slot(facts: SourceFacts, settings: SourceSettings) -> Iterator[Finding]:
    slot, server = facts.slot, facts.server
    yield from _trust(server, settings.plugin)
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
    if slot.failover is False:
        yield Finding(
            Level.WARNING,
            "slot_not_failover",
            settings.slot,
            f"slot {settings.slot} is not made for failover: a promoted standby has no such slot, and capture begins anew "
            "there",
            f"ALTER_REPLICATION_SLOT {settings.slot} (FAILOVER true); -- on a connection with replication=database, while "
            "nobody reads the slot; no lock, no WAL",
        )
    if slot.active_pid is None and server.free_senders <= 0:
        yield Finding(
            Level.ERROR,
            "senders_left",
            "max_wal_senders",
            "the server has no free WAL sender",
            setting(server.provider, "max_wal_senders", "20", "no WAL", restart=True),
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
            setting(facts.server.provider, "max_replication_slots", "20", "no WAL", restart=True),
        )


def _unfit_slot(slot: SlotState, settings: SourceSettings) -> Iterator[Finding]:
    for code, wrong, message in (
        (
            "slot_plugin",
            slot.plugin != settings.plugin,
            f"is made for plugin {slot.plugin}, and bridge.yaml says {settings.plugin}",
        ),
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


_SETUP = "run `bridge cdc setup`"
