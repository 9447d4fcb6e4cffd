"""Workers of one lane, a server and ERPs in one thread: what happens next is the seed's choice.

Between any two steps a worker may crash, stop for a while, lose its lease, or lose an answer; the server may be
killed and give back what was confirmed. The invariants are checked at every step, by name.
"""

import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from connectors.protocol import Delivered, Outcome, Rejected, RetryLater, Unavailable, Uncertain
from pipeline.delivery_turn import (
    Bury,
    Known,
    ReadRecord,
    Render,
    Rendered,
    Report,
    RetryRecord,
    Rules,
    Send,
    Sent,
    Settle,
    Turn,
    Waiting,
    WriteRecord,
    take_turn,
)
from pipeline.dispatch import Dispatch, GateSettings
from pipeline.lane_state import Barrier, LaneState, Taken
from pipeline.lease import Lease, LeaseWatch, Tenure
from pipeline.settled_memory import SettledMemory
from pipeline.takeover import (
    ConsumerFacts,
    Inspect,
    ReadDeadLetters,
    ReadState,
    State,
    Sweep,
    TakenOver,
    WriteState,
    take_over,
)
from pipeline.tenants.model import BreakerPolicy, RetryPolicy
from tests.simulation.jetstream_model import ConsumerModel, Draft, ModelMessage, StreamModel

POLICY = RetryPolicy(max_attempts=4, initial_s=0.5, factor=2, max_s=4, jitter=0.2)
GATE = GateSettings(2, BreakerPolicy(failures=3, window_s=60, open_s=2))
PULL_S = 1.0
"""So long after its last valid moment a pull of a worker may still be open at the server."""


class Violated(AssertionError):
    """What must hold does not."""


@dataclass(frozen=True)
class LaneRules:
    """The protocol's parts, so that a test can break one of them."""

    barrier: Callable[[Barrier], Barrier] = lambda barrier: barrier
    confirms_before_the_next: bool = True
    remembers: bool = True
    reads_dead_letters: bool = True
    checks_lease: bool = True
    sweeps: bool = True
    notes_intents: bool = True
    counts_deliveries: bool = True


