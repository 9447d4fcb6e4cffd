"""Would an `apply` undo what somebody else has put into force since this folder was last applied or pulled? Pure.

Judged member by member (a connection, a route, a mapping, …): what the other changed, and the folder has otherwise. Where
nobody knows what the folder was applied at (a fresh checkout), the folder is taken to be what its keepers agreed on, so
that only a change past all folders counts: a rollback.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pipeline.tenants.model import Tenant
from pipeline.tenants.version import Version

_Member = tuple[str, str]


def changed_elsewhere(seen: Version | None, now: Version, wanted: Tenant | None) -> str | None:
    """Why `wanted` (None: removal) may not replace the version in force; None: it may.

    seen: the version that the folder was last applied or pulled at, without a tenant where it is not kept any more.
    """
    if seen is None:
        if now.written.how != "rollback":
            return None
        return f"{_who(now)}, which applying this folder would undo: {_WAY_ON}"
    if seen.revision == now.revision:
        return None
    if now.removed:
        return f"{_who(now)} since this folder was in force: take its folder away, or apply with --force"
    undone = sorted(_undone(seen.tenant, now.tenant, wanted))
    if not undone:
        return None
    return f"{_who(now)} since this folder was in force; applying it would undo {_named(undone)}: {_WAY_ON}"


_WAY_ON = "take it over with `bridge tenant pull`, or apply with --force"


def _undone(seen: Tenant | None, now: Tenant | None, wanted: Tenant | None) -> Iterator[_Member]:
    """What was changed from `seen` to `now` and is otherwise in `wanted`."""
    base, theirs, ours = (dict(_members(one)) for one in (seen, now, wanted))
    for member in {*base, *theirs}:
        if base.get(member) != theirs.get(member) and ours.get(member) != theirs.get(member):
            yield member


def _members(tenant: Tenant | None) -> Iterator[tuple[_Member, Any]]:
    if tenant is None:
        return
    yield ("key", ""), tenant.key
    yield ("timezone", ""), tenant.timezone
    for kind, members in (
        ("connection", tenant.connections),
        ("route", tenant.routes),
        ("mapping", {name: mapping.said for name, mapping in tenant.mappings.items()}),
        ("lookup", tenant.lookups),
    ):
        for name, value in members.items():
            yield (kind, name), value


def _named(members: list[_Member]) -> str:
    return ", ".join(f"{kind} {name}".strip() for kind, name in members)


def _who(version: Version) -> str:
    when = datetime.fromtimestamp(int(version.time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    by = f" by {version.written.by}" if version.written.by else ""
    return f"it was {_did(version)}{by} at {when} (revision {version.revision})"


def _did(version: Version) -> str:
    if version.removed:
        return "removed"
    return f"rolled back to revision {version.written.of}" if version.written.how == "rollback" else "changed"
