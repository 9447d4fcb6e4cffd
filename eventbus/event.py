"""The event's JSON and its headers: read and written without a float in between.

Shape of an event: docs/events.md. Numbers are int or Decimal, however long, so that 1273.10 stays 1273.10.
"""

from decimal import Decimal
from typing import Any

import msgspec

HEADER_EVENT_ID = "Bridge-Event-Id"
HEADER_EVENT_SEQ = "Bridge-Event-Seq"
HEADER_OBJECT = "Bridge-Object"
HEADER_REPLAY = "Bridge-Replay"

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class EventInvalid(ValueError):
    """The payload is not an event of ours: says why."""


def decode_event(payload: bytes) -> dict[str, Any]:
    """An event's members. Raises EventInvalid for anything but a JSON object."""
    event = decode_json(payload)
    if not isinstance(event, dict):
        raise EventInvalid(f"an event is a JSON object, this is {type(event).__name__}")
    return event


def decode_json(payload: bytes) -> Any:
    """Any JSON value; numbers are int or Decimal. Raises EventInvalid."""
    try:
        return _decoder.decode(payload)
    except (ValueError, msgspec.DecodeError) as error:
        raise EventInvalid(f"not valid JSON: {error}") from None


def encode_json(value: Any) -> bytes:
    """dict, list, str, int, Decimal, bool and None as JSON; a Decimal as a number with its own digits."""
    return _encoder.encode(value)