class Bucket:
    """Keys under compare-and-set."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[int, Any]] = {}
        self._revision = 0

    def get(self, key: str) -> tuple[int, Any]:
        return self.values.get(key, (0, None))

    def update(self, key: str, value: Any, expected: int) -> int | None:
        if self.get(key)[0] != expected:
            return None
        self._revision += 1
        self.values[key] = (self._revision, value)
        return self._revision


@dataclass
class Fate:
    """What a delivery will meet. unsafe: must not be sent twice; answers: before the ERP takes it."""

    route: str
    key: int
    unsafe: bool
    answers: list[str]


class LaneWorld:
    """One run. kills: workers crash; else the server does, and one worker lives through it all.

    Both at once may bring back what nobody remembers, which nobody promises otherwise.
    """

    def __init__(self, seed: int, rules: LaneRules, total: int = 14) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.rules = rules
        self.kills = self.random.random() < 0.7
        self.chaos = True
        self.now = 1000.0
        self.stream = StreamModel()
        self.consumer = ConsumerModel(self.stream, "deliveries.>")
        self.lanes, self.retry, self.dead = Bucket(), Bucket(), Bucket()
        self.fates: dict[int, Fate] = {}
        self.booked: list[int] = []
        self.excused: dict[int, int] = {}
        self.total = total
        self.down = False
        names = ("a", "b") if self.kills else ("a",)
        self.workers = [SimulatedWorker(self, name) for name in names]

    def run(self) -> None:
        for _ in range(self.random.randint(100, 700)):
            self._happen()
        self.chaos, self.down = False, False
        for _ in range(12_000):
            if len(self.fates) < self.total:
                self._publish()
            elif self._finished():
                return
            self._pass_time()
            for worker in self.workers:
                worker.step()
        raise self.violated("every delivery ends", f"pending {self.consumer.pending}, booked {self.booked}")

    def violated(self, invariant: str, what: str) -> Violated:
        return Violated(f"seed {self.seed}: {invariant}: {what}")

    def chance(self, probability: float) -> bool:
        return self.chaos and self.random.random() < probability

    def _happen(self) -> None:
        choice = self.random.random()
        if choice < 0.70:
            self.random.choice(self.workers).step()
        elif choice < 0.85:
            self._pass_time()
        elif choice < 0.93:
            self._publish()
        elif choice < 0.96:
            self.consumer.flush()
        elif choice < 0.97:
            self.down = not self.down
        elif choice < 0.98:
            self.random.choice(self.workers).stopped_until = self.now + self.random.choice((0.5, 3, 6, 12))
        elif self.kills and choice < 0.99:
            self.random.choice(self.workers).crash()
        elif not self.kills:
            self.consumer.crash()
            self.workers[0].lose("the connection")

    def _pass_time(self) -> None:
        self.now += self.random.choice((0.05, 0.1, 0.3))
        if self.random.random() < 0.002:
            self.now += 61
            self.consumer.expire()

    def _publish(self) -> None:
        if len(self.fates) == self.total:
            return
        unsafe = self.random.random() < 0.3
        answers = self.random.choices(
            ("later", "uncertain", "no"), (3, 1, 0.5), k=self.random.choice((0, 0, 1, 2))
        )
        fate = Fate("u" if unsafe else "s", self.random.randrange(3), unsafe, answers)
        seq = self.stream.publish(Draft(f"deliveries.0.acme.{fate.route}"))
        self.fates[seq] = fate

    def _finished(self) -> bool:
        over = set(self.booked) | {int(key) for key in self.dead.values}
        return over == set(self.fates) and not self.consumer.pending

    # ── What the ERP and the server do, and what must hold then ──────────────────────────────────────────────────

    def erp(self, seq: int) -> Outcome:
        fate = self.fates[seq]
        if str(seq) in self.dead.values:
            raise self.violated("nothing is sent after its dead letter", f"{seq}")
        if self.down:
            return Unavailable("down")
        answer = fate.answers.pop(0) if fate.answers and self.chaos else ""
        if answer == "later":
            return RetryLater("busy")
        if answer == "no":
            return Rejected("no")
        if answer == "uncertain" and self.random.random() < 0.5:
            return Uncertain("cut before")
        self._book(seq, fate)
        return Uncertain("cut after") if answer == "uncertain" else Delivered(None)

    def _book(self, seq: int, fate: Fate) -> None:
        line = (fate.route, fate.key)
        later = [other for other in self.booked if other > seq and self._line(other) == line]
        if later:
            raise self.violated("each key in order", f"{seq} is booked after {later}")
        if seq in self.booked and fate.unsafe:
            raise self.violated("what is unsafe is sent once", f"{seq}")
        if self.booked.count(seq) > self.excused.get(seq, 0):
            raise self.violated("twice only where an answer was lost", f"{seq}")
        self.booked.append(seq)

    def _line(self, seq: int) -> tuple[str, int]:
        fate = self.fates[seq]
        return fate.route, fate.key

    def excuse(self, seq: int) -> None:
        """Its answer, or the ack of it, was lost."""
        self.excused[seq] = self.excused.get(seq, 0) + 1

    def ack(self, seq: int) -> None:
        if seq not in self.booked and str(seq) not in self.dead.values:
            raise self.violated("nothing is settled before its end", f"{seq} is acknowledged")
        self.consumer.ack(seq)

    def terminate(self, seq: int, reason: str) -> None:
        if str(seq) not in self.dead.values:
            raise self.violated("nothing is settled before its end", f"{seq} is terminated")
        self.consumer.terminate(seq, reason)


@dataclass
class Held:
    """A delivery as a worker holds it."""

    known: Known | None
    held: int = 0


@dataclass
class RunningTurn:
    """A turn whose next step is known and not yet performed. sent: the ERP may have it, and nobody has its answer."""

    turn: Turn
    step: Any
    sent: bool = False
    outcome: Outcome | None = None
    began: float = 0.0


@dataclass
class SimulatedWorker:
    """Performs what the lane's deciders ask for, a step at a time."""

    world: LaneWorld
    name: str
    stopped_until: float = 0.0
    memory: SettledMemory = field(default_factory=SettledMemory)
    owned: "Owned | None" = None
    watch: LeaseWatch = field(default_factory=LeaseWatch)
    lives: int = 0

    @property
    def me(self) -> str:
        return f"{self.name}{self.lives}"

    def step(self) -> None:
        world = self.world
        if world.now < self.stopped_until and world.chaos:
            return
        if self.owned is None:
            self._try()
            return
        try:
            self.owned.step()
        except LaneLost:
            self.lose("the lease")

    def _try(self) -> None:
        world = self.world
        revision, lease = world.lanes.get("lease")
        mine = lease is not None and lease.owner.startswith(f"{self.me}.")
        if not mine and not self.watch.may_claim(lease, revision, world.now):
            return
        claimed = world.lanes.update(
            "lease", Lease(f"{self.me}.{world.random.random()}", world.now), revision
        )
        if claimed is not None:
            self.owned = Owned(world, self, lease, claimed, Tenure(world.now + 4.0))

    def crash(self) -> None:
        """SIGKILL: memory and all."""
        if self.owned is not None:
            self.owned.end()
        self.owned, self.memory, self.watch = None, SettledMemory(), LeaseWatch()
        self.lives += 1

    def lose(self, _what: str) -> None:
        """What is held is forgotten; what was settled is not. A request under way may still be answered."""
        if self.owned is not None:
            self.owned.end_answered()
        self.owned, self.watch = None, LeaseWatch()


