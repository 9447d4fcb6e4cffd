"""Puts a tenants folder into force: first the version into the bucket, then its routes into EVENTS (rule T4).

Interrupted between, the tenant's routes are those of before; the next `apply` finishes. All or nothing per tenant.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from eventbus.buckets import RevisionConflict
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.problems import ConfigurationInvalid
from pipeline.tenants.changes import changes
from pipeline.tenants.model import Tenant, same_version
from pipeline.tenants.pause_store import PauseStore
from pipeline.tenants.pauses import NOT_PAUSED, TenantPauses
from pipeline.tenants.routing import TenantRoutes, next_routes, wanted_filters
from pipeline.tenants.store import RoutesConflict, RoutesStore, TenantStore
from pipeline.yaml_nodes import Mark, YamlError


@dataclass(frozen=True, slots=True)
class Change:
    """What `apply` did, or would do, for one tenant. lines: in words; none: it was in force already."""

    tenant: str
    revision: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InForce:
    """A tenant as `tenant list` shows it. complete: False where an `apply` was interrupted before the routes."""

    tenant: Tenant
    complete: bool
    pauses: TenantPauses = NOT_PAUSED


class Application:
    """Applies tenants, one after the other. Methods raise as JetStream's do."""

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._versions = TenantStore(jetstream, subjects)
        self._routes = RoutesStore(jetstream, subjects)
        self._pauses = PauseStore(jetstream, subjects)

    async def apply(self, tenants: Iterable[Tenant], *, dry_run: bool = False) -> list[Change]:
        """Raises ConfigurationInvalid (a key that another tenant in force has), RoutesConflict, VersionTooLarge."""
        wanted = list(tenants)
        in_force = await self._versions.all()
        _check_keys(wanted, in_force)
        passed = await self._routes.passed()
        return [await self._apply(each, in_force.get(each.name), passed, dry_run=dry_run) for each in wanted]

    async def list(self) -> list[InForce]:
        """Every tenant in force, by name."""
        found = []
        pauses = await self._pauses.all()
        for _, tenant in sorted((await self._versions.all()).items()):
            _, routes = await self._routes.get(tenant.name)
            found.append(
                InForce(tenant, complete=_hold(tenant, routes), pauses=pauses.get(tenant.name, NOT_PAUSED))
            )
        return found

    async def _apply(self, wanted: Tenant, before: Tenant | None, passed: int, *, dry_run: bool) -> Change:
        lines = changes(before, wanted)
        tenant = replace(wanted, revision=before.revision if before else 0)
        seq, routes = await self._routes.get(wanted.name)
        if not lines and not _hold(tenant, routes):
            lines = ["routes put into force, which an interrupted apply had left"]
        if not dry_run:
            if before is None or not same_version(before, tenant):
                tenant = await self._put(tenant)
            message = next_routes(routes, tenant, passed)
            if message is not None:
                await self._routes.put(tenant.name, message, over=seq)
        return Change(tenant.name, tenant.revision, tuple(lines))

    async def _put(self, tenant: Tenant) -> Tenant:
        try:
            return await self._versions.put(tenant)
        except RevisionConflict:
            raise RoutesConflict(
                f"tenant {tenant.name} was applied by somebody else at this moment; apply again"
            ) from None


def _hold(tenant: Tenant, routes: TenantRoutes | None) -> bool:
    return wanted_filters(tenant) == (routes.in_force if routes else frozenset())


def _check_keys(wanted: Iterable[Tenant], in_force: Mapping[str, Tenant]) -> None:
    """A key of the folder may not be that of a tenant which is in force and not in the folder."""
    names = {tenant.name for tenant in wanted}
    owners = {tenant.key: tenant.name for tenant in in_force.values() if tenant.name not in names}
    problems = [
        YamlError(
            Mark(f"{tenant.name}/tenant.yaml", 1, 1),
            f"key: {tenant.key!r} is the key of tenant {owners[tenant.key]!r}, which is in force and not in this "
            f"folder; a key belongs to one tenant: name the folder {owners[tenant.key]!r} again",
        )
        for tenant in wanted
        if tenant.key in owners
    ]
    if problems:
        raise ConfigurationInvalid(problems)
