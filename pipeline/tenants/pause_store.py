"""The bucket PAUSES: what is paused of each tenant, by the tenant's name."""

import contextlib
from dataclasses import dataclass

import msgspec

from eventbus.buckets import Bucket, Entry, RevisionConflict, Watch
from eventbus.errors import EventBusError
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.tenants.pauses import NOT_PAUSED, Pause, Paused, TenantPauses, decode_pauses, encode_pauses


class PausesInvalid(EventBusError):
    """A record cannot be read: it is of a newer bridge, or not ours."""


@dataclass(frozen=True, slots=True)
class PauseChange:
    """before, after: the pause of what was named; both alike where it was so already."""

    before: Pause | None
    after: Pause | None


class PauseStore:
    """Methods raise as JetStream's do, and PausesInvalid."""

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._bucket = Bucket(jetstream, subjects.bucket("PAUSES"))

    async def get(self, tenant: str) -> TenantPauses:
        """What is paused of the tenant now."""
        return (await self._read(tenant))[0]

    async def all(self) -> dict[str, TenantPauses]:
        """By the tenant's name, of those that were ever paused."""
        return {entry.key: pauses_of(entry) for entry in await self._bucket.entries()}

    async def pause(self, tenant: str, what: Paused, pause: Pause) -> PauseChange:
        """Writes the pause, unless there is one already: then that one stays."""
        return await self._change(tenant, what, pause)

    async def resume(self, tenant: str, what: Paused) -> PauseChange:
        """Ends the pause of exactly this, if there is one."""
        return await self._change(tenant, what, None)

    async def clear(self, tenant: str) -> None:
        """Ends every pause of a tenant that is removed: one of its name later begins anew."""
        while (entry := await self._bucket.get(tenant)) is not None and entry.value is not None:
            with contextlib.suppress(RevisionConflict):
                await self._bucket.delete(tenant, entry.revision)

    def watch(self) -> Watch:
        """The bucket's changes, for `pauses_of`; keys are tenants' names."""
        return self._bucket.watch()

    async def _change(self, tenant: str, what: Paused, wanted: Pause | None) -> PauseChange:
        """Again where somebody else has written meanwhile: two people may pause two routes at once."""
        while True:
            pauses, revision = await self._read(tenant)
            before = pauses.get(what)
            if (before is None) == (wanted is None):
                return PauseChange(before, before)
            try:
                await self._bucket.update(tenant, encode_pauses(pauses.changed(what, wanted)), revision)
            except RevisionConflict:
                continue
            return PauseChange(before, wanted)

    async def _read(self, tenant: str) -> tuple[TenantPauses, int]:
        entry = await self._bucket.get(tenant)
        return (NOT_PAUSED, 0) if entry is None else (pauses_of(entry), entry.revision)


def pauses_of(entry: Entry) -> TenantPauses:
    """What an entry of the bucket says. Raises PausesInvalid."""
    if entry.value is None:
        return NOT_PAUSED
    try:
        return decode_pauses(entry.value)
    except msgspec.DecodeError as error:
        raise PausesInvalid(
            f"what is paused of tenant {entry.key} (bucket PAUSES, revision {entry.revision}) cannot be read: "
            f"{error}; upgrade this machine's bridge"
        ) from None
