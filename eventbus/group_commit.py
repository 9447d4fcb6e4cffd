"""Group commit with a fence: what one writer sends in which atomic batch, and what each answer means (rule C7).

While one batch commits, the next one fills and is already sent, all but its last message: the position, whose
expected sequence only the answer to the commit brings. So a lone change waits for nobody and a flood fills batches
of a thousand. Pure: the caller performs each `Action` and reports the answer; time is passed in, in seconds.

    put(group) ──► waiting ──► filling (Send) ──► committing (Commit) ──► Committed
                      ▲            │ refused           │ unknown: Resolve ──► Reclaim
                      └────────────┴───────────────────┘

Where a writer allows it (`CommitLimits.few`), few lone messages need no batch, which costs the server syncs: each is
stored by itself, only while the position stands where we wrote it, and never before the one before it is answered.
To whoever claims the position they are what a torn batch left: a prefix of what was to be stored.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

import msgspec

from eventbus.fence import SILENCE, Refusal, Stored, classify_refusal

Mark = TypeVar("Mark")
"""The position after a group, as its writer understands it: opaque here."""

OrderKey = tuple[int | str, ...]


# not a named tuple: it is made in a third of the time, and the garbage collector need not walk thousands of them
class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One message. `headers`: whole lines, each with its CRLF, without the version line and the final blank one.

    key: its place in the writer's order, such as (LSN, ordinal); rises from message to message.
    """

    subject: bytes
    headers: bytes
    payload: bytes
    key: OrderKey


@dataclass(frozen=True, slots=True)
class Group(Generic[Mark]):
    """Messages that stand in one batch, in order, and the position that holds after them.

    Whole transactions where they fit, any number of them; no messages at all where only the position moves.
    """

    messages: Sequence[Outgoing]
    mark: Mark
    size: int = 0

    @classmethod
    def of(cls, messages: Sequence[Outgoing], mark: Mark) -> "Group[Mark]":
        return cls(messages, mark, sum(len(m.payload) + len(m.headers) + len(m.subject) for m in messages))


@dataclass(frozen=True, slots=True)
class CommitLimits:
    """How much goes into one batch, and how much may wait.

    messages, size: of one batch (the server takes 1,000 messages, the position among them); buffer: in bytes,
    of all that is put and not committed; patience: how often a refusal that waiting does not mend may repeat.
    few: so many groups of one message may wait and are stored without a batch, one by one; 0: every group is in one.
    lag_s, lag: so long, and so many of them, before the position follows.
    """

    messages: int = 999
    size: int = 4 * 2**20
    buffer: int = 16 * 2**20
    patience: int = 5
    few: int = 0
    lag_s: float = 1.0
    lag: int = 1_000


@dataclass(frozen=True, slots=True)
class Send:
    """Publish as messages `first`, `first`+1, … of the batch; ask for a reply to message 1: it brings refusals."""

    batch: str
    first: int
    messages: Sequence[Outgoing]


@dataclass(frozen=True, slots=True)
class Commit(Generic[Mark]):
    """Publish the position as the batch's last message, number `number`, expecting the position at `expected`.

    The batch's id is the position's token.
    """

    batch: str
    number: int
    mark: Mark
    expected: int


@dataclass(frozen=True, slots=True)
class Single:
    """Publish one message by itself, labelled with `id`, stored only while the position is the one at `expected`."""

    id: str
    message: Outgoing
    expected: int


