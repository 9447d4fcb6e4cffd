"""What `delivery` stands for in a mapping."""

from uuid import NAMESPACE_URL, uuid5

from pipeline.mapping.values import Value


def delivery_names(delivery_id: str, *, with_uuid: bool) -> dict[str, Value]:
    return {"id": delivery_id, "uuid": delivery_uuid(delivery_id)} if with_uuid else {"id": delivery_id}


def delivery_uuid(delivery_id: str) -> str:
    """The delivery's UUIDv5 (RFC 9562), for ERPs that want a UUID as the idempotency key."""
    return str(uuid5(NAMESPACE_URL, f"fracttal-bridge:{delivery_id}"))
