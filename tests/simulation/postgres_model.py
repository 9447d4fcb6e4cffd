"""PostgreSQL in memory, as far as capture sees it: transactions, WAL, one slot, and the walsender that reads it.

It does what a server does at the moment it is called; the frames are real ones, built by hand.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

from cdc.backfill.visibility import Snapshot
from tests.cdc.pgoutput_stream import begin, commit, frame, message
from tests.simulation.chance import Chance
from tests.simulation.orders_model import Change, Event, Orders, Transaction
from tests.simulation.wal_model import (
    COMMIT_RECORD,
    Aborted,
    Committed,
    Decoding,
    Item,
    Key,
    Record,
    Written,
    keepalive,
    keys_of,
)


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
    """The WAL grows by `append`; a slot is read by one walsender at a time.

    large: how often a transaction is one that goes on for long; slow: whether it takes a while from a commit's record
    until others see what was committed.
    """

    def __init__(self, choice: Chance, note: Callable[[tuple[object, ...]], None]) -> None:
        self.random = choice
        self.note = note
        self.wal: list[Item] = []
        self.end = 0x16B3700
        self.slot = Slot(self.end, 1, self.end)
        self.owner: Walsender | None = None
        self.asks = True
        """Whether keepalives sometimes want an answer."""
        self.large = choice.choice((0.0, 0.0, 0.3, 0.7))
        self.slow = choice.random() < 0.3
        self.orders = Orders(choice)
        self.expected: list[Key] = []
        """The places of all events, in order."""
        self.events: dict[Key, Event] = {}
        self.open: list[Transaction] = []
        self.hidden: list[Transaction] = []
        """Those whose commit is written and not yet seen by others."""
        self._pids = 100
        self._xid = 700
        self._completed = 700

    # transactions

    def append(self) -> None:
        """The next transaction, step of a long one, message or stretch of WAL that nobody wants."""
        choice = self.random.random()
        if choice < 0.15:
            self.end += self.random.choice((64, 5_000, 20 * 2**20))
        elif choice < 0.3:
            self.say(*self._message())
        elif self.open and self.random.random() < 0.7:
            self._go_on(self.random.choice(self.open))
        elif self.random.random() < self.large and len(self.open) < 2:
            self.open.append(Transaction(self._new_xid(), large=True))
            self._go_on(self.open[-1])
        else:
            self._short()
        if self.slow and self.hidden and self.random.random() < 0.5:
            self.appear()

    def say(self, prefix: str, content: bytes, event: Event | None = None) -> int:
        """A message outside transactions. Where its record ends."""
        start, self.end = self.end, self.end + 80
        payload = message(transactional=False, lsn=self.end, prefix=prefix, content=content)
        self.wal.append(Record(start, self.end, (frame(payload, self.end),)))
        self.note(("message", prefix, content, "at", self.end))
        if event is not None:
            self._expect([((self.end, 0), event)])
        return self.end

    def appear(self) -> None:
        """What one of the hidden transactions did is seen."""
        seen = self.hidden.pop(self.random.randrange(len(self.hidden)))
        self._completed = max(self._completed, seen.xid, *seen.subxids)
        self.orders.appear(seen)
        self.note(("transaction", seen.xid, "is seen"))

    def end_all(self) -> None:
        """No transaction is under way any more."""
        while self.open:
            self._commit(self.open[0])
        while self.hidden:
            self.appear()

    def snapshot(self) -> Snapshot:
        running = {one.xid for one in (*self.open, *self.hidden)}
        ahead = self._completed + 1
        return Snapshot(min(running, default=ahead), ahead, frozenset(xid for xid in running if xid < ahead))

    def commit_message(self) -> None:
        """A transaction with a logical message, by a session that waits until it has ended."""
        own = Transaction(
            self._new_xid(), changes=[Change(message(transactional=True, prefix="bridge.settle"))]
        )
        self._write_whole(own)
        self._completed = max(self._completed, own.xid)

    def _message(self) -> tuple[str, bytes, Event | None]:
        match self.random.randrange(4):
            case 0:
                value = f"at{self.end}."
                return (
                    "bridge.outbox",
                    b'{"topic":"t","payload":"%b"}' % value.encode(),
                    Event("message", value),
                )
            case 1:
                return "bridge.heartbeat", b"1", None
            case _:
                return "app", b"x", None

    def _short(self) -> None:
        self.end += 100 * self.random.choice((0, 0, 1))  # its rows; often they were written long before
        ended = Transaction(self._new_xid())
        for _ in range(self.random.choice((0, 1, 1, 2, 3, 8, self.random.randint(0, 14)))):
            ended.changes.append(self.orders.change(ended))
        self._ended(ended, self._write_whole(ended))

    def _write_whole(self, ended: Transaction) -> int:
        """Where its commit record begins."""
        lsn, self.end = self.end, self.end + COMMIT_RECORD
        payloads = [begin(lsn, ended.xid), *(change.payload for change in ended.changes), commit(lsn)]
        self.wal.append(Record(lsn, self.end, tuple(frame(payload, lsn) for payload in payloads)))
        return lsn

    def _go_on(self, within: Transaction) -> None:
        """A long transaction's next steps."""
        for _ in range(self.random.randint(1, 8)):
            match self.random.randrange(16):
                case 0:
                    within.savepoints.append((0, dict(within.own), len(within.changes)))
                case 1 if within.savepoints:
                    self._roll_back(within, self.random.randrange(len(within.savepoints)))
                case 2 if within.savepoints:
                    self._release_savepoint(within)
                case 3:
                    self._commit(within)
                    return
                case 4 if self.random.random() < 0.4:
                    self._abort(within)
                    return
                case _:
                    self._write(within)

    def _write(self, within: Transaction) -> None:
        for place, (subxid, own, count) in enumerate(within.savepoints):
            if not subxid:
                # a subtransaction gets its xid with its first change, after its parents'
                within.savepoints[place] = self._new_xid(), own, count
                within.subxids.append(within.savepoints[place][0])
        change = self.orders.change(within)
        change = Change(change.payload, change.ordinals, change.events, within.writes_as, change.nobodys)
        within.changes.append(change)
        start, self.end = self.end, self.end + 100
        self.wal.append(Written(start, self.end, within.xid, change))

    def _roll_back(self, within: Transaction, to: int) -> None:
        gone = within.savepoints[to:]
        _, within.own, count = gone[0]
        within.savepoints = within.savepoints[:to]
        first = gone[0][0]
        if first:
            # what was released within it goes as well
            subxids = tuple(subxid for subxid in reversed(within.subxids) if subxid >= first)
            within.subxids = [subxid for subxid in within.subxids if subxid < first]
            self._completed = max(self._completed, *subxids)
            self._log(Aborted, within.xid, (*(one for one in subxids if one != first), first))
        within.changes = within.changes[:count]
        self.note(("transaction", within.xid, "rolls back to a savepoint:", first))

    def _release_savepoint(self, within: Transaction) -> None:
        within.savepoints.pop()

    def _commit(self, ended: Transaction) -> None:
        self.open.remove(ended)
        start, self.end = self.end, self.end + COMMIT_RECORD
        self.wal.append(Committed(start, self.end, ended.xid))
        self._ended(ended, start)

    def _abort(self, ended: Transaction) -> None:
        self.open.remove(ended)
        self._log(Aborted, ended.xid, (*reversed(ended.subxids), ended.xid))
        self.orders.release(ended)
        self._completed = max(self._completed, ended.xid, *ended.subxids)
        self.note(("transaction", ended.xid, "rolls back"))

    def _log(self, kind: type[Aborted], xid: int, subxids: tuple[int, ...]) -> None:
        start, self.end = self.end, self.end + COMMIT_RECORD
        self.wal.append(kind(start, self.end, xid, subxids))

    def _ended(self, ended: Transaction, lsn: int) -> None:
        self.orders.commit(ended, lsn)
        self._expect(keys_of(lsn, ended.changes))
        self.note(("transaction", ended.xid, "commits at", lsn, "changes:", len(ended.changes)))
        self.hidden.append(ended)
        if not self.slow:
            self.appear()

    def _expect(self, events: Sequence[tuple[Key, Event]] | Iterator[tuple[Key, Event]]) -> None:
        for key, event in events:
            self.expected.append(key)
            self.events[key] = event

    def _new_xid(self) -> int:
        self._xid += 1
        return self._xid

    # replication

    def acquire(self, *, streaming: bool) -> Walsender | None:
        """START_REPLICATION … 0/0; None: 55006."""
        if self.owner is not None:
            return None
        self._pids += 1
        decoding = Decoding(self.random, self.slot.confirmed, self._keepalive, streaming=streaming)
        self.owner = Walsender(decoding.frames(self.wal, lambda: self.end), self._pids)
        self.note(
            ("the slot is taken at", self.slot.confirmed, "streaming" if streaming else "not streaming")
        )
        return self.owner

    def _keepalive(self, wal_end: int) -> bytes:
        return keepalive(wal_end, asks=self.asks and self.random.random() < 0.05)

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
        self.note(("the slot is let go at", self.slot.confirmed))

    def advance(self) -> None:
        """Somebody else reads the slot, which is free, up to some LSN."""
        ends = [lsn for item in self.wal[-8:] for lsn in (item.start, item.end)]
        to = self.random.choice([self.end, *ends])
        if to > self.slot.confirmed:
            self.slot.confirmed, self.slot.moved = to, True
            self.note(("somebody else moves the slot to", to))

    def make_anew(self) -> None:
        """Drops the slot and its publication, and makes others: that waits for all transactions."""
        self.end_all()
        self.slot = Slot(self.end, self.slot.publication + 1, self.end)
        self.note(("another slot, at", self.end))
