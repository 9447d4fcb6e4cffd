"""What is in force, for people: every tenant with its version, whether its routes hold, and what is paused."""

from dataclasses import dataclass

from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.tenants.pause_store import PauseStore
from pipeline.tenants.pauses import NOT_PAUSED, TenantPauses
from pipeline.tenants.plan import hold
from pipeline.tenants.store import RoutesStore, TenantStore
from pipeline.tenants.version import Version


@dataclass(frozen=True, slots=True)
class InForce:
    """A tenant as `tenant list` shows it.

    complete: False where a command was interrupted before the routes; kept: how many versions there are to go back to.
    """

    version: Version
    complete: bool
    kept: int
    pauses: TenantPauses = NOT_PAUSED


async def list_in_force(jetstream: JetStream, subjects: Subjects) -> list[InForce]:
    """By name; with those whose removal was interrupted. Raises as JetStream does, and VersionInvalid, PausesInvalid."""
    store = TenantStore(jetstream, subjects)
    versions, kept = await store.versions(), await store.kept()
    messages = await RoutesStore(jetstream, subjects).all()
    pauses = await PauseStore(jetstream, subjects).all()
    found = [
        InForce(
            version=version,
            complete=hold(version.tenant, messages[name][1] if name in messages else None),
            kept=kept.get(name, 0),
            pauses=pauses.get(name, NOT_PAUSED),
        )
        for name, version in sorted(versions.items())
    ]
    return [one for one in found if not (one.version.removed and one.complete)]
