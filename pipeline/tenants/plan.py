"""What putting tenants into force would do, tenant by tenant: write, remove, finish, leave alone, or refuse. Pure.

All or nothing per tenant: what is wrong with one refuses that one, and those that want what it keeps (its key).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pipeline.tenants.changed_elsewhere import changed_elsewhere
from pipeline.tenants.changes import changes
from pipeline.tenants.model import Tenant, same_version
from pipeline.tenants.routing import TenantRoutes, wanted_filters
from pipeline.tenants.version import Version


@dataclass(frozen=True, slots=True)
class InBuckets:
    """What is in force. versions: by the tenant's name, removed ones included; routes: their last messages.

    seen: the versions that the folder was last applied or pulled at, by name; not there: nobody knows.
    """

    versions: Mapping[str, Version]
    routes: Mapping[str, TenantRoutes]
    seen: Mapping[str, Version] = field(default_factory=dict)

    @property
    def in_force(self) -> dict[str, Tenant]:
        """The tenants that can be read, by name."""
        return {name: one.tenant for name, one in self.versions.items() if one.tenant is not None}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a tenant stays as it is. mistake: the folder is wrong; else somebody has to decide."""

    message: str
    mistake: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One tenant's. after: what it should be, None: not there. lines: what changes, in words; none: nothing.

    writes: whether its version is another one than the one in force, or goes.
    """

    name: str
    before: Version | None
    after: Tenant | None
    lines: tuple[str, ...] = ()
    writes: bool = False
    refusal: Refusal | None = None

    @property
    def revision(self) -> int:
        """Of the version in force, 0: none is."""
        return 0 if self.before is None else self.before.revision


def plan(
    wanted: Iterable[Tenant], found: InBuckets, *, removed: Iterable[str] = (), force: bool = False
) -> list[Step]:
    """In the order given; `removed` and what an earlier command did not finish come last."""
    steps = {tenant.name: _wanted(tenant, found, force=force) for tenant in wanted}
    for name in sorted(removed):
        steps[name] = _removed(name, found, force=force)
    for name in sorted(found.routes.keys() - steps.keys()):
        version = found.versions.get(name)
        if found.routes[name].in_force and (version is None or version.removed):
            steps[name] = Step(
                name, version, None, ("its routes end, which an interrupted command had left",)
            )
    _refuse_taken_keys(steps, found.in_force)
    return list(steps.values())


def hold(tenant: Tenant | None, routes: TenantRoutes | None) -> bool:
    """Whether the routing table says what the version does."""
    wanted = frozenset() if tenant is None else wanted_filters(tenant)
    return wanted == (routes.in_force if routes else frozenset())


def _wanted(tenant: Tenant, found: InBuckets, *, force: bool) -> Step:
    before = found.versions.get(tenant.name)
    step = Step(tenant.name, before, tenant)
    if before is not None and before.unreadable and not force:
        return replace(step, refusal=Refusal(f"{before.unreadable}; --force writes over it"))
    held = None if before is None else before.tenant
    if held is not None and same_version(held, tenant):
        if hold(tenant, found.routes.get(tenant.name)):
            return step
        return replace(step, lines=("routes put into force, which an interrupted apply had left",))
    if before is not None and not force:
        why = changed_elsewhere(found.seen.get(tenant.name), before, tenant)
        if why is not None:
            return replace(step, refusal=Refusal(why))
    return replace(step, lines=tuple(changes(held, tenant)), writes=True)


def _removed(name: str, found: InBuckets, *, force: bool) -> Step:
    before = found.versions[name]
    step = Step(name, before, None)
    why = None if force else changed_elsewhere(found.seen.get(name), before, None)
    if why is not None:
        return replace(step, refusal=Refusal(why))
    return replace(step, lines=(_removal(before),), writes=True)


def _removal(version: Version) -> str:
    if version.tenant is None:
        return "removed"
    routes = len(version.tenant.routes)
    end = "its route ends" if routes == 1 else f"its {routes} routes end"
    return f"removed, with key {version.tenant.key!r}: {end}"


def _refuse_taken_keys(steps: dict[str, Step], in_force: Mapping[str, Tenant]) -> None:
    """A key belongs to one tenant. Who is refused keeps its key, which may refuse another: until nobody is."""
    while True:
        goes_on = {name for name, step in steps.items() if step.refusal is None}
        owners = {tenant.key: name for name, tenant in in_force.items() if name not in goes_on}
        taken = [
            step
            for step in steps.values()
            if step.refusal is None and step.after is not None and step.after.key in owners
        ]
        if not taken:
            return
        for step in taken:
            assert step.after is not None
            owner = owners[step.after.key]
            message = _taken(step.after.key, owner, in_folder=owner in steps)
            steps[step.name] = replace(step, lines=(), writes=False, refusal=Refusal(message, mistake=True))


def _taken(key: str, owner: str, *, in_folder: bool) -> str:
    what = f"key: {key!r} is the key of tenant {owner!r}, which "
    if in_folder:
        return f"{what}stays as it is; mend that one first"
    return (
        f"{what}is in force and not in this folder; a key belongs to one tenant: name the folder {owner!r} again, or "
        "let --prune remove that tenant"
    )
