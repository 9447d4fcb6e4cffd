"""The DSN of a source, with what every connection of ours pins."""

from typing import NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc.source_errors import DsnInvalid

# a dead peer is noticed although nothing is sent (PostgreSQL documentation, 32.1.2); in milliseconds where `timeout`
_DEFAULTS = {
    "application_name": "fracttal-bridge",
    "client_encoding": "UTF8",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
# how long a standby waits at most for the slot of an owner that is gone
_SENDER_TIMEOUT = "-c wal_sender_timeout=15s"
# they decide how values are printed, whatever role or database set
_PINNED = (
    "-c client_encoding=UTF8 -c datestyle=ISO -c intervalstyle=iso_8601 -c bytea_output=hex "
    "-c extra_float_digits=1 -c timezone=UTC"
)


def ordinary(dsn: str) -> str:
    """The DSN for queries. Raises DsnInvalid."""
    return make_conninfo("", **{**_DEFAULTS, **_parts(dsn)})


def replication(dsn: str) -> str:
    """The DSN for the stream: `replication=database` and pinned session settings. Raises DsnInvalid."""
    parts = _parts(dsn)
    options = f"{_SENDER_TIMEOUT} {parts.pop('options', '')} {_PINNED}"
    return make_conninfo("", **{**_DEFAULTS, **parts, "options": options, "replication": "database"})


class DsnFacts(NamedTuple):
    """What of a DSN matters to the server. hosts: how many it names; any_server: also a standby will do."""

    application_name: str
    hosts: int
    any_server: bool


def dsn_facts(dsn: str) -> DsnFacts:
    """Raises DsnInvalid."""
    parts = {**_DEFAULTS, **_parts(dsn)}
    hosts = len(parts.get("host", parts.get("hostaddr", "")).split(","))
    wanted = parts.get("target_session_attrs", "any")
    return DsnFacts(parts["application_name"], hosts, wanted not in {"read-write", "primary"})


def reading(dsn: str, timeout: int) -> str:
    """The DSN for reading rows: pinned as the stream, nothing hidden by row security. timeout: of a query, in seconds.

    Raises DsnInvalid.
    """
    parts = _parts(dsn)
    pinned = (
        f"{_PINNED} -c row_security=off -c default_transaction_read_only=on -c statement_timeout={timeout}s"
    )
    return make_conninfo("", **{**_DEFAULTS, **parts, "options": f"{parts.pop('options', '')} {pinned}"})


def reading_by_value(dsn: str, timeout: int) -> str:
    """As `reading`, for small queries: no search_path decides what a name in them means. Raises DsnInvalid."""
    options = conninfo_to_dict(found := reading(dsn, timeout))["options"]
    return make_conninfo(
        found, options=f"{options} -c search_path=pg_catalog -c jit=off -c idle_session_timeout=0"
    )


def user_and_password(dsn: str) -> tuple[str | None, str | None]:
    parts = _parts(dsn)
    return parts.get("user"), parts.get("password")


def _parts(dsn: str) -> dict[str, str]:
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.ProgrammingError:
        parts = {}
    if not parts:
        raise DsnInvalid(
            "the dsn is neither a URI (postgresql://user@host:5432/database) nor a list of key=value"
        )
    if not all(port.isdecimal() for port in parts.get("port", "5432").split(",")):
        raise DsnInvalid("the dsn's port is not a number")
    return parts
