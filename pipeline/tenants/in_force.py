"""What the worker delivers by: each tenant's version in force, its mappings compiled, its connections open.

The buckets TENANTS and PAUSES are followed; a change holds from the next turn of a delivery on. Mappings are compiled when they
are first used and kept by their text, connections opened when first used and swapped when they or a secret change.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import structlog

from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Connector, KindUnusable, SettingsInvalid
from connectors.registry import open_connector
from eventbus.buckets import Bucket, Entry, Watch
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.jail.frames import MappingSource
from pipeline.jail.renderer import JailedMapping, Renderer
from pipeline.mapping import MappingInvalid
from pipeline.secrets import SecretStore, SecretUnusable
from pipeline.side_by_side import side_by_side
from pipeline.tenants.model import Connection, Route, Tenant, decode_tenant, references
from pipeline.tenants.pause_store import PausesInvalid, PauseStore, pauses_of
from pipeline.tenants.pauses import Pause, TenantPauses
from pipeline.tenants.replaced_secrets import ReplacedSecrets, mark_of

EXCHANGES = 6
"""One delivery may take so many, each with the connection's timeout: login, CSRF token, request, and all of them again."""

log = structlog.get_logger()


class NotReady(Exception):
    """A route cannot deliver just now, for a reason that is none of its events': says which, and what to do."""


@dataclass(frozen=True, slots=True)
class RouteInForce:
    tenant: Tenant
    route: Route
    connection: Connection


@dataclass(slots=True)
class _Open:
    """mark: see ReplacedSecrets."""

    settings: ConnectionSettings
    connector: Connector
    mark: str


@dataclass(frozen=True, slots=True)
class _Compiled:
    revision: int
    mapping: JailedMapping


