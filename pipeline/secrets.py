"""The tenants' credentials: the bucket SECRETS, one sealed record for each `<tenant>.<name>`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from eventbus.buckets import Bucket, Entry, RevisionConflict, Watch
from eventbus.errors import EventBusError
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from eventbus.wire import header_lines
from pipeline.sealing import SealBroken, Sealed, is_sealed_with, open_sealed, seal
from pipeline.tenants.model import SECRET_REFERENCE, references

_decoder = msgspec.json.Decoder(Sealed)


class SecretUnusable(EventBusError):
    """A secret is missing, does not open, or there is no key. The message says what to run, and never a value."""


@dataclass(frozen=True, slots=True)
class SecretName:
    """What may be shown of a secret."""

    tenant: str
    name: str
    set_at: datetime


class SecretStore:
    """The bucket, with its keys (`secrets.key`, 32 bytes each; none: only `list` works): the first one seals, all open.

    Methods raise as JetStream's do, and SecretUnusable.
    """

    def __init__(self, jetstream: JetStream, subjects: Subjects, keys: Sequence[bytes]) -> None:
        self._bucket = Bucket(jetstream, subjects.bucket("SECRETS"))
        self._keys = tuple(keys)

    async def set(self, tenant: str, name: str, value: str) -> None:
        """Seals and writes, over what was there."""
        record = seal(self._needed_keys(tenant, name)[0], tenant, name, value, datetime.now(UTC))
        await self._bucket.put(f"{tenant}.{name}", msgspec.json.encode(record))

    async def replace(
        self, tenant: str, name: str, values: tuple[str, str], headers: Mapping[str, str]
    ) -> None:
        """Seals and writes the second value over the first one alone; may be called again. headers: of the record.

        Raises RevisionConflict where another one is there.
        """
        before, after = values
        key = f"{tenant}.{name}"
        entry = await self._bucket.get(key)
        held = None if entry is None or entry.value is None else self.opened(entry)
        if entry is None or held not in values:
            raise RevisionConflict(f"secret {name} of tenant {tenant} is no longer what it was")
        if held == before:
            record = seal(self._needed_keys(tenant, name)[0], tenant, name, after, datetime.now(UTC))
            await self._bucket.update(
                key, msgspec.json.encode(record), entry.revision, headers=header_lines(headers)
            )

    async def get(self, tenant: str, name: str) -> str:
        """The secret in the clear."""
        entry = await self._bucket.get(f"{tenant}.{name}")
        if entry is None or entry.value is None:
            raise SecretUnusable(
                f"tenant {tenant} has no secret {name!r}; run `bridge secret set {tenant} {name}`"
            )
        return self.opened(entry)

    def opened(self, entry: Entry) -> str:
        """The secret in a record of the bucket, as `watch` gives it."""
        tenant, _, name = entry.key.partition(".")
        try:
            return open_sealed(self._needed_keys(tenant, name), tenant, name, _record(entry))
        except SealBroken as error:
            raise SecretUnusable(str(error)) from None

    async def resolve(self, tenant: str, section: Mapping[str, Any]) -> dict[str, Any]:
        """A connection's `auth`, `tls` or both, by their names, with the secrets in place."""
        names = {name for _, name in references(section)}
        values = {name: await self.get(tenant, name) for name in sorted(names)}
        found: dict[str, Any] = resolved(section, values)
        return found

    async def rotate(self) -> Sequence[SecretName]:
        """Seals anew with the first key what another one has sealed; which secrets those were.

        Stopped midway, the next call goes on. A secret that is set meanwhile stays as it is set.
        Raises SecretUnusable, after all others, with every secret that none of the keys opens.
        """
        rotated, unusable = [], []
        for entry in await self._bucket.entries():
            try:
                if await self._rotated(entry):
                    rotated.append(_shown(entry))
            except SecretUnusable as error:
                unusable.append(str(error))
        if unusable:
            raise SecretUnusable("; ".join(unusable))
        return rotated

    async def _rotated(self, entry: Entry) -> bool:
        tenant, _, name = entry.key.partition(".")
        record, newest = _record(entry), self._needed_keys(tenant, name)[0]
        if is_sealed_with(newest, record):
            return False
        anew = seal(newest, tenant, name, self.opened(entry), record.set_at)
        try:
            await self._bucket.update(entry.key, msgspec.json.encode(anew), entry.revision)
        except RevisionConflict:
            return False
        return True

    async def list(self, tenant: str | None = None) -> list[SecretName]:
        """Names and dates, of one tenant or of all."""
        entries = await self._bucket.entries(f"{tenant}.>" if tenant else ">")
        names = (_shown(entry) for entry in entries)
        return sorted(names, key=lambda shown: (shown.tenant, shown.name))

    def watch(self) -> Watch:
        """The bucket's changes; keys are `<tenant>.<name>`. A connection whose secret changed is opened anew."""
        return self._bucket.watch()

    def _needed_keys(self, tenant: str, name: str) -> tuple[bytes, ...]:
        if not self._keys:
            raise SecretUnusable(
                f"secret {name} of tenant {tenant} needs `secrets: {{key: …}}` in bridge.yaml, which is not there"
            )
        return self._keys


def resolved(value: Any, secrets: Mapping[str, str]) -> Any:
    """A value of `auth` or `tls` with its secrets in place. secrets: by their names."""
    match value:
        case str() if reference := SECRET_REFERENCE.fullmatch(value):
            return secrets[reference[1]]
        case Mapping():
            return {key: resolved(one, secrets) for key, one in value.items()}
        case list():
            return [resolved(one, secrets) for one in value]
        case _:
            return value


def _record(entry: Entry) -> Sealed:
    try:
        return _decoder.decode(entry.value or b"")
    except msgspec.DecodeError:
        tenant, _, name = entry.key.partition(".")
        raise SecretUnusable(
            f"secret {name} of tenant {tenant} cannot be read; set it again: `bridge secret set {tenant} {name}`"
        ) from None


def _shown(entry: Entry) -> SecretName:
    tenant, _, name = entry.key.partition(".")
    return SecretName(tenant, name, _record(entry).set_at)
