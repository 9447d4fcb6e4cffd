"""The event's JSON and its headers: read and written without a float in between.

Shape of an event: docs/events.md. Numbers are int or Decimal, however long, so that 1273.10 stays 1273.10.
"""

import json
from decimal import Decimal
from typing import Any

import msgspec

HEADER_EVENT_ID = "Bridge-Event-Id"
HEADER_EVENT_SEQ = "Bridge-Event-Seq"
HEADER_OBJECT = "Bridge-Object"
HEADER_BACKFILL = "Bridge-Backfill"
"""On a read: how far its run is with it, as capture writes it (`cdc.backfill.label`)."""
HEADER_BACKFILL_ROUTE = "Bridge-Backfill-Route"
"""`<tenant>/<route>`: the only route that a read is for, whatever its operations say."""
HEADER_REPLAY = "Bridge-Replay"
"""On a delivery that is sent again after it was a dead letter: the sequence of the first delivery."""
HEADER_REPLAY_ID = "Bridge-Replay-Id"
"""On the same: which try at a replay stored it."""
HEADER_REPLAY_KEY = "Bridge-Replay-Key"
"""On one that is sent again under a new Idempotency-Key: what is added to it."""

_INT_DIGITS = 4_300
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class EventInvalid(ValueError):
    """The payload is not an event of ours: says why."""


def decode_event(payload: bytes) -> dict[str, Any]:
    """An event's members. Raises EventInvalid for anything but a JSON object."""
    try:
        event = _decoder.decode(payload)
    except (ValueError, msgspec.DecodeError, ArithmeticError, RecursionError):
        event = _decode_any_digits(payload)
        _check_encodable(event)
    if not isinstance(event, dict):
        raise EventInvalid(f"an event is a JSON object, this is {type(event).__name__}")
    return event


def _check_encodable(event: Any) -> None:
    """What cannot be written as JSON again cannot be rendered either."""
    try:
        encode_json(event)
    except (ValueError, RecursionError) as error:
        raise EventInvalid(f"not valid Unicode JSON: {error}") from None


def decode_json(payload: bytes) -> Any:
    """Any JSON value; numbers are int or Decimal. Raises EventInvalid."""
    try:
        return _decoder.decode(payload)
    except (ValueError, msgspec.DecodeError, ArithmeticError, RecursionError):
        return _decode_any_digits(payload)


def _decode_any_digits(payload: bytes) -> Any:
    # a numeric may have 131,072 digits; Python's int and msgspec stop at 4,300
    try:
        return json.loads(payload, parse_float=Decimal, parse_int=_integer)
    except (ValueError, ArithmeticError, RecursionError) as error:
        # a column of type json may nest thousands of levels, or hold 1e9999999999999999999
        raise EventInvalid(f"not valid JSON: {error}") from None


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < _INT_DIGITS else Decimal(digits)


def encode_json(value: Any) -> bytes:
    """dict, list, str, int, Decimal, bool and None as JSON; a Decimal as a number with its own digits."""
    return _encoder.encode(value)
