"""What is in force: the tenants' versions in the bucket TENANTS, and their routing messages in EVENTS."""

from dataclasses import replace

import msgspec

from eventbus.buckets import Bucket, Entry
from eventbus.errors import EventBusError, JetStreamError
from eventbus.jetstream import WRONG_LAST_SEQUENCE, JetStream
from eventbus.position import position_headers
from eventbus.subjects import Subjects
from pipeline.router_position import RouterPosition
from pipeline.tenants.model import Tenant, decode_tenant, encode_tenant
from pipeline.tenants.routing import TenantRoutes, read_routes

_ROOM_FOR_HEADERS = 4096


class VersionInvalid(EventBusError):
    """A version in the bucket cannot be read: it is of a newer bridge, or not ours."""


class VersionTooLarge(EventBusError):
    """A tenant's files do not fit into one message."""


class RoutesConflict(EventBusError):
    """Somebody else has applied the tenant meanwhile."""


class TenantStore:
    """The versions. Methods raise as JetStream's do, and VersionInvalid."""

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._bucket = Bucket(jetstream, subjects.bucket("TENANTS"))
        self._max_bytes = jetstream.connection.max_payload - _ROOM_FOR_HEADERS

    async def get(self, name: str) -> Tenant | None:
        """The version in force, with its revision."""
        entry = await self._bucket.get(name)
        return None if entry is None else _tenant(entry)

    async def all(self) -> dict[str, Tenant]:
        """Every version in force, by the tenant's name."""
        tenants = [_tenant(entry) for entry in await self._bucket.entries()]
        return {tenant.name: tenant for tenant in tenants if tenant is not None}

    async def put(self, tenant: Tenant) -> Tenant:
        """Writes over `tenant.revision` (0: there is none); the version with its new revision.

        Raises RevisionConflict, VersionTooLarge.
        """
        payload = encode_tenant(tenant)
        if len(payload) > self._max_bytes:
            raise VersionTooLarge(
                f"tenant {tenant.name}: its files come to {len(payload):,} bytes, and this NATS server takes "
                f"{self._max_bytes:,} in one message; shorten its lookups, or raise the server's max_payload"
            )
        if tenant.revision:
            revision = await self._bucket.update(tenant.name, payload, tenant.revision)
        else:
            revision = await self._bucket.create(tenant.name, payload)
        return replace(tenant, revision=revision)


class RoutesStore:
    """The messages `routes.<tenant>` in EVENTS, and how far the routers are. Methods raise as JetStream's do."""

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._subjects = subjects

    async def get(self, tenant: str) -> tuple[int, TenantRoutes | None]:
        """The tenant's last message: its sequence (0: there is none) and what it says. Raises RoutingInvalid."""
        subject = self._subjects.routes(tenant)
        found = await self._jetstream.last_message(self._subjects.stream("EVENTS"), subject)
        return (0, None) if found is None else (found.seq, read_routes(found.seq, found.payload))

    async def put(self, tenant: str, message: bytes, over: int) -> int:
        """Replaces the message at sequence `over` (0: none); the new one's sequence. Raises RoutesConflict."""
        subject = self._subjects.routes(tenant)
        try:
            return await self._jetstream.publish(subject, message, position_headers(over))
        except JetStreamError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            raise RoutesConflict(
                f"tenant {tenant} was applied by somebody else at this moment; apply again"
            ) from None

    async def passed(self) -> int:
        """The sequence of EVENTS that the router is past; 0 before it has begun."""
        position = await self._jetstream.last_message(
            self._subjects.stream("DELIVERIES"), self._subjects.router_position(0)
        )
        return 0 if position is None else msgspec.json.decode(position.payload, type=RouterPosition).event_seq


def _tenant(entry: Entry) -> Tenant | None:
    if entry.value is None:
        return None
    try:
        return decode_tenant(entry.value, entry.revision)
    except msgspec.DecodeError as error:
        raise VersionInvalid(
            f"revision {entry.revision} of tenant {entry.key} in the bucket TENANTS cannot be read: {error}"
        ) from None
