"""A walsender that sends transactions before they commit (protocol version 2), and what version 1 would have sent."""

import random
from dataclasses import dataclass, field
from itertools import count

from tests.cdc.pgoutput_stream import (
    COLUMNS,
    LSN,
    ORDERS,
    STREAM_STOP,
    begin,
    commit,
    insert,
    message,
    relation,
    stream_abort,
    stream_commit,
    stream_start,
    truncate,
    update,
    within,
)

DESCRIBED = relation(ORDERS, "orders", COLUMNS, key=["id"])


@dataclass
class Sub:
    """A (sub)transaction; `xid` once it wrote something, its parents having theirs by then."""

    parent: "Sub | None"
    xid: int = 0
    streamed: bool = False

    def within(self, other: "Sub") -> bool:
        return self is other or (self.parent is not None and self.parent.within(other))


@dataclass(eq=False)
class Session:
    """One client's transaction. `changes`: what stands of it, each with whose it is; `sent`: how many were streamed."""

    top: Sub = field(default_factory=lambda: Sub(None))
    now: Sub = field(init=False)
    changes: list[tuple[Sub, bytes]] = field(default_factory=list)
    sent: int = 0
    described: bool = False

    def __post_init__(self) -> None:
        self.now = self.top


class Server:
    """`streamed` and `whole`: the messages of either protocol version, so far."""

    def __init__(self, choice: random.Random, *, messages: bool) -> None:
        self._random = choice
        self._messages = messages
        self._xids = count(2**32 - choice.randrange(1, 9))  # they wrap, and 0 is nobody's
        self._rows = count()
        self._lsn = LSN
        self.sessions: list[Session] = []
        self.streamed: list[bytes] = [DESCRIBED]
        self.whole: list[bytes] = [DESCRIBED]

    def step(self) -> None:
        """Somebody does something, or the server's memory is full."""
        choice = self._random.random()
        if not self.sessions or choice < 0.05:
            self.sessions.append(Session())
            return
        session = self._random.choice(self.sessions)
        if choice < 0.55:
            self._write(session)
        elif choice < 0.68:
            session.now = Sub(session.now)
        elif choice < 0.80:
            self._leave(session, rolls_back=self._random.random() < 0.6)
        elif choice < 0.93:
            self._stream(session)
        else:
            self.end(session, commits=self._random.random() < 0.7)

    def end(self, session: Session, *, commits: bool) -> None:
        self.sessions.remove(session)
        if not commits:
            if session.top.streamed:
                self.streamed.append(stream_abort(session.top.xid, session.top.xid))
            return
        if not session.top.xid:
            return
        self._lsn += 100
        changes = [change for _, change in session.changes]
        whole = [begin(self._lsn, session.top.xid), *changes, commit(self._lsn)]
        self.whole += whole
        if session.top.streamed:
            self._stream(session)
            self.streamed.append(stream_commit(session.top.xid, self._lsn))
        else:
            self.streamed += whole

    def _write(self, session: Session) -> None:
        self._assign(session.now)
        number = str(next(self._rows))
        changes = [
            insert(ORDERS, number, "7", "", ""),
            update(ORDERS, [number, "8", "", ""], ["1", None, None, None]),
            truncate(ORDERS),
        ]
        if self._messages:
            changes.append(message(transactional=True))
        session.changes.append((session.now, self._random.choice(changes)))

    def _assign(self, sub: Sub) -> None:
        if not sub.xid:
            if sub.parent:
                self._assign(sub.parent)
            sub.xid = next(self._xids) % 2**32 or next(self._xids) % 2**32

    def _leave(self, session: Session, *, rolls_back: bool) -> None:
        """The innermost savepoint is released, or rolled back to with all that was released into it."""
        left = session.now
        if left.parent is None:
            return
        session.now = left.parent
        if not rolls_back:
            return
        gone = [sub for sub, _ in session.changes if sub.within(left)]
        kept = [change for change in session.changes if not change[0].within(left)]
        session.sent = min(session.sent, len(kept))
        session.changes = kept
        aborted = {id(sub): sub for sub in [*gone, left] if sub.streamed}
        for sub in sorted(aborted.values(), key=lambda sub: (sub is left, (sub.xid + 2**31) % 2**32)):
            self.streamed.append(stream_abort(session.top.xid, sub.xid))
            session.described = False

    def _stream(self, session: Session) -> None:
        if not session.changes[session.sent :] or not session.top.xid:
            return
        top = session.top
        block = [stream_start(top.xid, first=not top.streamed)]
        top.streamed = True
        for sub, change in session.changes[session.sent :]:
            sub.streamed = True
            is_message = change[:1] == b"M"
            if not (is_message or session.described):
                block.append(within(sub.xid, DESCRIBED))
                session.described = True
            block.append(within(top.xid if is_message else sub.xid, change))
        self.streamed += [*block, STREAM_STOP]
        session.sent = len(session.changes)
