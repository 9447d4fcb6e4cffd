"""One ownership of a lane in the simulation: performs what the deciders ask for, a step at a time."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from connectors.protocol import Delivered, Outcome, Unavailable, Uncertain
from pipeline.delivery_turn import (
    Bury,
    ReadRecord,
    Render,
    Rendered,
    Report,
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
from pipeline.lane_state import LaneState, Taken
from pipeline.lease import Lease, Tenure
from pipeline.retry_record import Known, RetryRecord
from pipeline.settled_memory import SettledMemory
from pipeline.takeover import (
    ConsumerFacts,
    Inspect,
    ListConsumers,
    ReadDeadLetters,
    ReadState,
    State,
    Sweep,
    TakenOver,
    WriteState,
    take_over,
)
from pipeline.tenants.model import BreakerPolicy, RetryPolicy
from tests.simulation.jetstream_model import ModelMessage
from tests.simulation.lane_surroundings import Surroundings

POLICY = RetryPolicy(max_attempts=4, initial_s=0.5, factor=2, max_s=4, jitter=0.2)
GATE = GateSettings(2, BreakerPolicy(failures=3, window_s=60, open_s=2))
PULL_S = 1.0
"""So long after its last valid moment a pull of a worker may still be open at the server."""


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


class LaneLost(Exception):
    """The lane is no longer ours."""


class Owner(NamedTuple):
    """Whose ownership it is; the memory outlives it."""

    me: str
    memory: SettledMemory


class Owned:
    """One ownership: takeover, then whatever may happen next."""

    def __init__(
        self,
        world: Surroundings,
        owner: Owner,
        before: Lease | None,
        revision: int,
        tenure: Tenure,
    ) -> None:
        self.world = world
        self.owner = owner
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
        steps = take_over(before, self.owner.me, world.now)
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
                    case ListConsumers():
                        answer = []
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
        self.state = LaneState(self.world.rules.barrier(taken.barrier), self.owner.memory)
        self.expected = taken.consumer_seq

    def _pull(self, state: LaneState[Held]) -> None:
        world = self.world
        if world.rules.checks_lease and world.now > self.tenure.valid_until + PULL_S:
            raise LaneLost
        delivery = world.consumer.pull()
        if delivery is None:
            if not state.barrier.passed:
                state.barrier.nothing_left()
                self._offer(state, startable(state))
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
            self._offer(state, startable(state))

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
        answer = self._perform(seq, running)
        if answer is _LATER:
            return
        try:
            running.step = running.turn.send(answer)
        except StopIteration as end:
            del self.turns[seq]
            self._free(seq, None)
            self._ended(state, seq, end.value)

    def _perform(self, seq: int, running: RunningTurn) -> Any:
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
                return self._settle(seq, running, reason)
        return None

    def _settle(self, seq: int, running: RunningTurn, reason: str | None) -> Any:
        self.check()
        self._free(seq, None)
        if reason is None:
            self.world.ack(seq)
        else:
            self.world.terminate(seq, reason)
        if self.world.chance(0.1):
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
            breaker.answered(self.world.now)
        self.dispatch.sent(seq)

    def _remember(self, seq: int) -> None:
        if self.world.rules.remembers:
            self.owner.memory.add(seq, self.world.now)


_LATER = object()


def startable(state: LaneState[Held]) -> list[int]:
    """Everything that may start now, in order: asked once, when the barrier is passed."""
    return sorted(seq for seq, _ in state.held() if state.may_start(seq))
