"""Where PostgreSQL runs, and how its settings and rights are changed there. Pure.

Sources: "Using logical replication" of Amazon RDS and Aurora, "Set up logical replication and decoding" of Cloud SQL,
"Logical replication and logical decoding" of Azure Database for PostgreSQL.
"""

from enum import StrEnum

from cdc.finding import identifier


class Provider(StrEnum):
    """Who runs the server. rds: Aurora too."""

    VANILLA = "vanilla"
    RDS = "rds"
    CLOUDSQL = "cloudsql"
    AZURE = "azure"


ADMIN_ROLES = {
    "rds_superuser": Provider.RDS,
    "cloudsqlsuperuser": Provider.CLOUDSQL,
    "azure_pg_admin": Provider.AZURE,
}
"""Roles that only that provider's servers have: how one is recognised."""

ADMINISTRATORS = {
    Provider.VANILLA: "a superuser",
    Provider.RDS: "the master user (rds_superuser)",
    Provider.CLOUDSQL: "the administrator (cloudsqlsuperuser, such as postgres)",
    Provider.AZURE: "the server admin (azure_pg_admin)",
}
"""Who makes roles and slots there."""

_LOGICAL = {
    Provider.RDS: "rds.logical_replication = 1",
    Provider.CLOUDSQL: "cloudsql.logical_decoding = on",
    Provider.AZURE: "wal_level = logical (single server: azure.replication_support = logical)",
}
_WHERE = {
    Provider.RDS: ("in the DB parameter group (Aurora: the cluster's)", "reboot the instance"),
    Provider.CLOUDSQL: ("as a database flag, beside the flags that are set", "it restarts the instance"),
    Provider.AZURE: ("among the server parameters", "save and restart the server"),
}


def recognised(roles: list[str]) -> Provider:
    """The provider whose administrator's role is among these."""
    return next((ADMIN_ROLES[role] for role in roles if role in ADMIN_ROLES), Provider.VANILLA)


def logical_wal(provider: Provider) -> str:
    """How wal_level becomes logical."""
    if provider is Provider.VANILLA:
        return (
            "ALTER SYSTEM SET wal_level = 'logical'; -- takes a restart of PostgreSQL; WAL: a little more for each update "
            "and delete"
        )
    where, restart = _WHERE[provider]
    return f"-- {where}: {_LOGICAL[provider]}; {restart}; WAL: a little more for each update and delete"


def setting(provider: Provider, name: str, value: str, note: str, *, restart: bool = False) -> str:
    """How a setting is changed there, with what it costs. value: with its unit; note: lock and WAL."""
    if provider is not Provider.VANILLA:
        where, restarting = _WHERE[provider]
        return f"-- {where}: {name} = {value}{'; ' + restarting if restart else ''}; {note}"
    if restart:
        return f"ALTER SYSTEM SET {name} = '{value}'; -- takes a restart of PostgreSQL; {note}"
    return f"ALTER SYSTEM SET {name} = '{value}'; SELECT pg_reload_conf(); -- {note}"


def replication_right(provider: Provider, role: str) -> str:
    """How a role comes to replicate."""
    if provider is Provider.RDS:
        return f"GRANT rds_replication TO {identifier(role)}; -- no lock"
    return f"ALTER ROLE {identifier(role)} REPLICATION; -- no lock"
