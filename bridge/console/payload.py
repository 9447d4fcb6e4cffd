"""A webhook's body as a JSON object; numbers are int or Decimal. Pure."""

from typing import Any

from eventbus.event import EventInvalid, decode_json

MAX_DEPTH = 100
"""Objects and lists in one another. Whoever reads the event has less stack left than we have."""


class PayloadInvalid(ValueError):
    """The body is no payload: says why, and quotes nothing of it."""


def read_payload(body: bytes) -> dict[str, Any]:
    """Raises PayloadInvalid for anything but a JSON object of valid Unicode."""
    try:
        payload = decode_json(body)
    except EventInvalid:
        raise PayloadInvalid("the body is not valid JSON") from None
    if not isinstance(payload, dict):
        raise PayloadInvalid("the body is JSON, but no object")
    _check_values(payload)
    return payload


def _check_values(payload: dict[str, Any]) -> None:
    level: list[Any] = [payload]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            if isinstance(container, dict):
                for name in container:
                    _check_text(name)
            inner += container.values() if isinstance(container, dict) else container
        for value in inner:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, float):  # NaN and Infinity, which JSON does not have
                raise PayloadInvalid("the body is not valid JSON")
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            return
    raise PayloadInvalid(f"the body nests more than {MAX_DEPTH} objects and lists in one another")


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PayloadInvalid("the body holds half of a surrogate pair, which is no Unicode text") from None
