"""The router's position: up to which event deliveries are stored (rule T1).

It is the last message of `position.router.<shard>` in DELIVERIES, written in the same atomic batch as the
deliveries before it; whoever wrote it last is the router.
"""

from typing import NamedTuple

import msgspec

from eventbus.fence import FenceMark


class RouterMark(NamedTuple):
    """A place between two deliveries.

    event_seq, event_id: the last event of which deliveries are stored (0 and "": none yet). cursor: the last
    tenant and route of that event where more are to follow; None: all are stored. released: the writer has left.
    """

    event_seq: int
    event_id: str
    cursor: tuple[str, str] | None = None
    released: bool = False


class StreamsMade(NamedTuple):
    """When the two streams were made, as the server says: a stream made anew begins its sequences again."""

    events: str
    deliveries: str


class RouterPosition(msgspec.Struct, frozen=True, kw_only=True):
    """The payload. cursor: `<tenant>/<route>`; writer: the process, unlike any other."""

    event_seq: int
    event_id: str
    cursor: str | None = None
    released: bool = False
    writer: str = ""
    events_created: str
    deliveries_created: str
    token: str = ""
    claim: bool = False
    scan_from: int = 0

    @property
    def mark(self) -> RouterMark:
        cursor = None
        if self.cursor is not None:
            tenant, _, route = self.cursor.partition("/")
            cursor = (tenant, route)
        return RouterMark(self.event_seq, self.event_id, cursor, self.released)

    @property
    def made(self) -> StreamsMade:
        return StreamsMade(self.events_created, self.deliveries_created)


_decoder = msgspec.json.Decoder(RouterPosition)


def encode_position(writer: str, made: StreamsMade, mark: RouterMark, fence: FenceMark) -> bytes:
    return msgspec.json.encode(
        RouterPosition(
            event_seq=mark.event_seq,
            event_id=mark.event_id,
            cursor=None if mark.cursor is None else "/".join(mark.cursor),
            released=mark.released,
            writer=writer,
            events_created=made.events,
            deliveries_created=made.deliveries,
            token=fence.token,
            claim=fence.claim,
            scan_from=fence.scan_from,
        )
    )


def decode_position(payload: bytes) -> RouterPosition:
    """Raises ValueError where the payload is no position of a router."""
    try:
        return _decoder.decode(payload)
    except (ValueError, msgspec.DecodeError) as error:
        raise ValueError(f"the router's stored position cannot be read: {error}") from None
