"""The payload of a dead letter (docs/operator.md, "Dead letters"). Pure."""

from typing import Any

import msgspec

from connectors.protocol import Answer
from eventbus.event import EventInvalid, decode_json, encode_json
from pipeline.attempt import DeliveryId, moment
from pipeline.delivery_turn import RetryRecord
from pipeline.disposition import DeadLetter

MESSAGE_LENGTH = 1_000
RESPONSE_LENGTH = 2_000
"""What an answer may take: with the rest it fits into the margin that the largest event leaves (rule C9)."""


def dead_letter(
    delivery: DeliveryId,
    event: bytes,
    letter: DeadLetter,
    record: RetryRecord,
    mapping_version: str | None,
    advisory: str | None = None,
) -> bytes:
    """event: the delivery's payload, empty where it is an object's; advisory: the id of the server's, where that is how we know."""
    problem = letter.problem
    answer = problem.answer
    payload: dict[str, Any] = {
        "event": _event(event),
        "event_seq": delivery.event_seq,
        "delivery_seq": delivery.seq,
        "delivery_id": delivery.text,
        "tenant": delivery.tenant,
        "route": delivery.route,
        "reason": letter.reason,
        "error": {
            "class": problem.class_,
            "message": problem.message[:MESSAGE_LENGTH],
            "status": answer.status if answer else None,
            "response": _response(answer),
        },
        "attempts": record.attempts,
        "first_attempt": None if record.first is None else moment(record.first),
        "last_attempt": None if record.last is None else moment(record.last),
        "mapping_version": mapping_version,
        "advisory": advisory,
    }
    return msgspec.json.encode(payload)


def _event(payload: bytes) -> Any:
    """As it stands; what is no JSON, as text."""
    if not payload:
        return None
    try:
        decode_json(payload)
    except EventInvalid:
        return payload.decode("utf-8", "replace")
    return msgspec.Raw(payload)


def _response(answer: Answer | None) -> Any:
    """The body as it is where it is short, else the beginning of its text."""
    if answer is None or answer.body is None:
        return None
    text = answer.body if isinstance(answer.body, str) else encode_json(answer.body).decode()
    if len(text.encode()) <= RESPONSE_LENGTH:
        return answer.body if isinstance(answer.body, str) else msgspec.Raw(text.encode())
    return text.encode()[:RESPONSE_LENGTH].decode("utf-8", "ignore") + "…"
