"""Which version a rollback brings back. Pure."""

from collections.abc import Sequence

from eventbus.errors import EventBusError
from pipeline.tenants.version import Version


class NothingToRollBackTo(EventBusError):
    """There is no such version: the message says which there are."""


def version_before(name: str, history: Sequence[Version], revision: int | None) -> Version:
    """The version to bring back, of those kept (oldest first): the one of that revision, or the one before the last."""
    if not history:
        raise NothingToRollBackTo(f"no tenant {name!r} was ever in force; `bridge tenant list` shows them")
    there = [version for version in history if version.tenant is not None]
    chosen = [version for version in there if version.revision == revision]
    if revision is None:
        chosen = [version for version in there if version is not history[-1]][-1:]
    if not chosen:
        known = ", ".join(str(version.revision) for version in there) or "none"
        asked = "an earlier version" if revision is None else f"a version of revision {revision}"
        raise NothingToRollBackTo(f"tenant {name} has not {asked}; those kept: {known}")
    return chosen[0]
