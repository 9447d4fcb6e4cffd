"""Who may be written to: the tenants in force, and their own webhook secrets. Follows both buckets."""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec
import structlog

from bridge.console.intake_checks import KnownTenant
from bridge.console.intake_source import IntakeSource, secret_name
from bridge.console.signature import SecretInvalid, decode_secret
from eventbus.buckets import Bucket, Entry, Watch
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.secrets import SecretStore, SecretUnusable
from pipeline.side_by_side import side_by_side

BY_KEY = "key:"
log = structlog.get_logger()


class _Version(msgspec.Struct):
    """Of a tenant's version, all that is asked for here."""

    key: str


_decoder = msgspec.json.Decoder(_Version)


class TenantDirectory:
    """The tenants as this process knows them; it outlives connections to NATS."""

    def __init__(
        self, subjects: Subjects, secrets_keys: Sequence[bytes], sources: Iterable[IntakeSource]
    ) -> None:
        self._subjects = subjects
        self._secrets_keys = secrets_keys
        self._secret_names = {secret_name(source.name) for source in sources if not source.secrets}
        self._keys: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._secrets: dict[str, tuple[bytes, ...]] = {}

    async def follow(self, jetstream: JetStream, ready: asyncio.Event) -> None:
        """Follows the buckets on this connection until it is lost; sets `ready` when all is known."""
        bucket = Bucket(jetstream, self._subjects.bucket("TENANTS"))
        store = SecretStore(jetstream, self._subjects, self._secrets_keys)
        async with bucket.watch() as tenants, store.watch() as secrets:
            self._keys.clear()
            self._names.clear()
            self._secrets.clear()
            for entry in tenants.initial:
                self._take_tenant(entry)
            for entry in secrets.initial:
                self._take_secret(store, entry)
            ready.set()
            await side_by_side(self._follow_tenants(tenants), self._follow_secrets(store, secrets))

    def find(self, written: str, source: IntakeSource) -> KnownTenant | None:
        """`written`: a name, or `key:` and a key."""
        name = self._names.get(written.removeprefix(BY_KEY)) if written.startswith(BY_KEY) else written
        if name is None or name not in self._keys:
            return None
        own = self._secrets.get(f"{name}.{source.secret_name}", ())
        return KnownTenant(name, self._keys[name], own)

    async def _follow_tenants(self, watch: Watch) -> None:
        while True:
            for entry in await watch.next():
                self._take_tenant(entry)

    async def _follow_secrets(self, store: SecretStore, watch: Watch) -> None:
        while True:
            for entry in await watch.next():
                self._take_secret(store, entry)

    def _take_tenant(self, entry: Entry) -> None:
        before = self._keys.pop(entry.key, None)
        if before is not None and self._names.get(before) == entry.key:
            del self._names[before]
        if entry.value is None:
            return
        try:
            key = _decoder.decode(entry.value).key
        except msgspec.DecodeError as error:
            log.error("a tenant cannot be read and gets no webhooks", tenant=entry.key, because=str(error))  # noqa: TRY400
            return
        self._keys[entry.key] = key
        self._names[key] = entry.key

    def _take_secret(self, store: SecretStore, entry: Entry) -> None:
        tenant, _, name = entry.key.partition(".")
        if name not in self._secret_names:
            return
        self._secrets.pop(entry.key, None)
        if entry.value is None:
            return
        try:
            # several, separated by space, while one takes another's place
            self._secrets[entry.key] = tuple(map(decode_secret, store.opened(entry).split()))
        except (SecretUnusable, SecretInvalid) as error:
            log.error("a webhook secret cannot be used", tenant=tenant, name=name, because=str(error))  # noqa: TRY400