class TenantsInForce:
    """The tenants, as this worker knows them; it outlives connections to NATS."""

    def __init__(self, subjects: Subjects, secrets_keys: Sequence[bytes], egress: EgressPolicy) -> None:
        self._subjects = subjects
        self._secrets_keys = secrets_keys
        self._egress = egress
        self._bucket: Bucket | None = None
        self._secrets: SecretStore | None = None
        self._tenants: dict[str, Tenant | None] = {}
        self._revisions: dict[str, int] = {}
        self._unreadable: dict[str, str] = {}
        self._pauses: dict[str, TenantPauses] = {}
        self._told: list[Callable[[str], object]] = []
        self._renderer = Renderer()
        self._mappings: dict[str, dict[str, _Compiled]] = {}
        self._open: dict[tuple[str, str], _Open] = {}
        self._opening: dict[tuple[str, str], asyncio.Lock] = {}
        self.closed = 0
        """How often something was closed because it changed."""
        self._closing: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    async def follow(self, jetstream: JetStream, ready: asyncio.Event) -> None:
        """Follows the buckets on this connection until it is lost; sets `ready` when all tenants are known."""
        self._bucket = Bucket(jetstream, self._subjects.bucket("TENANTS"))
        self._secrets = SecretStore(jetstream, self._subjects, self._secrets_keys)
        store = PauseStore(jetstream, self._subjects)
        async with (
            self._bucket.watch() as tenants,
            self._secrets.watch() as secrets,
            store.watch() as pauses,
        ):
            # secrets may have changed while nobody followed them
            self._close_all()
            for entry in tenants.initial:
                self._take(entry)
            self._take_all_pauses(pauses.initial)
            ready.set()
            await side_by_side(
                self._follow_tenants(tenants), self._follow_secrets(secrets), self._follow_pauses(pauses)
            )

    async def warm_up(self) -> None:
        """Returns when what renders is there: the first delivery need not wait for it."""
        await self._renderer.warm_up()

    async def aclose(self) -> None:
        """Closes every connection, now."""
        self._close_all()
        self._ended.set()
        await self._renderer.aclose()
        if self._closing:
            await asyncio.wait(self._closing)

    def find(self, tenant: str, route: str) -> RouteInForce | None:
        """The route as it is in force; None: not known, for one of the reasons that `find_again` tells apart."""
        version = self._tenants.get(tenant)
        if version is None or route not in version.routes:
            return None
        found = version.routes[route]
        return RouteInForce(version, found, version.connections[found.connection])

    def pause_of(self, found: RouteInForce) -> Pause | None:
        """What keeps the route from sending: its own pause, its tenant's or its connection's, of several the oldest."""
        pauses = self._pauses.get(found.tenant.name)
        return None if pauses is None else pauses.holding(found.route.name, found.route.connection)

    def tell(self, told: Callable[[str], object]) -> Callable[[], None]:
        """From now on `told` is called with a tenant's name when its version or its pauses have changed.

        Returns what ends that.
        """
        self._told.append(told)
        return lambda: self._told.remove(told)

    async def find_again(self, tenant: str, route: str) -> RouteInForce | None:
        """Asks the bucket, for the case that what we follow is behind it; None: the route was removed.

        Raises NotReady: the tenant has never been there, or cannot be read.
        """
        assert self._bucket is not None, "follow first"
        entry = await self._bucket.get(tenant)
        if entry is not None:
            self._take(entry)
        if (why := self._unreadable.get(tenant)) is not None:
            raise NotReady(why)
        if tenant not in self._tenants:
            raise NotReady(f"tenant {tenant} is not in force: run `bridge tenant apply`")
        return self.find(tenant, route)

    async def mapping(self, found: RouteInForce) -> JailedMapping:
        """The route's mapping, compiled. Raises NotReady, RendererBroken."""
        tenant, name = found.tenant, found.route.mapping
        if name not in tenant.mappings:
            raise NotReady(
                f"tenant {tenant.name}: version {tenant.revision} lacks mapping {name}: apply it again"
            )
        of_tenant = self._mappings.setdefault(tenant.name, {})
        held = of_tenant.get(name)
        if held is None or held.revision != tenant.revision:
            held = of_tenant[name] = _Compiled(tenant.revision, await self._compiled(name, tenant))
        return held.mapping

    async def _compiled(self, name: str, tenant: Tenant) -> JailedMapping:
        written = tenant.mappings[name]
        source = MappingSource.of(written, dict(tenant.lookups))
        try:
            return await self._renderer.mapping(tenant.name, name, written.file, source)
        except MappingInvalid as invalid:
            raise NotReady(
                f"tenant {tenant.name}, mapping {name} cannot be used by this version: {invalid}"
            ) from None

    async def connector(self, found: RouteInForce) -> Connector:
        """The route's connection, open. Raises NotReady."""
        self._check_in_force(found)
        key = found.tenant.name, found.connection.name
        if (is_open := self._open.get(key)) is not None:
            return is_open.connector
        async with self._opening.setdefault(key, asyncio.Lock()):
            self._check_in_force(found)
            is_open = self._open.get(key)
            if is_open is None:
                is_open = self._open[key] = await self._opened_as_is(found)
            return is_open.connector

    def _check_in_force(self, found: RouteInForce) -> None:
        if self._tenants.get(found.tenant.name) is not found.tenant:
            raise NotReady(f"tenant {found.tenant.name} has changed at this moment; its new version is used")

    async def _opened_as_is(self, found: RouteInForce) -> _Open:
        """Never with what was replaced while it was being opened: nobody would close it again."""
        closed = self.closed
        is_open = await self._opened(found)
        if closed != self.closed:
            self._retire(is_open)
            raise NotReady(f"a secret or a version changed while tenant {found.tenant.name} was connected")
        return is_open

    async def _opened(self, found: RouteInForce) -> _Open:
        assert self._secrets is not None, "follow first"
        connection, where = (
            found.connection,
            f"tenant {found.tenant.name}, connection {found.connection.name}",
        )
        replaced = ReplacedSecrets(self._store, found.tenant.name, connection.auth)
        try:
            sections = {"auth": connection.auth, "tls": connection.tls}
            resolved = await self._secrets.resolve(found.tenant.name, sections)
            settings = ConnectionSettings(
                base_url=connection.base_url,
                auth=resolved["auth"],
                timeout_s=connection.timeout_s,
                concurrency=connection.concurrency,
                options=connection.options,
                files=connection.files,
                egress=self._egress,
                hidden=frozenset(path for path, _ in references(connection.auth)),
                tls=resolved["tls"],
                keep=replaced.keep,
            )
            return _Open(settings, open_connector(connection.connector, settings), replaced.mark)
        except (SecretUnusable, SettingsInvalid, KindUnusable) as error:
            raise NotReady(f"{where}: {error}") from None

    def _store(self) -> SecretStore:
        assert self._secrets is not None, "follow first"
        return self._secrets

    async def _follow_tenants(self, watch: Watch) -> None:
        while True:
            for entry in await watch.next():
                self._take(entry)

    async def _follow_secrets(self, watch: Watch) -> None:
        while True:
            for entry in await watch.next():
                self._close(entry.key.partition(".")[0], but=mark_of(entry))

    async def _follow_pauses(self, watch: Watch) -> None:
        while True:
            for entry in await watch.next():
                self._take_pauses(entry)

    def _take_all_pauses(self, entries: list[Entry]) -> None:
        before, self._pauses = self._pauses, {}
        for entry in entries:
            self._take_pauses(entry)
        for name in before.keys() - self._pauses.keys():
            self._tell(name)

    def _take_pauses(self, entry: Entry) -> None:
        """What cannot be read pauses the tenant: nothing is lost by waiting, and nothing sent that must not be."""
        try:
            self._pauses[entry.key] = pauses_of(entry)
        except PausesInvalid as error:
            log.error("a tenant is paused", tenant=entry.key, because=str(error))  # noqa: TRY400
            self._pauses[entry.key] = TenantPauses(Pause(time.time(), "this worker", str(error)))
        self._tell(entry.key)

    def _tell(self, tenant: str) -> None:
        for told in tuple(self._told):
            told(tenant)

    def _take(self, entry: Entry) -> None:
        name = entry.key
        if entry.revision <= self._revisions.get(name, 0):
            return
        self._revisions[name] = entry.revision
        try:
            tenant = None if entry.value is None else _kept(decode_tenant(entry.value, entry.revision))
        except msgspec.DecodeError as error:
            why = f"revision {entry.revision} of tenant {name} cannot be read ({error}): upgrade this worker"
            self._unreadable[name] = why
            self._tenants.pop(name, None)
            self._tell(name)
            return
        self._unreadable.pop(name, None)
        before, self._tenants[name] = self._tenants.get(name), tenant
        self._close(name, keep=before, now=tenant)
        self._tell(name)

    def _close(
        self, tenant: str, keep: Tenant | None = None, now: Tenant | None = None, but: str = ""
    ) -> None:
        """Closes the tenant's connections but those that are alike in both versions, and the one with the mark `but`."""
        self.closed += 1
        for key in [key for key in self._open if key[0] == tenant]:
            name = key[1]
            same = keep and now and keep.connections.get(name) == now.connections.get(name)
            if not same and self._open[key].mark != but:
                self._retire(self._open.pop(key))

    def _close_all(self) -> None:
        self.closed += 1
        for is_open in self._open.values():
            self._retire(is_open)
        self._open.clear()

    def _retire(self, is_open: _Open) -> None:
        task = asyncio.create_task(self._close_later(is_open))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_later(self, is_open: _Open) -> None:
        """What is under way on it may end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXCHANGES * is_open.settings.timeout_s):
                await self._ended.wait()
        await is_open.connector.aclose()


def _kept(tenant: Tenant) -> Tenant:
    """What a worker needs of a version; thousands of tenants share their mappings' texts."""
    return replace(tenant, written="", mappings={name: text.shared for name, text in tenant.mappings.items()})
