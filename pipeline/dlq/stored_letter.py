"""A dead letter as it is read again from DLQ: for people, and for the copy that a replay sends. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from eventbus.event import HEADER_OBJECT, HEADER_REPLAY, HEADER_REPLAY_ID, HEADER_REPLAY_KEY
from eventbus.wire import header_lines
from pipeline.dlq.tombstone import original_seq

_OWN = "Bridge-"
HEADER_REASON = "Bridge-Reason"
HEADER_CLASS = "Bridge-Class"
_NOT_COPIED = (HEADER_REASON, HEADER_CLASS, HEADER_REPLAY_ID)
"""Headers that tell of the dead letter, or of an earlier replay, not of the delivery."""


class LetterError(msgspec.Struct, frozen=True):
    """What went wrong. response: the ERP's answer as JSON."""

    class_: str = msgspec.field(name="class", default="")
    message: str = ""
    status: int | None = None
    response: msgspec.Raw = msgspec.Raw(b"null")


class StoredLetter(msgspec.Struct, frozen=True):
    """The payload (docs/operator.md, "Dead letters"). event: the JSON as it stands; `null` where it is an object's."""

    tenant: str
    route: str
    reason: str
    delivery_id: str
    delivery_seq: int
    event: msgspec.Raw = msgspec.Raw(b"null")
    event_seq: int = 0
    error: LetterError = LetterError()
    attempts: int = 0
    first_attempt: str | None = None
    last_attempt: str | None = None
    mapping_version: str | None = None
    advisory: str | None = None

    @property
    def may_have_arrived(self) -> bool:
        """Whether the ERP may have what it did not confirm, so that only the same key tells it a repeat."""
        # `uncertain` is the class of an attempt that got no answer, too
        return self.reason in ("uncertain", "crashed") or self.error.class_ == "uncertain"


class LetterUnreadable(ValueError):
    """The payload is no dead letter: says why."""


_decoder = msgspec.json.Decoder(StoredLetter)


def read_letter(payload: bytes) -> StoredLetter:
    """Raises LetterUnreadable."""
    try:
        return _decoder.decode(payload)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise LetterUnreadable(f"not a dead letter: {error}") from None


class Copy(msgspec.Struct, frozen=True):
    """What a replay sends: headers by name, and the event, byte for byte."""

    headers: dict[str, str]
    payload: bytes

    @property
    def header_lines(self) -> bytes:
        return header_lines(self.headers)


def copy_of(headers: Mapping[str, str], payload: bytes, token: str, *, new_key: bool) -> Copy:
    """The delivery again, of a dead letter as it is stored.

    token: the copy's HEADER_REPLAY_ID; new_key: its attempts bear another Idempotency-Key than all before. Raises
    LetterUnreadable.
    """
    letter = read_letter(payload)
    own = {
        name: value for name, value in headers.items() if name.startswith(_OWN) and name not in _NOT_COPIED
    }
    own[HEADER_REPLAY] = str(original_seq(headers, letter.delivery_seq))
    own[HEADER_REPLAY_ID] = token
    if new_key:
        own[HEADER_REPLAY_KEY] = str(letter.delivery_seq)
    return Copy(own, b"" if HEADER_OBJECT in own else _event_bytes(letter.event))


def _event_bytes(event: msgspec.Raw) -> bytes:
    text = bytes(event)
    if text.startswith(b'"'):  # the payload was no JSON, and stands there as text
        value: Any = msgspec.json.decode(text)
        return str(value).encode("utf-8", "surrogatepass")
    return text
