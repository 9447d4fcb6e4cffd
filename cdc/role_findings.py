"""Findings about the role that captures: what it may, how often it may connect, and from where. Pure."""

from collections.abc import Iterator, Sequence

from cdc.finding import Finding, Level, identifier
from cdc.providers import replication_right, setting
from cdc.server_facts import HbaRule, ServerFacts

CONNECTIONS = 4
"""What capture takes at most: two of the owner, two of one standby; setup allows ten, for the commands beside it."""


def check_role(server: ServerFacts) -> Iterator[Finding]:
    role = identifier(server.role)
    if not server.may_replicate:
        yield Finding(
            Level.ERROR,
            "rights_missing",
            server.role,
            f"role {server.role} may not replicate",
            replication_right(server.provider, server.role),
            stops=True,
        )
    if server.superuser:
        yield Finding(
            Level.WARNING,
            "role_superuser",
            server.role,
            f"role {server.role} is a superuser: capture needs no more than LOGIN and REPLICATION; name another role in the "
            "dsn, and `bridge cdc setup --admin-dsn` makes it",
        )
    if 0 <= server.connection_limit < CONNECTIONS and not server.superuser:
        yield Finding(
            Level.ERROR,
            "connection_limit",
            server.role,
            f"role {server.role} may have {server.connection_limit} connections; capture and one standby take {CONNECTIONS}",
            f"ALTER ROLE {role} CONNECTION LIMIT 10; -- no lock, no WAL to speak of",
        )
    if server.free_connections < CONNECTIONS:
        yield Finding(
            Level.WARNING,
            "connections_left",
            "max_connections",
            f"the server has {max(0, server.free_connections)} free connections for ordinary roles; capture and one standby "
            f"take {CONNECTIONS}",
            setting(server.provider, "max_connections", "200", "memory for each; no WAL", restart=True),
        )


def check_hba(rules: Sequence[HbaRule] | None, role: str, database: str) -> Iterator[Finding]:
    """The line by which the role comes in: is it a line of its own? Nothing where the file cannot be seen."""
    for rule in rules or ():
        if rule.error is not None:
            yield Finding(
                Level.WARNING,
                "pg_hba",
                f"pg_hba.conf:{rule.line}",
                f"line {rule.line} of pg_hba.conf cannot be read ({rule.error}): the server goes on with the rules it had, "
                "and does not start again",
            )
    matching = (rule for rule in rules or () if _lets_in(rule, role, database))
    for rule in matching:
        if _everywhere(rule):
            yield Finding(
                Level.WARNING,
                "pg_hba",
                f"pg_hba.conf:{rule.line}",
                f"line {rule.line} of pg_hba.conf lets {role} in from everywhere; whoever logs in as it can read the changes "
                "of every table: before it, give the role a line of its own, and one that rejects it from elsewhere",
                hba_lines(role, database),
            )
        return


def hba_lines(role: str, database: str) -> str:
    """What pg_hba.conf should say of the role, as comments: it is no SQL."""
    return (
        f"-- pg_hba.conf: hostssl {database} {role} ADDRESS/32 scram-sha-256\n"
        f"-- pg_hba.conf: host    all {role} all reject\n"
        "SELECT pg_reload_conf(); -- no lock, no WAL"
    )


def _lets_in(rule: HbaRule, role: str, database: str) -> bool:
    """As far as names tell: a role's groups (+name) and patterns (/…) are not looked into."""
    return (
        rule.error is None
        and (rule.type or "").startswith("host")
        and bool({"all", role} & {*rule.users})
        and bool({"all", database} & {*rule.databases})
    )


def _everywhere(rule: HbaRule) -> bool:
    return rule.method != "reject" and (rule.address == "all" or rule.netmask in {"0.0.0.0", "::"})  # noqa: S104 — a mask