@dataclass(frozen=True, slots=True)
class Resolve:
    """Read the position through the stream's leader, then call `resolved`."""


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Claim the position again (`fence.claim`), then call `reclaimed`; where that is refused, start over."""

    held: Stored


@dataclass(frozen=True, slots=True)
class Lost:
    """Somebody else wrote the position: stop writing, release what is owned, start over (C2)."""

    stored: Stored


@dataclass(frozen=True, slots=True)
class Failed:
    """The server refuses for a reason that waiting does not mend, `patience` times in a row."""

    code: int


Action = Send | Commit[Mark] | Single | Resolve | Reclaim | Lost | Failed


@dataclass(frozen=True, slots=True)
class Committed(Generic[Mark]):
    """Everything up to `mark` is stored: `size` bytes of `messages`. seq: of the position, which says so.

    single: it does not yet; it is the one before, and a single message was stored behind it.
    """

    mark: Mark
    seq: int
    messages: int
    size: int
    single: bool = False


class _Phase(Enum):
    RUN = auto()
    RESOLVE = auto()
    RECLAIM = auto()
    OVER = auto()


@dataclass(slots=True)
class _Batch(Generic[Mark]):
    id: str
    groups: list[Group[Mark]] = field(default_factory=list)
    unsent: list[Outgoing] = field(default_factory=list)
    count: int = 0
    size: int = 0
    single: bool = False


class GroupCommit(Generic[Mark]):
    """One writer's batches. Call `decide` until it returns None, after every `put`, answer and passed `wake`."""

    def __init__(self, new_id: Callable[[], str], fence: int, limits: CommitLimits | None = None) -> None:
        """`new_id` makes an id of at most 64 characters, never the same twice; `fence`: what a claim returned."""
        self._new_id = new_id
        self._fence = fence
        self._limits = limits or CommitLimits()
        self._waiting: deque[Group[Mark]] = deque()
        self._filling: _Batch[Mark] | None = None
        self._committing: _Batch[Mark] | None = None
        self._phase = _Phase.RUN
        self._asked: Action[Mark] | None = None
        self._buffered = 0
        self._refusals = 0
        self._singles = 0
        self._singles_since = 0.0
        self._ahead: Mark | None = None
        """What is stored and the position does not say yet."""
        self.wake: float | None = None
        """When to call `decide` again although nothing came: the end of a pause."""
        self.blocked: int | None = None
        """The code of the refusal (or SILENCE) that keeps us waiting, for `/readyz` and people."""

    @property
    def fence(self) -> int:
        """The sequence of the position that the next write expects."""
        return self._fence

    @property
    def room(self) -> bool:
        """Whether more may be put; where it is False, stop reading the source."""
        return self._buffered < self._limits.buffer

    @property
    def idle(self) -> bool:
        """Everything that was put is committed."""
        return not (self._waiting or self._filling or self._committing)

    def put(self, group: Group[Mark]) -> None:
        """Takes a group, after all that were put before it. Raises ValueError where no batch could hold it."""
        if len(group.messages) > self._limits.messages:
            raise ValueError(
                f"a group of {len(group.messages)} messages, a batch holds {self._limits.messages}"
            )
        self._buffered += group.size
        self._waiting.append(group)

    def decide(self, now: float) -> Action[Mark] | None:
        """The next thing to do, or None: nothing before the next answer, `put` or `wake`."""
        if self.wake is not None and now < self.wake:
            return None
        self.wake = None
        if self._asked is not None:
            action, self._asked = self._asked, None
            return action
        if self._phase is not _Phase.RUN:
            return None
        if self._are_few():
            return self._single(now) if self._committing is None else None
        self._fill()
        if self._filling is None:
            return None
        return self._send(self._filling) or self._commit(self._filling)

    def _are_few(self) -> bool:
        """Whether what waits needs no batch. Few that come while something commits wait for its answer."""
        return (
            self._filling is None
            and 0 < len(self._waiting) <= self._limits.few
            and all(len(group.messages) == 1 for group in self._waiting)
        )

    def _single(self, now: float) -> Single | Commit[Mark]:
        limits, batch = self._limits, _Batch[Mark](self._new_id())
        self._committing = batch
        if self._ahead is not None and (
            self._singles >= limits.lag or now - self._singles_since >= limits.lag_s
        ):
            batch.groups.append(Group((), self._ahead))
            return Commit(batch.id, 1, self._ahead, self._fence)
        group = self._waiting.popleft()
        batch.groups.append(group)
        batch.count, batch.size, batch.single = 1, group.size, True
        if self._ahead is None:
            self._singles, self._singles_since = 0, now
        return Single(batch.id, group.messages[0], self._fence)

    def _fill(self) -> None:
        while self._waiting and self._fits(self._waiting[0]):
            group = self._waiting.popleft()
            batch = self._filling = self._filling or _Batch(self._new_id())
            batch.groups.append(group)
            batch.unsent += group.messages
            batch.count += len(group.messages)
            batch.size += group.size

    def _fits(self, group: Group[Mark]) -> bool:
        batch, limits = self._filling, self._limits
        if batch is None:
            return True
        return batch.count + len(group.messages) <= limits.messages and batch.size + group.size <= limits.size

    def _send(self, batch: _Batch[Mark]) -> Send | None:
        if not batch.unsent:
            return None
        messages, batch.unsent = batch.unsent, []
        return Send(batch.id, batch.count - len(messages) + 1, messages)

    def _commit(self, batch: _Batch[Mark]) -> Commit[Mark] | None:
        if self._committing is not None:
            return None
        self._committing, self._filling = batch, None
        return Commit(batch.id, batch.count + 1, batch.groups[-1].mark, self._fence)

    def answered(self, batch: str, seq: int | None, code: int | None, now: float) -> Committed[Mark] | None:
        """The server's answer for a batch: its `seq`, or a refusal's `code`; neither: none came in time.

        A late answer says nothing and is ignored: of a batch that was given up, or after the position was asked for.
        """
        if self._phase is not _Phase.RUN:
            return None
        if self._committing is not None and self._committing.id == batch:
            if seq is not None:
                return self._committed(seq)
            self._refused(code, now)
        elif seq is None and self._filling is not None and self._filling.id == batch:
            # the position alone decides whether the batch before it was stored: leave that one its answer
            self._give_up(filling_only=True)
            self._pause(code, now)
        return None

    def _committed(self, seq: int) -> Committed[Mark]:
        batch = self._committing
        assert batch is not None
        self._committing, self._refusals, self.blocked = None, 0, None
        self._buffered -= batch.size
        mark = batch.groups[-1].mark
        if batch.single:
            self._ahead, self._singles = mark, self._singles + 1
        else:
            self._ahead, self._fence = None, seq
        return Committed(mark, self._fence, batch.count, batch.size, batch.single)

    def _refused(self, code: int | None, now: float) -> None:
        match classify_refusal(code):
            case Refusal.UNKNOWN | Refusal.FULL_MAYBE_TORN | Refusal.FOREIGN:
                self._give_up(filling_only=True)
                self._ask(_Phase.RESOLVE, Resolve())
                self._pause(code, now)
            case Refusal.NOT_STORED | Refusal.BUSY | Refusal.FULL:
                self._give_up()
                self._pause(code, now)

    def _pause(self, code: int | None, now: float) -> None:
        self._refusals += 1
        self.blocked = SILENCE if code is None else code
        refusal = classify_refusal(code)
        if refusal is Refusal.FOREIGN and self._refusals >= self._limits.patience:
            assert code is not None
            self._ask(_Phase.OVER, Failed(code))
            return
        first = 0.05 if refusal in (Refusal.NOT_STORED, Refusal.UNKNOWN) else 1.0
        self.wake = now + min(30.0, first * 2.0 ** min(self._refusals - 1, 10))

    def _ask(self, phase: _Phase, action: Action[Mark]) -> None:
        self._phase, self._asked = phase, action

    def _give_up(self, *, filling_only: bool = False) -> None:
        """Batches that will never be committed under their id: their groups wait again, in order."""
        for batch in (self._filling, None if filling_only else self._committing):
            if batch is not None:
                self._waiting.extendleft(reversed(batch.groups))
        self._filling = None
        if not filling_only:
            self._committing = None

    def resolved(self, stored: Stored) -> Committed[Mark] | None:
        """The answer to Resolve."""
        batch = self._committing
        assert self._phase is _Phase.RESOLVE
        assert batch is not None
        if stored.mark.token == batch.id:
            self._phase = _Phase.RUN
            return self._committed(stored.seq)
        if stored.seq == self._fence:
            self._give_up()
            self._ask(_Phase.RECLAIM, Reclaim(stored))
        else:
            self._ask(_Phase.OVER, Lost(stored))
        return None

    def reclaimed(self, fence: int, torn: OrderKey | None) -> None:
        """The answer to Reclaim: what the next write expects, and the key up to which messages are stored."""
        assert self._phase is _Phase.RECLAIM
        self._phase, self._fence = _Phase.RUN, fence
        if torn is not None:
            self._waiting = deque(self._without_stored(group, torn) for group in self._waiting)

    def _without_stored(self, group: Group[Mark], torn: OrderKey) -> Group[Mark]:
        rest = [message for message in group.messages if message.key > torn]
        if len(rest) == len(group.messages):
            return group
        kept = Group.of(rest, group.mark)
        self._buffered -= group.size - kept.size
        return kept
