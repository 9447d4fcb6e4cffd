"""What the preflight knows of a server, of the role that asks, and of what was tried. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cdc.providers import Provider

OLDEST = 150000
"""The first version whose publications can name columns and schemas: what we read of older ones is not there."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Settings in force: megabytes and seconds as the names say; -1 and 0 as PostgreSQL means them.

    session_pid, announced_pid: who answers, and who was said to when we logged in; connection_limit: the role's;
    application_name: our walsender's; any_server: the DSN names several hosts, and a standby will do; trusted_plugins:
    output_plugin_libraries, None on a server without it, and for a role without pg_read_all_settings.
    """

    version: int
    provider: Provider
    wal_level: str
    standby: bool
    wal_keep_mb: int
    idle_slot_timeout_s: int | None
    free_slots: int
    free_senders: int
    free_connections: int
    synchronous_commit: str
    synchronous_standby_names: str
    encoding: str
    role: str
    superuser: bool
    may_replicate: bool
    connection_limit: int
    session_pid: int
    announced_pid: int
    application_name: str
    any_server: bool
    trusted_plugins: str | None = None


class HbaRule(NamedTuple):
    """A line of pg_hba.conf, as pg_hba_file_rules shows it; `error`: why the server cannot read it."""

    line: int
    type: str | None
    databases: Sequence[str]
    users: Sequence[str]
    address: str | None
    netmask: str | None
    method: str | None
    error: str | None


class OpenTransaction(NamedTuple):
    """A transaction that has written and is open. name: a prepared one's gid, else the process; age_s: seconds."""

    prepared: bool
    name: str
    who: str
    age_s: float


class ReadRight(NamedTuple):
    """May the role that reads existing rows see a table? filtered: row-level security applies to it."""

    select: bool
    filtered: bool


class Replication(NamedTuple):
    """A replication connection that was tried. refused: the server's words, and then nothing else is known.

    sender_timeout_s: in its session, 0 for none; switched_at: where the server's timeline began, None on the first.
    """

    refused: str | None
    sender_timeout_s: float = 0.0
    timeline: int = 1
    switched_at: int | None = None


class Tried(NamedTuple):
    """What only `bridge cdc check` asks. hba: None where the role may not look; read_refused: of `read_dsn`."""

    replication: Replication
    hba: Sequence[HbaRule] | None
    transactions: Sequence[OpenTransaction]
    rights: Mapping[str, ReadRight]
    read_refused: str | None
