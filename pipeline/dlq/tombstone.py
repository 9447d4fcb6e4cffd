"""What stands in the place of a dead letter that a person has dealt with, and what a replayed delivery tells (rule R11). Pure.

A tombstone keeps a late keeper from writing the dead letter again, and tells a blocked key what became of it. It
expires by itself, later than what was replayed may live.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from eventbus.event import HEADER_REPLAY

Verdict = Literal["replayed", "discarded"]

HEADER_TOMBSTONE = "Bridge-Tombstone"
"""`replayed <sequence in DELIVERIES>` or `discarded`: told without reading the payload."""


class Tombstone(msgspec.Struct, frozen=True, omit_defaults=True):
    """replayed: the copy's sequence in DELIVERIES; None: discarded. at: seconds since the epoch; note: a discard's reason."""

    replayed: int | None = None
    by: str = ""
    at: float = 0.0
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        return "discarded" if self.replayed is None else "replayed"

    @property
    def headers(self) -> dict[str, str]:
        """What its message carries, beside its time to live."""
        end = "" if self.replayed is None else f" {self.replayed}"
        return {HEADER_TOMBSTONE: f"{self.verdict}{end}"}

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


_decoder = msgspec.json.Decoder(Tombstone)


def read_tombstone(headers: Mapping[str, str], payload: bytes = b"") -> Tombstone | None:
    """The tombstone that a message of DLQ is, None for an open dead letter.

    The headers are enough to know which of the two, and the copy's sequence.
    """
    words = headers.get(HEADER_TOMBSTONE, "").split()
    if not words:
        return None
    if payload:
        return _decoder.decode(payload)
    replayed = int(words[1]) if len(words) > 1 and words[1].isdecimal() else None
    return Tombstone(replayed)


def original_seq(headers: Mapping[str, str], seq: int) -> int:
    """The place of a delivery in its keys' order where they are blocked: of a replayed one, that of the first delivery.

    headers: the delivery's (or of its dead letter); seq: its sequence in DELIVERIES.
    """
    first = headers.get(HEADER_REPLAY, "")
    return int(first) if first.isdecimal() else seq
