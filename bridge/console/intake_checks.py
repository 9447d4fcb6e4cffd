"""May this request become an event? Decided from what came, the time, and who is known. Pure."""

from dataclasses import dataclass, field
from datetime import datetime

from bridge.console.intake_event import Webhook, event_id, key_at
from bridge.console.intake_source import IntakeSource
from bridge.console.payload import PayloadInvalid, read_payload
from bridge.console.signature import SignatureHeaders, SignatureInvalid, check_signature


@dataclass(frozen=True, slots=True)
class KnownTenant:
    """A tenant in force. secrets: its own for this source, where the source has none."""

    name: str
    key: str
    secrets: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request with its whole body. tenant None: nobody of that name. received: UTC."""

    source: IntakeSource
    tenant: KnownTenant | None
    headers: SignatureHeaders
    body: bytes
    received: datetime


@dataclass(frozen=True, slots=True)
class Rejection:
    """The answer to a request that becomes no event. outcome: for log and metrics; path: into the payload."""

    status: int
    outcome: str
    error: str
    path: str | None = None
    retry_after: int | None = None


NO_TENANT = Rejection(404, "unknown_tenant", "there is no such tenant in force")


def checked(arrival: Arrival) -> Webhook | Rejection:
    """The webhook, or the first check that does not hold.

    Whoever cannot sign learns nothing of which tenants there are.
    """
    source, tenant = arrival.source, arrival.tenant
    own = () if tenant is None else tenant.secrets
    try:
        check_signature(
            arrival.headers,
            arrival.body,
            source.secrets or own,
            now=arrival.received.timestamp(),
            tolerance=source.tolerance,
        )
    except SignatureInvalid as error:
        return Rejection(401, "unsigned", str(error))
    if tenant is None:
        return NO_TENANT
    try:
        payload = read_payload(arrival.body)
    except PayloadInvalid as error:
        return Rejection(400, "invalid_json", str(error))
    if source.schema is not None and (complaint := source.schema.complaint(payload)):
        error_text = f"the payload does not fulfil the schema's {complaint.keyword!r}"
        return Rejection(422, "schema", error_text, complaint.path)
    return Webhook(
        source=source.name,
        tenant_key=tenant.key,
        event_id=event_id(source.name, arrival.headers.id, None if source.secrets else tenant.name),
        payload=payload,
        received=arrival.received,
        key=key_at(source.key, payload),
    )
