"""Puts tenants into force: first the versions into the bucket, then their routes into EVENTS (rule T4).

Interrupted between, a tenant's routes are those of before; the next `apply` finishes. All or nothing per tenant. What is
done is decided in `plan`; here it is read and written, in bulk.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from eventbus.buckets import RevisionConflict
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.tenants.bulk import in_bulk
from pipeline.tenants.key_moves import still_held, together
from pipeline.tenants.model import Tenant
from pipeline.tenants.pause_store import PauseStore
from pipeline.tenants.plan import InBuckets, Refusal, Step, plan
from pipeline.tenants.rollback import version_before
from pipeline.tenants.routing import TenantRoutes, next_routes
from pipeline.tenants.store import NewRoutes, RoutesConflict, RoutesStore, TenantStore, VersionTooLarge
from pipeline.tenants.version import Version, Written


@dataclass(frozen=True, slots=True)
class Change:
    """What `apply` did, or would do, for one tenant. lines: in words; none: it was in force already, or is refused.

    revision: of the version in force then, or of its removal. refusal: why it stays as it is.
    """

    tenant: str
    revision: int
    lines: tuple[str, ...]
    removed: bool = False
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Manner:
    """How tenants are applied.

    folders: all that the folder has, also those that are not applied for a mistake in them; with `prune` whoever is in
    force and not among them is removed. seen: the revisions that the folder was last applied or pulled at.
    """

    written: Written = field(default_factory=Written)
    dry_run: bool = False
    force: bool = False
    prune: bool = False
    folders: Collection[str] = ()
    seen: Mapping[str, int] = field(default_factory=dict)


class Application:
    """Methods raise as JetStream's do, and VersionInvalid where a routing message cannot be read."""

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._versions = TenantStore(jetstream, subjects)
        self._routes = RoutesStore(jetstream, subjects)
        self._pauses = PauseStore(jetstream, subjects)

    async def apply(self, tenants: Iterable[Tenant], manner: Manner | None = None) -> list[Change]:
        """Puts the tenants into force, each of them or not at all: `Change.refusal` says why not."""
        manner = manner or Manner()
        wanted = list(tenants)
        versions, messages = await self._versions.versions(), await self._routes.all()
        routes = {name: found for name, (_, found) in messages.items()}
        seen = await self._seen(manner.seen, versions)
        removed = [
            name
            for name, version in versions.items()
            if manner.prune and not version.removed and name not in manner.folders
        ]
        steps = plan(wanted, InBuckets(versions, routes, seen), removed=removed, force=manner.force)
        return await self._carry_out(steps, messages, manner)

    async def to_bring_back(self, name: str, revision: int | None) -> Version:
        """The tenant's version of that revision; None: the one before that in force. Raises NothingToRollBackTo."""
        return version_before(name, await self._versions.history(name), revision)

    async def roll_back(self, back: Version, by: str, why: str) -> Change:
        """Puts an older version into force again, as a new one."""
        assert back.tenant is not None
        versions, messages = await self._versions.versions(), await self._routes.all()
        routes = {name: found for name, (_, found) in messages.items()}
        steps = plan([back.tenant], InBuckets(versions, routes), force=True)
        written = Written(by, why, "rollback", back.revision)
        mine = [step for step in steps if step.name == back.name]
        return (await self._carry_out(mine, messages, Manner(written)))[0]

    async def _carry_out(
        self, steps: list[Step], messages: Mapping[str, tuple[int, TenantRoutes]], manner: Manner
    ) -> list[Change]:
        if not manner.dry_run:
            steps = await in_bulk(self._write(step, manner.written) for step in steps)
            steps = await self._put_routes(steps, messages)
        return [
            Change(step.name, step.revision, step.lines, removed=step.after is None, refusal=step.refusal)
            for step in steps
        ]

    async def _seen(self, seen: Mapping[str, int], versions: Mapping[str, Version]) -> dict[str, Version]:
        """The versions that the folder knows; read where that is not the one in force."""

        async def read(name: str, revision: int) -> Version:
            now = versions[name]
            if now.revision == revision:
                return now
            found = await self._versions.at(name, revision)
            return found or Version(name, revision, 0.0, Written(), None)

        known = [(name, revision) for name, revision in seen.items() if name in versions]
        found = await in_bulk(read(name, revision) for name, revision in known)
        return {version.name: version for version in found}

    async def _write(self, step: Step, written: Written) -> Step:
        """The step with its new version in force; refused where somebody else was faster."""
        if step.refusal is not None:
            return step
        try:
            revision = step.revision
            if step.after is None:
                if step.writes:
                    revision = await self._versions.remove(step.name, step.revision, written)
                await self._pauses.clear(step.name)
            elif step.writes:
                after = replace(step.after, revision=step.revision)
                revision = (await self._versions.put(after, written)).revision
        except RevisionConflict:
            return _refused(step, "it was applied by somebody else at this moment; apply again")
        except VersionTooLarge as error:
            return _refused(step, str(error), mistake=True)
        return replace(step, before=Version(step.name, revision, 0.0, written, step.after))

    async def _put_routes(
        self, steps: list[Step], messages: Mapping[str, tuple[int, TenantRoutes]]
    ) -> list[Step]:
        held = {name: found for name, (_, found) in messages.items()}
        passed = await self._routes.passed()
        new: dict[str, NewRoutes] = {}
        for step in steps:
            if step.refusal is None:
                after = replace(step.after or Tenant(step.name, ""), revision=step.revision)
                message = next_routes(held.get(step.name), after, passed)
                if message is not None:
                    new[step.name] = NewRoutes(step.name, message, messages.get(step.name, (0, None))[0])
        keys = {step.name: step.after.key for step in steps if step.name in new and step.after is not None}
        failed = {
            name: f"its key {keys[name]!r} is still routed to tenant {holder}: apply that one, then this one again"
            for name, holder in still_held(new, keys, held).items()
        }
        going = [name for name in new if name not in failed]
        groups = [[new[name] for name in names] for names in together(going, keys, held)]
        for conflicts in await in_bulk(self._put_group(group) for group in groups):
            failed |= conflicts
        return [_refused(step, failed[step.name]) if step.name in failed else step for step in steps]

    async def _put_group(self, group: list[NewRoutes]) -> dict[str, str]:
        """Names and why, where their routes are not in force: the next `apply` finishes."""
        try:
            await self._routes.put(group)
        except RoutesConflict as error:
            return {one.tenant: str(error) for one in group}
        return {}


def _refused(step: Step, message: str, *, mistake: bool = False) -> Step:
    return replace(step, lines=(), refusal=Refusal(message, mistake))
