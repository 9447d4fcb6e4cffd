"""What is in force: the tenants' versions in the bucket TENANTS, and their routing messages in EVENTS."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from eventbus.batch_publisher import BatchPublisher
from eventbus.buckets import Bucket, Entry
from eventbus.errors import EventBusError, JetStreamError, NoAnswer
from eventbus.fenced_writer import COMMIT_TIMEOUT_S
from eventbus.group_commit import Outgoing
from eventbus.jetstream import WRONG_LAST_SEQUENCE, JetStream
from eventbus.message import Message
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.position import position_headers
from eventbus.subjects import Subjects
from pipeline.routing.position import RouterPosition
from pipeline.tenants.model import Tenant, decode_tenant, encode_tenant
from pipeline.tenants.routing import RoutingInvalid, TenantRoutes, read_routes
from pipeline.tenants.version import Version, Written, read_written

_ROOM_FOR_HEADERS = 8192
NOBODY = Written()


class VersionInvalid(EventBusError):
    """A version in the bucket cannot be read: it is of a newer bridge, or not ours."""


class VersionTooLarge(EventBusError):
    """A tenant's files do not fit into one message."""


class RoutesConflict(EventBusError):
    """Somebody else has applied the tenant meanwhile."""


class TenantStore:
    """The versions. Methods raise as JetStream's do."""

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._bucket = Bucket(jetstream, subjects.bucket("TENANTS"))
        self._max_bytes = jetstream.connection.max_payload - _ROOM_FOR_HEADERS

    async def get(self, name: str) -> Tenant | None:
        """The version in force, with its revision. Raises VersionInvalid."""
        entry = await self._bucket.get(name)
        return None if entry is None else _readable(_version(entry))

    async def all(self) -> dict[str, Tenant]:
        """Every version in force, by the tenant's name. Raises VersionInvalid."""
        tenants = {name: _readable(version) for name, version in (await self.versions()).items()}
        return {name: tenant for name, tenant in tenants.items() if tenant is not None}

    async def versions(self) -> dict[str, Version]:
        """Each tenant's last version, by its name; of a removed one its removal."""
        async with self._bucket.watch() as watch:
            return {entry.key: _version(entry) for entry in watch.initial}

    async def history(self, name: str) -> list[Version]:
        """What is kept of a tenant, oldest first."""
        return [_version(entry) for entry in await self._bucket.history(name)]

    async def at(self, name: str, revision: int) -> Version | None:
        """A version of a tenant; None where it is not kept any more."""
        entry = await self._bucket.at(name, revision)
        return None if entry is None else _version(entry)

    async def kept(self) -> dict[str, int]:
        """How many versions are kept, by the tenant's name; removals count."""
        return await self._bucket.revisions()

    async def made(self) -> str:
        """Unlike that of any other bucket: what is remembered of revisions holds for this one alone."""
        return await self._bucket.made()

    async def put(self, tenant: Tenant, written: Written = NOBODY) -> Tenant:
        """Writes over `tenant.revision` (0: there is none); the version with its new revision.

        Raises RevisionConflict, VersionTooLarge.
        """
        payload = encode_tenant(tenant)
        if len(payload) > self._max_bytes:
            raise VersionTooLarge(
                f"tenant {tenant.name}: its files come to {len(payload):,} bytes, and this NATS server takes "
                f"{self._max_bytes:,} in one message; shorten its lookups, or raise the server's max_payload"
            )
        header = written.header()
        revision = await self._bucket.update(tenant.name, payload, tenant.revision, headers=header)
        return replace(tenant, revision=revision)

    async def remove(self, name: str, revision: int, written: Written) -> int:
        """Removes the version at `revision`; the revision of its removal. Raises RevisionConflict."""
        return await self._bucket.delete(name, revision, headers=written.header())


@dataclass(frozen=True, slots=True)
class NewRoutes:
    """A message for a tenant's routes, over the last one at sequence `over` (0: none)."""

    tenant: str
    message: bytes
    over: int


class RoutesStore:
    """The messages `routes.<tenant>` in EVENTS, and how far the routers are. Methods raise as JetStream's do."""

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._subjects = subjects

    async def all(self) -> dict[str, tuple[int, TenantRoutes]]:
        """Every tenant's last message, by its name: the message's sequence and what it says. Raises VersionInvalid."""
        reading = Reading(self._subjects.stream("EVENTS"), [self._subjects.all_routes], None)
        found: dict[str, tuple[int, TenantRoutes]] = {}
        async with OrderedReader(self._jetstream, reading) as reader:
            async for message in reader.what_is_there():
                routes = _routes(message)
                found[routes.tenant] = (message.seq, routes)
        return found

    async def put(self, new: Sequence[NewRoutes]) -> None:
        """All of them, or none: nothing comes between them. Raises RoutesConflict."""
        try:
            if len(new) == 1:
                subject = self._subjects.routes(new[0].tenant)
                await self._jetstream.publish(subject, new[0].message, position_headers(new[0].over))
            else:
                await self._put_together(new)
        except JetStreamError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            names = " and ".join(one.tenant for one in new)
            raise RoutesConflict(f"{names}: applied by somebody else at this moment; apply again") from None

    async def _put_together(self, new: Sequence[NewRoutes]) -> None:
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        batch = f"routes-{secrets.token_hex(8)}"

        def answered(_: str, _seq: int | None, code: int | None) -> None:
            if not answer.done():
                answer.set_result(code)

        connection = self._jetstream.connection
        publisher = BatchPublisher(connection, answered)
        subjects = [self._subjects.routes(one.tenant) for one in new]
        outgoing = [
            Outgoing(subject.encode(), position_headers(one.over), one.message, ())
            for subject, one in zip(subjects, new, strict=True)
        ]
        last = outgoing.pop()
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await publisher.send(batch, 1, outgoing)
                await publisher.commit(batch, len(new), subjects[-1], last.headers, last.payload)
                code = await connection.unless_lost(answer)
        except TimeoutError:
            raise NoAnswer(f"stream EVENTS gave no answer to {', '.join(subjects)}; apply again") from None
        finally:
            publisher.forget(batch)
        if code is not None:
            raise JetStreamError(f"publish to {', '.join(subjects)}", 400, code, "the batch is refused")

    async def passed(self) -> int:
        """The sequence of EVENTS that the router is past; 0 before it has begun."""
        position = await self._jetstream.last_message(
            self._subjects.stream("DELIVERIES"), self._subjects.router_position(0)
        )
        return 0 if position is None else msgspec.json.decode(position.payload, type=RouterPosition).event_seq


def _routes(message: Message) -> TenantRoutes:
    try:
        return read_routes(message.seq, message.payload)
    except RoutingInvalid as error:
        raise VersionInvalid(f"{error}; upgrade this machine's bridge") from None


def _version(entry: Entry) -> Version:
    tenant, why = None, ""
    if entry.value is not None:
        try:
            tenant = decode_tenant(entry.value, entry.revision)
        except msgspec.DecodeError as error:
            why = (
                f"revision {entry.revision} of tenant {entry.key} in the bucket TENANTS cannot be read: {error}; "
                "upgrade this machine's bridge"
            )
    written = read_written(entry.headers)
    if entry.value is None:
        written = replace(written, how="remove")
    return Version(entry.key, entry.revision, entry.time, written, tenant, why)


def _readable(version: Version) -> Tenant | None:
    if version.unreadable:
        raise VersionInvalid(version.unreadable)
    return version.tenant
