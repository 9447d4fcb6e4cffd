"""PostgreSQL in memory, as far as capture sees it: WAL, one slot, and the walsender that streams it as pgoutput.

It does what a server does at the moment it is called; the frames are real ones, built by hand.
"""

import random
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile

from tests.cdc.pgoutput_stream import (
    COLUMNS,
    INT8,
    ORDERS,
    OTHER,
    begin,
    commit,
    delete,
    frame,
    insert,
    message,
    relation,
    truncate,
    update,
)

COMMIT_RECORD = 48
DESCRIBED = (
    frame(relation(ORDERS, "orders", COLUMNS, COLUMNS, "f")),
    frame(relation(OTHER, "other", {"id": INT8}, ["id"])),
)
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Record:
    """What the slot decodes as one: a transaction or a message outside any, at `start`, up to `end` in the WAL."""

    start: int
    end: int
    frames: tuple[bytes, ...]
    events: tuple[Key, ...] = ()


@dataclass
class Slot:
    """created: what setup recorded; publication: its oid; moved: another consumer's word is the last one."""

    created: int
    publication: int
    confirmed: int
    moved: bool = False


@dataclass
class Walsender:
    """A replication connection; it owns the slot while it stands in `Server.owner`. `lost`: cut by the server."""

    frames: Iterator[bytes]
    pid: int
    feedback: deque[int] = field(default_factory=deque)
    lost: bool = False

    def read(self, count: int) -> list[bytes]:
        """At most so many frames; nothing where there is nothing new."""
        return list(takewhile(bool, islice(self.frames, count)))

    def cut(self, buffered: int) -> None:
        """The server hangs up; what is on its way is still read."""
        self.lost, self.frames = True, iter(self.read(buffered))


class Server:
    """The WAL grows by `append`; a slot is read by one walsender at a time."""

    def __init__(self, choice: random.Random) -> None:
        self.random = choice
        self.wal: list[Record] = []
        self.end = 0x16B3700
        self.slot = Slot(self.end, 1, self.end)
        self.owner: Walsender | None = None
        self.asks = True
        """Whether keepalives sometimes want an answer."""
        self._pids = 100

    def append(self) -> Record | None:
        """The next transaction, message or stretch of WAL that nobody wants."""
        choice = self.random.random()
        if choice < 0.2:
            self.end += self.random.choice((64, 5_000, 20 * 2**20))
            return None
        if choice < 0.35:
            start, self.end = self.end, self.end + 80
            frames = (frame(message(transactional=False, lsn=self.end), self.end),)
            record = Record(start, self.end, frames)
        else:
            self.end += 100 * self.random.choice((0, 0, 1))  # its rows; often they were written long before
            record = self._transaction(self.end)
            self.end = record.end
        self.wal.append(record)
        return record

    def _transaction(self, lsn: int) -> Record:
        changes: list[bytes] = []
        events: list[Key] = []
        ordinal = 0
        for _ in range(self.random.choice((0, 1, 1, 2, 3, 8, self.random.randint(0, 40)))):
            change, count, wanted = self._change()
            changes.append(change)
            events += [(lsn, ordinal + n) for n in range(1, count + 1) if wanted]
            ordinal += count
        payloads = [begin(lsn), *changes, commit(lsn)]
        frames = tuple(frame(payload, lsn) for payload in payloads)
        return Record(lsn, lsn + COMMIT_RECORD, frames, tuple(events))

    def _change(self) -> tuple[bytes, int, bool]:
        """A change, how many ordinals it takes, and whether they are events."""
        match self.random.randrange(10):
            case 0:
                return insert(OTHER, "1"), 1, False
            case 1:
                return message(transactional=True), 1, False
            case 2:
                return truncate(ORDERS), 1, True
            case 3:
                return delete(ORDERS, "1", "7", None, None), 1, True
            case 4:
                return update(ORDERS, ["1", "8", "", ""], ["1", "7", "", ""], b"O"), 2, True
            case _:
                return insert(ORDERS, "1", "7", "", ""), 1, True

    def acquire(self) -> Walsender | None:
        """START_REPLICATION … 0/0; None: 55006."""
        if self.owner is not None:
            return None
        self._pids += 1
        self.owner = Walsender(self._stream(self.slot.confirmed), self._pids)
        return self.owner

    def _stream(self, confirmed: int) -> Iterator[bytes]:
        """All whose commit begins at or after what is confirmed, and keepalives; nothing where it has caught up."""
        described = False
        place, sent = 0, confirmed
        while True:
            while place < len(self.wal):
                record = self.wal[place]
                place += 1
                if record.start < confirmed:
                    continue
                if self.random.random() < 0.3:
                    yield self._keepalive(max(sent, record.start))
                first, *rest = record.frames
                yield first
                if rest and not described:
                    yield from DESCRIBED
                    described = True
                for one in rest:
                    if self.random.random() < 0.02:
                        yield self._keepalive(max(sent, record.start))
                    yield one
                sent = record.end
            sent = max(sent, self.end)
            yield self._keepalive(sent)
            yield b""

    def _keepalive(self, wal_end: int) -> bytes:
        asks = self.asks and self.random.random() < 0.05
        return struct.pack(">cQqB", b"k", wal_end, 0, asks)

    def take_feedback(self, of: Walsender) -> None:
        """The walsender reads one status update."""
        lsn = of.feedback.popleft()
        if of is self.owner and lsn > self.slot.confirmed:
            self.slot.confirmed, self.slot.moved = lsn, False

    def release(self, by: Walsender) -> None:
        """The connection is over: what its walsender has already received still counts."""
        if by is not self.owner:
            return
        for _ in range(self.random.randint(0, len(by.feedback))):
            self.take_feedback(by)
        by.cut(self.random.randint(0, 6))
        self.owner = None

    def advance(self) -> None:
        """Somebody else reads the slot, which is free, up to some LSN."""
        ends = [lsn for record in self.wal[-8:] for lsn in (record.start, record.end)]
        to = self.random.choice([self.end, *ends])
        if to > self.slot.confirmed:
            self.slot.confirmed, self.slot.moved = to, True

    def make_anew(self) -> None:
        """Drops the slot and its publication, and makes others."""
        self.slot = Slot(self.end, self.slot.publication + 1, self.end)