class LaneLost(Exception):
    """The lane is no longer ours."""


class Owned:
    """One ownership: takeover, then whatever may happen next."""

    def __init__(
        self, world: LaneWorld, worker: SimulatedWorker, before: Lease | None, revision: int, tenure: Tenure
    ) -> None:
        self.world = world
        self.worker = worker
        self.tenure = tenure
        self.lease_revision = revision
        self.state: LaneState[Held] | None = None
        self.dispatch = Dispatch()
        self.turns: dict[int, RunningTurn] = {}
        self.expected = 0
        self.asked_at = 0.0
        self._takeover: Iterator[TakenOver | None] = self._take_over(before)

    def step(self) -> None:
        choice = self.world.random.random()
        if choice < 0.25:
            self._renew()
        elif self.state is None:
            taken = next(self._takeover)
            if taken is not None:
                self._begin(taken)
        elif choice < 0.5:
            self._pull(self.state)
        elif self.turns:
            seq = self.world.random.choice(list(self.turns))
            self._advance(self.state, seq, self.turns[seq])
        self._start_what_may()

    def end(self) -> None:
        """Killed: of what may have been sent nobody knows the answer."""
        for seq, turn in self.turns.items():
            if turn.sent:
                self.world.excuse(seq)

    def end_answered(self) -> None:
        """The lane is lost, the process lives: answers still come, and are remembered."""
        for seq, turn in self.turns.items():
            if not turn.sent:
                continue
            if isinstance(turn.outcome, Delivered):
                self._remember(seq)
            if not isinstance(turn.outcome, Delivered) or self.world.kills:
                self.world.excuse(seq)

    def check(self) -> None:
        if self.world.rules.checks_lease and not self.tenure.holds(self.world.now):
            raise LaneLost

    def _renew(self) -> None:
        world = self.world
        self.check()
        _, lease = world.lanes.get("lease")
        revision = world.lanes.update("lease", Lease(lease.owner, world.now), self.lease_revision)
        if revision is None:
            if world.rules.checks_lease:
                raise LaneLost
            return
        self.lease_revision = revision
        self.tenure.renewed(world.now)

    def _take_over(self, before: Lease | None) -> Generator[TakenOver | None]:
        world = self.world
        steps = take_over(before, self.worker.me, world.now)
        answer: Any = None
        try:
            while True:
                request = steps.send(answer)
                self.check()
                match request:
                    case ReadState():
                        revision, state = world.lanes.get("state")
                        answer = (state or State(), revision)
                    case WriteState(state, expected):
                        answer = world.lanes.update("state", state, expected)
                    case Inspect():
                        consumer = world.consumer
                        answer = ConsumerFacts(
                            consumer.ack_floor,
                            consumer.delivered_seq,
                            consumer._consumer_seq,
                            len(consumer.pending),
                        )
                    case Sweep(first, last):
                        for seq in range(first, last + 1) if world.rules.sweeps else ():
                            world.consumer.nak(seq)
                        answer = None
                    case ReadDeadLetters():
                        answer = (
                            [int(key) for key in world.dead.values] if world.rules.reads_dead_letters else []
                        )
                yield None
        except StopIteration as end:
            yield end.value

    def _begin(self, taken: TakenOver) -> None:
        for seq in taken.dead:
            self._remember(seq)
        self.state = LaneState(self.world.rules.barrier(taken.barrier), self.worker.memory)
        self.expected = taken.consumer_seq

    def _pull(self, state: LaneState[Held]) -> None:
        world = self.world
        if world.rules.checks_lease and world.now > self.tenure.valid_until + PULL_S:
            raise LaneLost
        delivery = world.consumer.pull()
        if delivery is None:
            if not state.barrier.passed:
                state.barrier.nothing_left()
                self._offer(state, state.heads())
            return
        if world.chance(0.01):
            return  # lost on its way to us
        self.check()
        self.expected += 1
        if delivery.consumer_seq != self.expected and world.rules.counts_deliveries:
            raise LaneLost
        self._arrived(state, delivery.message)

    def _arrived(self, state: LaneState[Held], message: ModelMessage) -> None:
        seq, passed = message.seq, state.barrier.passed
        match state.seen(seq):
            case Taken.SETTLED:
                self.world.ack(seq)
            case Taken.HELD:
                swept = seq <= state.barrier.upto
                state.hold(seq, Held(None if swept else Known()), [self._line(seq)])
                self._offer(state, [seq] if state.may_start(seq) else [])
            case Taken.KNOWN:
                pass
        if not passed and state.barrier.passed:
            self._offer(state, state.heads())

    def _line(self, seq: int) -> tuple[str, str, bytes]:
        fate = self.world.fates[seq]
        return (fate.route, "t", b"%d" % fate.key)

    def _offer(self, state: LaneState[Held], seqs: list[int]) -> None:
        for seq in seqs:
            if state.may_start(seq):
                self.dispatch.offer(seq, ("acme", self.world.fates[seq].route), GATE)

    def _start_what_may(self) -> None:
        state, now = self.state, self.world.now
        if state is None:
            return
        self._offer(state, list(self.dispatch.due(now)))
        for seq in self.dispatch.admitted(now):
            if not state.may_start(seq):
                self._free(seq, None)
                continue
            state.start(seq)
            held = state[seq]
            rules = Rules(POLICY, now + 10_000, 2.0)
            turn = take_turn(rules, held.known, held.held, lambda: self.world.now, 0.0)
            self.turns[seq] = RunningTurn(turn, next(turn))

    def _advance(self, state: LaneState[Held], seq: int, running: RunningTurn) -> None:
        answer = self._perform(state, seq, running)
        if answer is _LATER:
            return
        try:
            running.step = running.turn.send(answer)
        except StopIteration as end:
            del self.turns[seq]
            self._free(seq, None)
            self._ended(state, seq, end.value)

    def _perform(self, state: LaneState[Held], seq: int, running: RunningTurn) -> Any:
        world, key = self.world, str(seq)
        match running.step:
            case ReadRecord():
                revision, record = world.retry.get(key)
                return Known(record or RetryRecord(), revision)
            case WriteRecord(record, expected):
                self.check()
                written = world.retry.update(key, record, expected)
                return None if world.chance(0.02) else written
            case Render():
                return Rendered(safe=not (world.fates[seq].unsafe and world.rules.notes_intents))
            case Send():
                return self._send(seq, running)
            case Report():
                if isinstance(running.outcome, Delivered):
                    self._remember(seq)
            case Bury():
                self.check()
                world.dead.update(key, "letter", 0)
                self._remember(seq)
                self._free(seq, None)
            case Settle(reason):
                self.check()
                self._free(seq, None)
                if reason is None:
                    world.ack(seq)
                else:
                    world.terminate(seq, reason)
                if world.chance(0.1):
                    return _LATER  # its confirmation was lost: once more
                running.sent = False
        return None

    def _send(self, seq: int, running: RunningTurn) -> Any:
        """Two steps: it is sent, its answer is read."""
        if not running.sent:
            self.check()
            running.began, running.sent = self.world.now, True
            running.outcome = self.world.erp(seq)
            if not self.world.rules.confirms_before_the_next and isinstance(running.outcome, Delivered):
                assert self.state is not None
                self._offer(self.state, self.state.settle(seq, self.world.now))
            return _LATER
        assert running.outcome is not None
        if isinstance(running.outcome, Uncertain):
            self.world.excuse(seq)
        if not isinstance(running.outcome, Delivered):
            running.sent = False
        self._free(seq, running.outcome)
        return Sent(running.outcome, running.began, self.world.now)

    def _ended(self, state: LaneState[Held], seq: int, ending: object) -> None:
        if seq not in state:
            return
        if isinstance(ending, Waiting):
            held = state[seq]
            held.known, held.held = ending.known, ending.held
            others = [other for other in state.pause(seq) if other != seq]
            self.dispatch.delay(seq, ending.due)
        else:
            others = state.settle(seq, self.world.now)
        self._offer(state, others)

    def _free(self, seq: int, outcome: Outcome | None) -> None:
        breaker = self.dispatch.breaker_of(seq)
        if breaker is None:
            return
        if outcome is None:
            breaker.abandoned()
        elif isinstance(outcome, Unavailable | Uncertain):
            breaker.failed(self.world.now)
        else:
            breaker.answered()
        self.dispatch.sent(seq)

    def _remember(self, seq: int) -> None:
        if self.world.rules.remembers:
            self.worker.memory.add(seq, self.world.now)


_LATER = object()
