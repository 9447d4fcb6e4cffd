"""Writers of one position, a stream, and the network between them: what happens next is the seed's choice.

A writer publishes 1, 2, 3, … in groups. Between any two of its steps it may crash, lose an answer, see another
writer claim, or have what it sent arrive late. Whatever is stored must be 1, 2, 3, … at every moment.
"""

from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from eventbus import fence
from eventbus.fence import (
    Answer,
    Claimed,
    ClaimLost,
    FenceMark,
    Look,
    Read,
    Request,
    Stored,
    Torn,
    Write,
    Written,
)
from eventbus.group_commit import (
    Commit,
    CommitLimits,
    Failed,
    Group,
    GroupCommit,
    Lost,
    OrderKey,
    Outgoing,
    Reclaim,
    Resolve,
    Send,
    Single,
)
from tests.simulation.chance import Chance
from tests.simulation.chronicle import Chronicle
from tests.simulation.jetstream_model import Draft, ModelMessage, StreamModel

POSITION = "position.s"
EVENTS = "events.s"
PREFIX = "c-"

Claim = Callable[[Stored, Callable[[FenceMark], bytes], str], Generator[Request, Answer, Claimed | ClaimLost]]


@dataclass(frozen=True)
class Rules:
    """The protocol's parts, so that a test can break one of them."""

    claim: Claim = fence.claim
    batches: Callable[..., GroupCommit[int]] = GroupCommit
    checks_expected: bool = True
    fences_singles: bool = True
    sees_singles: bool = True


@dataclass
class Connection:
    """What a writer has sent and the server has not seen yet, and the answers on their way back."""

    sent: deque[tuple[str, int, Draft, bool]] = field(default_factory=deque)
    answers: deque[tuple[str, int]] = field(default_factory=deque)
    open: bool = True


class World:
    """One run. `chaos` says whether anything still goes wrong."""

    def __init__(self, seed: int, rules: Rules, total: int = 30) -> None:
        self.chronicle = Chronicle(seed)
        self.note = self.chronicle.note
        self.violated = self.chronicle.violated
        self.random = Chance(seed)
        self.rivals = self.random.choice((1, 2))
        self.torn = self.random.choice((0.05, 0.3))
        self.unanswered = self.random.choice((0.02, 0.2))
        self.limits = CommitLimits(messages=4, few=(0, 1, 3)[seed % 3], lag=3)
        self.rules = rules
        self.total = total
        self.chaos = True
        self.stream = StreamModel()
        self.stream.checks_expected = rules.checks_expected
        self.stream.on_stored = self._stored
        self.connections: list[Connection] = []
        self.stored = 0
        self.acknowledged = 0
        self.ids = 0

    def chance(self, probability: float) -> bool:
        return self.chaos and self.random.random() < probability

    def new_id(self, prefix: str) -> str:
        self.ids += 1
        return f"{prefix}{self.ids}"

    def run(self) -> None:
        """Chaos with one or two writers, then one in peace, which must finish."""
        lives = [self._lives() for _ in range(self.rivals)]
        for _ in range(self.random.randint(50, 500)):
            self._happen(lives)
        self.chaos = False
        self.stream.capacity = 10**9
        survivor = self._lives()
        for _ in range(2_000):
            if self.stored == self.total and self.acknowledged == self.total:
                return
            next(survivor)
            for connection in self.connections:
                self._arrive(connection)
        raise self.violated(
            "it ends", f"stuck at {self.stored}, acknowledged {self.acknowledged} of {self.total}"
        )

    def acknowledge(self, mark: int) -> None:
        if mark > self.stored:
            raise self.violated("acknowledged is stored", f"{mark} is, and only {self.stored} are stored")
        self.acknowledged = max(self.acknowledged, mark)

    def _happen(self, lives: list[Generator[None]]) -> None:
        choice = self.random.random()
        if choice < 0.5:
            next(self.random.choice(lives))
        elif choice < 0.94:
            self.connections = [one for one in self.connections if one.open or one.sent]
            if waiting := [one for one in self.connections if one.sent]:
                self._arrive(self.random.choice(waiting))
        elif choice < 0.96:
            self.stream.capacity = self.random.choice((len(self.stream.messages), 10**9, 10**9))
        elif choice < 0.97:
            self._restart_server()
        else:
            victim = self.random.randrange(len(lives))
            self.note(("crash of", victim))
            lives[victim].close()
            lives[victim] = self._lives()

    def _restart_server(self) -> None:
        self.note(("nats-server restarts",))
        self.stream.restart()
        for connection in self.connections:
            connection.open = False
            connection.sent.clear()

    def _arrive(self, connection: Connection) -> None:
        """The server takes the next request of a connection, perhaps of one that is long dead."""
        if not connection.sent:
            return
        batch, number, draft, last = connection.sent.popleft()
        if self.chance(0.01):
            self.note(("lost on its way:", batch, number))
            return
        if not number:
            answer = self.stream.publish(draft)
        elif not last:
            answer = self.stream.add(batch, number, draft)
        else:
            torn = self.random.randrange(number) if self.chance(self.torn) else None
            answer = self.stream.commit(batch, number, draft, torn)
            if torn is not None and self.chance(0.3):
                self._restart_server()  # it was a loss of power
        unanswered = bool(answer) and self.chance(self.unanswered)
        if last:
            self.note(
                (batch, number, "of a dead process" if not connection.open else "", "is answered", answer)
            )
        if unanswered:
            self.note(("the answer is lost",))
        elif answer:
            connection.answers.append((batch, answer))

    def _stored(self, message: ModelMessage) -> None:
        if message.subject == POSITION:
            return
        number = int(message.headers["Number"])
        self.note(("stored", message.seq, "number", number))
        if number != self.stored + 1:
            name = "stored once, in order" if number <= self.stored else "nothing skipped"
            raise self.violated(name, f"{number} is stored after {self.stored}")
        self.stored = number

    def _lives(self) -> Generator[None]:
        """A writer that starts over whenever it loses what it owns."""
        while True:
            for _ in range(self.random.randrange(60) if self.chaos and self.rivals > 1 else 0):
                yield  # a standby waits before it claims
            connection = Connection()
            self.connections.append(connection)
            try:
                yield from SimulatedWriter(self, connection).life()
            finally:
                connection.open = False
            yield


