"""What is known of a backfill besides its place in the stream: who asked for what, and how far it is. Pure.

Key `<source>.<run>` of bucket BACKFILLS, JSON. Who asks writes it; the capture process that owns the slot does it.
"""

from typing import Literal

import msgspec

State = Literal["waiting", "running", "done", "failed", "cancelled"]
OPEN: frozenset[State] = frozenset({"waiting", "running"})
MOST_ROWS = 900
"""Of a chunk, unless it is asked for otherwise."""


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is read, and for whom. tenant: the tenant column's value; route: `<tenant>/<route>`, by names."""

    table: str
    tenant: str | None = None
    route: str | None = None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """chunk: rows read at once at most; rate: rows a second at most; rows: an estimate; done: rows published.

    Times are ISO 8601 in UTC, of the clocks of whoever wrote them; started: by the first owner.
    """

    target: Target
    state: State = "waiting"
    by: str = ""
    requested: str = ""
    chunk: int = MOST_ROWS
    rate: int | None = None
    rows: int | None = None
    done: int = 0
    started: str | None = None
    updated: str | None = None
    error: str | None = None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    def with_state(self, state: State) -> "RunRecord":
        return msgspec.structs.replace(self, state=state)

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


_decoder = msgspec.json.Decoder(RunRecord)


def decode_record(payload: bytes) -> RunRecord:
    """Raises ValueError."""
    try:
        return _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise ValueError(f"the record of a backfill cannot be read: {error}") from None
