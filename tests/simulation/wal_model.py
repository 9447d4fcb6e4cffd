"""The WAL as logical decoding reads it, and what a walsender makes of it: pgoutput's frames, whole or streamed.

What is sent before it commits differs from connection to connection, as `logical_decoding_work_mem` has it; the places
of the changes never do.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.cdc.pgoutput_stream import (
    COLUMNS,
    INT8,
    ORDERS,
    OTHER,
    STREAM_STOP,
    begin,
    commit,
    frame,
    relation,
    stream_abort,
    stream_commit,
    stream_start,
    within,
)
from tests.simulation.chance import Chance
from tests.simulation.orders_model import Change, Event

COMMIT_RECORD = 48
_DESCRIBED = (
    relation(ORDERS, "orders", COLUMNS, COLUMNS, "f"),
    relation(OTHER, "other", {"id": INT8}, ["id"]),
)
DESCRIBED = tuple(map(frame, _DESCRIBED))
Key = tuple[int, ...]
"""(LSN, ordinal), and for a backfill's row its number."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is decoded whole: a transaction or a message outside any, at `start`, up to `end` in the WAL."""

    start: int
    end: int
    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A change of a transaction whose end comes later."""

    start: int
    end: int
    xid: int
    change: Change


@dataclass(frozen=True, slots=True)
class Aborted:
    """Subtransactions that were rolled back, children first; or the whole, where `subxids` is just its xid."""

    start: int
    end: int
    xid: int
    subxids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """The end of a transaction whose changes were written before."""

    start: int
    end: int
    xid: int


Item = Record | Written | Aborted | Committed


def keys_of(lsn: int, changes: Sequence[Change]) -> Iterator[tuple[Key, Event]]:
    """The events of a transaction, by their places."""
    ordinal = 0
    for change in changes:
        for number, event in enumerate(change.events, ordinal + 1):
            yield (lsn, number), event
        ordinal += change.ordinals


class Decoding:
    """One connection's, from what the slot has confirmed on. streaming: it takes transactions before they commit."""

    def __init__(
        self, chance: Chance, confirmed: int, keepalive: Callable[[int], bytes], *, streaming: bool
    ) -> None:
        self.random = chance
        self._confirmed = confirmed
        self._keepalive = keepalive
        self._streaming = streaming
        self._eager = chance.choice((0.05, 0.3, 0.8))
        self._sent = confirmed
        self._described = False
        self._waiting: dict[int, list[Change]] = {}
        self._described_in: set[int] = set()
        self._streamed: dict[int, set[int]] = {}
        """Of transactions of which something was sent: the subtransactions of which something was."""

    def frames(self, wal: Sequence[Item], end: Callable[[], int]) -> Iterator[bytes]:
        """All whose commit begins at or after what is confirmed, and keepalives; nothing where it has caught up."""
        place = 0
        while True:
            while place < len(wal):
                item = wal[place]
                place += 1
                yield from self._item(item)
            self._sent = max(self._sent, end())
            yield self._keepalive(self._sent)
            yield b""

    def _item(self, item: Item) -> Iterator[bytes]:
        match item:
            case Record():
                if item.start >= self._confirmed:
                    yield from self._whole(item, item.frames)
            case Written(_, _, xid, change):
                self._waiting.setdefault(xid, []).append(change)
                if self._streaming and item.start >= self._confirmed and self.random.random() < self._eager:
                    yield from self._block(self.random.choice([xid, *self._waiting]), item.start)
            case Aborted():
                yield from self._aborted(item)
            case Committed():
                yield from self._committed(item)

    def _whole(self, item: Item, frames: Sequence[bytes]) -> Iterator[bytes]:
        if self.random.random() < 0.3:
            yield self._keepalive(max(self._sent, item.start))
        yield frames[0]
        if len(frames) > 1 and not self._described:
            yield from DESCRIBED
            self._described = True
        yield from self._with_signs_of_life(item, frames[1:])
        self._sent = item.end

    def _with_signs_of_life(self, item: Item, frames: Sequence[bytes]) -> Iterator[bytes]:
        for one in frames:
            if self.random.random() < 0.02:
                yield self._keepalive(max(self._sent, item.start))
            yield one

    def _block(self, xid: int, lsn: int) -> Iterator[bytes]:
        """What waits of a transaction, before its end."""
        changes = self._waiting.pop(xid, [])
        if not changes:
            return
        first = xid not in self._streamed
        self._streamed.setdefault(xid, set()).update(change.by for change in changes)
        frames = [frame(stream_start(xid, first=first), lsn)]
        if xid not in self._described_in:
            self._described_in.add(xid)
            frames += [frame(within(changes[0].by, described)) for described in _DESCRIBED]
        for change in changes:
            label = xid if change.nobodys else change.by
            frames.append(frame(within(label, change.payload), lsn))
        frames.append(frame(STREAM_STOP, lsn))
        yield from self._with_signs_of_life(Written(lsn, lsn, xid, changes[0]), frames)

    def _aborted(self, item: Aborted) -> Iterator[bytes]:
        xid = item.xid
        if xid in item.subxids:
            self._waiting.pop(xid, None)
        elif xid in self._waiting:
            self._waiting[xid] = [one for one in self._waiting[xid] if one.by not in item.subxids]
        streamed = self._streamed.get(xid)
        if streamed is None:
            return
        for subxid in item.subxids:
            if subxid in streamed or subxid == xid:
                self._described_in.discard(xid)
                yield frame(stream_abort(xid, subxid), item.start)
        if xid in item.subxids:
            del self._streamed[xid]

    def _committed(self, item: Committed) -> Iterator[bytes]:
        xid, lsn = item.xid, item.start
        if lsn < self._confirmed:
            self._waiting.pop(xid, None)
        elif xid in self._streamed:
            yield from self._block(xid, lsn)
            yield frame(stream_commit(xid, lsn), lsn)
            self._described |= xid in self._described_in
            del self._streamed[xid]
            self._sent = item.end
        else:
            changes = self._waiting.pop(xid, [])
            payloads = [begin(lsn, xid), *(change.payload for change in changes), commit(lsn)]
            yield from self._whole(item, [frame(payload, lsn) for payload in payloads])


def keepalive(wal_end: int, *, asks: bool) -> bytes:
    return struct.pack(">cQqB", b"k", wal_end, 0, asks)
