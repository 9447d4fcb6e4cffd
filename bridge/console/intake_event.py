"""A webhook as the event that is published (docs/events.md). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from eventbus.event import HEADER_EVENT_ID, encode_json
from eventbus.group_commit import Outgoing
from eventbus.subjects import Subjects
from eventbus.tokens import escape, tenant_token

SCHEMA = "intake"
OPERATION = "message"
NO_TYPE = "event"
"""The table of a payload that tells no type."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook that passed every check. tenant_key: what events are routed by; received: UTC."""

    source: str
    tenant_key: str
    event_id: str
    payload: Mapping[str, Any]
    received: datetime
    key: Mapping[str, Any] | None = None

    @property
    def type(self) -> str:
        found = self.payload.get("type")
        return found if isinstance(found, str) and found else NO_TYPE


def event_id(source: str, webhook_id: str, tenant: str | None) -> str:
    """`<source>:w<webhook-id>`; `tenant`: the name, where each tenant's sender counts for itself.

    Neither name nor escaped id has a point, so no two can meet.
    """
    return f"{source}:w{escape(webhook_id)}" if tenant is None else f"{source}:w{tenant}.{escape(webhook_id)}"


def key_at(path: Sequence[str], payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """The event's key: the value at the path, under its last name; None where no single value stands there."""
    found: Any = payload
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    if not path or found is None or isinstance(found, dict | list):
        return None
    return {path[-1]: found}


def outgoing(webhook: Webhook, subjects: Subjects) -> Outgoing:
    """The event's message."""
    table = webhook.type
    event = {
        "v": 1,
        "id": webhook.event_id,
        "op": OPERATION,
        "tenant": webhook.tenant_key,
        "source": {
            "name": webhook.source,
            "db": None,
            "schema": SCHEMA,
            "table": table,
            "lsn": None,
            "commit_lsn": None,
            "ordinal": 0,
            "xid": None,
            "commit_ts": f"{webhook.received:%Y-%m-%dT%H:%M:%S.%f}Z",
        },
        "key": webhook.key,
        "before": None,
        "after": webhook.payload,
    }
    subject = subjects.event(webhook.source, tenant_token(webhook.tenant_key), SCHEMA, table, OPERATION)
    headers = f"{HEADER_EVENT_ID}: {webhook.event_id}\r\n"
    return Outgoing(subject.encode(), headers.encode(), encode_json(event), (webhook.event_id,))


def body_digest(body: bytes) -> str:
    """Tells two bodies apart and tells nothing of them."""
    return sha256(body).hexdigest()[:32]
