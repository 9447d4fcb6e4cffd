"""One event becomes one delivery for each route that wants it (rule T6). Pure.

Deliveries are made in the order of (event's sequence, tenant, route), which is also the order in which a torn batch
is taken up again. The payload is copied byte for byte; of the headers, ours and never the server's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eventbus.event import HEADER_BACKFILL, HEADER_BACKFILL_ROUTE, HEADER_EVENT_SEQ
from eventbus.group_commit import Group, Outgoing
from eventbus.subjects import Subjects, lane_of
from pipeline.routing.position import RouterMark

HEADER_TARGET = "Bridge-Target"
"""`<tenant>/<route>`: what a torn batch is recognised by."""
_EVENT_SEQ = HEADER_EVENT_SEQ.encode() + b":"
_NOT_COPIED = (_EVENT_SEQ, f"{HEADER_BACKFILL}:".encode())
_EVENT_ID = b"\r\nBridge-Event-Id: "
_NAMED = f"\r\n{HEADER_BACKFILL_ROUTE}: ".encode()

Target = tuple[str, str]
"""Names of tenant and route."""


@dataclass(frozen=True, slots=True)
class RoutedEvent:
    """What the router knows of an event: its sequence in EVENTS, its header block as it came, its payload."""

    seq: int
    header_block: bytes
    payload: bytes

    @property
    def id(self) -> str:
        """What `Bridge-Event-Id` says; "" where it is missing."""
        return self.header_block.partition(_EVENT_ID)[2].partition(b"\r\n")[0].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Fanout:
    """Makes deliveries. lanes: as the streams were made for."""

    subjects: Subjects
    lanes: int

    def groups(
        self, event: RoutedEvent, targets: Sequence[Target], after: Target | None = None
    ) -> Iterator[Group[RouterMark]]:
        """The event's deliveries, each a group of its own: one after the other may be stored (rule T7).

        targets: in order; after: of this event, deliveries up to this one are stored already. All but the last
        group leave a cursor in their mark.
        """
        rest = [target for target in targets if after is None or target > after]
        headers = _own_headers(event)
        for target in rest:
            mark = RouterMark(event.seq, event.id, None if target is rest[-1] else target)
            yield Group.of([self._delivery(event, headers, target)], mark)

    def _delivery(self, event: RoutedEvent, headers: bytes, target: Target) -> Outgoing:
        tenant, route = target
        subject = self.subjects.delivery(lane_of(tenant, self.lanes), tenant, route)
        name = f"{HEADER_TARGET}: {tenant}/{route}\r\n"
        return Outgoing(subject.encode(), headers + name.encode(), event.payload, (event.seq, tenant, route))


def _own_headers(event: RoutedEvent) -> bytes:
    lines = event.header_block.split(b"\r\n")[1:]
    own = [line for line in lines if line.startswith(b"Bridge-") and not line.startswith(_NOT_COPIED)]
    own.append(b"%b %d" % (_EVENT_SEQ, event.seq))
    return b"\r\n".join(own) + b"\r\n"


def named_route(header_block: bytes) -> Target | None:
    """The only route that a backfill's row is for; None: every route that wants it."""
    if _NAMED not in header_block:
        return None
    name = header_block.partition(_NAMED)[2].partition(b"\r\n")[0].decode()
    tenant, _, route = name.partition("/")
    return tenant, route


def delivery_key(headers: Mapping[str, str]) -> tuple[int, str, str]:
    """The place of a stored delivery in the router's order, from its headers. Raises ValueError, KeyError."""
    tenant, _, route = headers[HEADER_TARGET].partition("/")
    return int(headers[HEADER_EVENT_SEQ]), tenant, route