class SimulatedWriter:
    """Performs what claim and GroupCommit decide; yields between any two steps, returns when it must start over."""

    def __init__(self, world: World, connection: Connection) -> None:
        self.world = world
        self.connection = connection
        self.now = 0.0
        self.mark = 0
        self.committing = ""

    def life(self) -> Generator[None, None, Any]:
        held = self.read()
        yield
        self.mark = position_mark(held)
        claimed = yield from self.claim(held)
        if isinstance(claimed, ClaimLost):
            return
        reached = int(claimed.torn.headers["Number"]) if claimed.torn else self.mark
        batches = self.world.rules.batches(
            lambda: self.world.new_id(PREFIX), claimed.fence, self.world.limits
        )
        batches.put(numbered(reached + 1, reached))
        while self.connection.open:
            if reached < self.world.total and self.world.random.random() < 0.5:
                last = min(self.world.total, reached + self.world.random.randint(1, 3))
                batches.put(numbered(reached + 1, last))
                reached = last
            for batch, answer in self.take_answers():
                self.report(
                    batches.answered(batch, max(answer, 0) or None, -min(answer, 0) or None, self.now)
                )
            if not (yield from self.perform(batches)):
                return

    def perform(self, batches: GroupCommit[int]) -> Generator[None, None, bool]:
        """One action; False: start over."""
        action = batches.decide(self.now)
        match action:
            case Send():
                yield from self.send(action)
            case Commit():
                self.send_commit(action)
            case Single():
                self.send_single(action)
            case Resolve():
                yield
                self.report(batches.resolved(self.read()))
            case Reclaim(held):
                claimed = yield from self.claim(held)
                if isinstance(claimed, ClaimLost):
                    return False
                torn = claimed.torn
                batches.reclaimed(claimed.fence, self.key_of(torn.headers) if torn else None)
            case Lost() | Failed():
                return False
            case None:
                self.now = batches.wake or self.now
                if not batches.idle and (self.world.chance(0.05) or not self.connection.sent):
                    self.report(batches.answered(self.committing, None, None, self.now))
        yield
        return True

    def send(self, some: Send) -> Generator[None]:
        for number, message in enumerate(some.messages, some.first):
            headers = {"Nats-Batch-Id": some.batch, **self.headers(message)}
            self.connection.sent.append((some.batch, number, Draft(EVENTS, message.payload, headers), False))
            yield

    def send_commit(self, commit: Commit[int]) -> None:
        draft = position_draft(self.encode(commit.mark, FenceMark(commit.batch)), commit.expected)
        # alone it needs no batch
        number = commit.number if commit.number > 1 else 0
        self.connection.sent.append((commit.batch, number, draft, True))
        self.committing = commit.batch

    def send_single(self, single: Single) -> None:
        headers = {fence.SINGLE_ID: single.id, **self.headers(single.message)}
        fenced = single.expected if self.world.rules.fences_singles else None
        draft = Draft(EVENTS, single.message.payload, headers, fenced, of=POSITION)
        self.connection.sent.append((single.id, 0, draft, True))
        self.committing = single.id

    def claim(self, held: Stored) -> Generator[None, None, Claimed | ClaimLost]:
        steps = self.world.rules.claim(
            held, lambda mark: self.encode(self.mark, mark), self.world.new_id("claim-")
        )
        answer: Any = None
        try:
            request = next(steps)
            while True:
                match request:
                    case Read():
                        answer = self.read()
                    case Write(payload, expected):
                        answer = yield from self.write(position_draft(payload, expected))
                    case Look(after, before):
                        answer = self.look(after, before)
                yield
                request = steps.send(answer)
        except StopIteration as end:
            outcome: Claimed | ClaimLost = end.value
            return outcome

    def write(self, draft: Draft) -> Generator[None, None, Written]:
        ticket = self.world.new_id("plain-")
        self.connection.sent.append((ticket, 0, draft, True))
        while self.connection.open and not self.world.chance(0.02):
            yield
            for batch, answer in self.take_answers():
                if batch == ticket:
                    return Written(answer) if answer > 0 else Written(None, -answer)
            if not self.connection.sent:
                break
        return Written(None)

    def read(self) -> Stored:
        found = self.world.stream.last(POSITION)
        return Stored.read(found.seq, found.payload) if found else fence.NOTHING

    def look(self, after: int, before: int) -> Torn | None:
        found = self.world.stream.between(EVENTS, after, before)
        mine = [m for m in found if self.mine(m)]
        return Torn(mine[-1].seq, mine[-1].headers) if mine else None

    def mine(self, message: ModelMessage) -> bool:
        headers = message.headers
        if fence.SINGLE_ID in headers:
            return self.world.rules.sees_singles and headers[fence.SINGLE_ID].startswith(PREFIX)
        return headers["Nats-Batch-Id"].startswith(PREFIX)

    def take_answers(self) -> list[tuple[str, int]]:
        answers = list(self.connection.answers)
        self.connection.answers.clear()
        return answers

    def report(self, committed: Any) -> None:
        if committed is not None:
            self.mark = committed.mark
            self.world.acknowledge(committed.mark)

    def headers(self, message: Outgoing) -> dict[str, str]:
        """What tells a stored message's key."""
        return {"Number": str(message.key[0])}

    def key_of(self, headers: Mapping[str, str]) -> OrderKey:
        return (int(headers["Number"]),)

    def encode(self, mark: Any, fence_mark: FenceMark) -> bytes:
        return msgspec.json.encode({"key": mark, **msgspec.to_builtins(fence_mark)})


def numbered(first: int, last: int) -> Group[int]:
    return Group.of([Outgoing(b"", b"", b"", (number,)) for number in range(first, last + 1)], last)


def position_draft(payload: bytes, expected: int) -> Draft:
    return Draft(POSITION, payload, {}, expected, rollup=True)


def position_mark(stored: Stored) -> int:
    return int(msgspec.json.decode(stored.payload)["key"]) if stored.payload else 0
