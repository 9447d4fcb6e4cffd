"""The payload of a dead letter (docs/operator.md, "Dead letters"). Pure."""

import re
from typing import Any

import msgspec

from connectors.protocol import Answer
from eventbus.event import EventInvalid, decode_event, encode_json
from eventbus.wire import header_lines
from pipeline.delivery.attempt import DeliveryId, moment
from pipeline.delivery.disposition import DeadLetter
from pipeline.delivery.retry_record import RetryRecord
from pipeline.dlq.stored_letter import HEADER_CLASS, HEADER_REASON

CLASS_BYTES = 100
MESSAGE_BYTES = 1_000
RESPONSE_BYTES = 1_500
"""What these may take as JSON: with the rest they fit into the margin that the largest event leaves (rule C9).

A server ends the connection of whoever publishes more than it takes.
"""
_PLAIN = re.compile(r"[!-~]([ -~]*[!-~])?")


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
            "class": _bounded(problem.class_, CLASS_BYTES),
            "message": _bounded(problem.message, MESSAGE_BYTES),
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


def letter_headers(letter: DeadLetter) -> bytes:
    """What is told of a dead letter without its payload, as header lines; a class that no header could hold is left out."""
    headers: dict[str, str] = {HEADER_REASON: letter.reason}
    class_ = letter.problem.class_
    if len(class_) <= CLASS_BYTES and _PLAIN.fullmatch(class_):
        headers[HEADER_CLASS] = class_
    return header_lines(headers)


def _event(payload: bytes) -> Any:
    """As it stands; what is no event, as text."""
    if not payload:
        return None
    try:
        decode_event(payload)
    except EventInvalid:
        return payload.decode("utf-8", "replace")
    return msgspec.Raw(payload)


def _response(answer: Answer | None) -> Any:
    """The body as it is where it is short, else the beginning of its text."""
    if answer is None or answer.body is None:
        return None
    if isinstance(answer.body, str):
        return _bounded(answer.body, RESPONSE_BYTES)
    text = encode_json(answer.body)
    return msgspec.Raw(text) if len(text) <= RESPONSE_BYTES else _bounded(text.decode(), RESPONSE_BYTES)


def _bounded(text: str, most: int) -> str:
    """The beginning that takes at most so many bytes as JSON, where one letter may take six."""
    short = text[:most]
    while (taken := len(msgspec.json.encode(short)) - 2) > most:
        short = short[: min(len(short) - 1, len(short) * most // taken)]
    return short
