"""One ownership of a lane in the simulation: performs what the deciders ask for, a step at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

from connectors.protocol import Delivered, Outcome, Unavailable, Uncertain
from pipeline.delivery.breaker import BreakerState
from pipeline.delivery.dispatch import Dispatch, GateSettings
from pipeline.delivery.retry_record import SETTLED_BEFORE, Known
from pipeline.delivery.turn import Rules, Waiting, take_turn
from pipeline.lanes.lease import Lease, Tenure
from pipeline.lanes.state import LaneState, Taken
from pipeline.lanes.takeover import TakenOver
from pipeline.routes import crowding as route_trouble
from pipeline.routes.detach import Leaving
from pipeline.routes.trouble import RoutesInTrouble, Trouble, Why, Word
from pipeline.tenants.model import BreakerPolicy, RetryPolicy
from tests.simulation.consumer_model import Delivery
from tests.simulation.lane_hold import Claim, LaneHold, LaneLost, Owner
from tests.simulation.lane_requests import LaneRequests
from tests.simulation.lane_surroundings import Surroundings
from tests.simulation.lane_turn import RunningTurn, perform_turn
from tests.simulation.route_apart import RouteApart
from tests.simulation.route_watch import look_at_routes
from tests.simulation.simulated_blocks import line_of

POLICY = RetryPolicy(max_attempts=4, initial_s=0.5, factor=2, max_s=30, jitter=0.2)
GATE = GateSettings(2, BreakerPolicy(failures=3, window_s=60, open_s=2))
PULL_S = 1.0
"""So long after its last valid moment a pull of a worker may still be open at the server."""


@dataclass
class Held:
    """A delivery as a worker holds it. consumer: which brought it."""

    known: Known | None
    consumer: str
    held: int = 0


class Owned(LaneHold):
    """One ownership: takeover, then whatever may happen next."""

    def __init__(self, world: Surroundings, owner: Owner, claim: Claim, tenure: Tenure) -> None:
        super().__init__(world, owner, claim, tenure)
        self.requests = LaneRequests(self)
        self.state: LaneState[Held] | None = None
        self.troubles = RoutesInTrouble({})
        self.dispatch = Dispatch()
        self.turns: dict[int, RunningTurn] = {}
        self.apart: dict[str, RouteApart] = {}
        self.expected = 0
        self.pin = 0
        self.leaving = False
        self.released = False
        self._early: dict[str, Why] = {}
        self.settled_since: dict[str, float] = {}
        self._takeover: Iterator[TakenOver | None] = self.requests.take_over(claim.before, owner.me)
        self._leave: Iterator[None] | None = None

    # ── What may happen next ─────────────────────────────────────────────────────────────────────────────────────

    def step(self) -> None:
        choice = self.world.random.random()
        if not self.world.chaos:
            self._go_on()
        elif self._leave is not None and choice < 0.5:
            next(self._leave, None)
        elif choice < 0.18:
            self.renew()
        elif self.state is None:
            self._take_over()
        else:
            self._act_for(self.state, choice)

    def _act_for(self, state: LaneState[Held], choice: float) -> None:
        if choice < 0.4:
            self._pull(state)
        elif choice < 0.7 and self.apart:
            self._live(self.world.random.choice(list(self.apart)))
        elif self.turns:
            seq = self.world.random.choice(list(self.turns))
            next(self.turns[seq].steps, None)
        if not self.leaving:
            self._start_what_may(state)
            if choice > 0.9:
                look_at_routes(self, state)

    def _take_over(self) -> None:
        taken = next(self._takeover)
        if taken is not None:
            self._begin(taken)

    def _go_on(self) -> None:
        """In peace: a little of everything."""
        if self.tenure.valid_until - self.world.now < 3.0:
            self.renew()
        if self._leave is not None:
            next(self._leave, None)
        if self.state is None:
            self._take_over()
            return
        for _ in range(3):
            self._pull(self.state)
        for route in list(self.apart):
            self._live(route)
        for running in list(self.turns.values()):
            next(running.steps, None)
        if not self.leaving:
            self._start_what_may(self.state)
            if self.world.random.random() < 0.1:
                look_at_routes(self, self.state)

    def leave(self) -> None:
        """SIGTERM, or the lane is another's to have."""
        if self.state is not None and not self.leaving:
            self.leaving, self._leave = True, self._hand_over(self.state)

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
                self.remember(seq)
            if not isinstance(turn.outcome, Delivered) or self.world.kills:
                self.world.excuse(seq)

    def _begin(self, taken: TakenOver) -> None:
        for seq in taken.dead:
            self.remember(seq)
        self.requests.kept, self.requests.revision = taken.state, taken.revision
        state = self.state = LaneState(self.world.rules.barrier(taken.barrier), self.owner.memory)
        self.expected = taken.consumer_seq
        self.troubles = RoutesInTrouble(taken.state.routes)
        for route in self.troubles.on():
            self._apart(state, route, self.troubles[route])
        # a key may be blocked although the last owner could not say so any more
        for route in {self.world.fates[seq].name for seq in taken.dead} & self.world.blocking:
            if route not in self.apart and self.world.rules.remembers_blocks:
                state.stop(route)
                self._early[route] = "block"

    def _hand_over(self, state: LaneState[Held]) -> Iterator[None]:
        """An orderly end: what is under way ends, the rest is given back, the next owner need not wait."""
        while self.turns:
            yield
        self.check()
        yield
        for seq, held in sorted(state.held()):
            if held.consumer in self.world.consumers:
                self.world.consumers[held.consumer].nak(seq)
        self.check()
        key = f"lease.{self.lane}"
        _, lease = self.world.lanes.get(key)
        written = self.world.lanes.update(
            key, Lease(lease.owner, self.world.now, released=True), self.lease_revision
        )
        if written is None:
            raise LaneLost
        if self.pin and self.pin == self.world.consumers.pin(self.name):
            self.world.consumers.unpin(self.name)
        # within the tenth of a second that the server takes to write its acks down, nobody else has the lane
        self.world.consumers.flush()
        self.released = True

    # ── Arrivals ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _pull(self, state: LaneState[Held]) -> None:
        world = self.world
        if self.leaving:
            return
        if world.rules.checks_lease and world.now > self.tenure.valid_until + PULL_S:
            raise LaneLost
        delivery = world.pull(self.name, self.pin)
        if isinstance(delivery, int):
            raise LaneLost
        if delivery is None:
            # what another's pin keeps from us looks like nothing
            if not state.barrier.passed and self.pin and not world.consumers[self.name].is_deliverable():
                state.barrier.nothing_left()
                self._miss_nothing(state)
            return
        if world.chance(0.01):
            return  # lost on its way to us
        self.check()
        self.pin = delivery.pin
        self.expected += 1
        if delivery.consumer_seq != self.expected and world.rules.counts_deliveries:
            raise LaneLost
        self._arrived(state, delivery)

    def _arrived(self, state: LaneState[Held], delivery: Delivery) -> None:
        seq, passed = delivery.message.seq, state.barrier.passed
        taken = state.seen(seq)
        self._miss_nothing(state)
        route = self.world.fates[seq].name
        if route in self.apart and self.apart[route].arrived(seq, settled=taken is Taken.SETTLED):
            pass
        elif taken is not Taken.KNOWN:
            word = self.troubles.on_lane(route, seq)
            if word is Word.UNSEEN or (taken is Taken.SETTLED and not self.world.rules.confirms_again):
                self.again(self.name, seq)
            elif taken is Taken.SETTLED:
                self.hold(seq, SETTLED_BEFORE)
            else:
                self.hold(seq, None if seq <= state.barrier.upto else Known())
        if not passed and state.barrier.passed:
            self.offer(startable(state))

    def _miss_nothing(self, state: LaneState[Held]) -> None:
        if state.barrier.missed:
            if self.world.rules.begins_anew:
                raise LaneLost
            state.barrier.pending = 0

    def hold(self, seq: int, known: Known | None, consumer: str | None = None) -> None:
        """consumer: the route's own; None: the lane's."""
        state = self.state
        assert state is not None
        fate = self.world.fates[seq]
        replayed = fate.place != seq and self.world.rules.places_replays
        state.hold(
            seq,
            Held(known, consumer or self.name),
            [line_of(fate.name, fate.key)],
            apart=consumer is not None,
            place=fate.place if replayed else None,
        )
        self.offer([seq])

    def offer(self, seqs: list[int]) -> None:
        state = self.state
        assert state is not None
        for seq in seqs:
            if state.may_start(seq):
                self.dispatch.offer(seq, (self.world.fates[seq].tenant, "c"), GATE)

    # ── Turns ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_what_may(self, state: LaneState[Held]) -> None:
        now = self.world.now
        if self._early and state.barrier.passed:
            early, self._early = self._early, {}
            for route, why in early.items():
                self.detach(route, why)
        self.offer(list(self.dispatch.due(now)))
        for seq in self.dispatch.admitted(now):
            if not state.may_start(seq) or self.is_paused(seq):
                self.free(seq, None)
                if state.may_start(seq):
                    self.dispatch.delay(seq, now + 1)
                continue
            state.start(seq)
            self._start(state, seq)

    def _start(self, state: LaneState[Held], seq: int) -> None:
        world, held = self.world, state[seq]
        fate = world.fates[seq]
        trouble = self.troubles[fate.name]
        paused = trouble.paused_s(world.now) if trouble and world.rules.deadline_stands_still else 0.0
        rules = Rules(POLICY, fate.born + world.deadline_s + paused, 2.0)
        turn = take_turn(rules, held.known, held.held, lambda: world.now, 0.0)
        running = self.turns[seq] = RunningTurn(held.consumer, world.pauses(fate.name).since)
        running.steps = perform_turn(self, seq, running, turn)

    def ended(self, seq: int, ending: object) -> None:
        """A turn is over."""
        state = self.state
        assert state is not None
        del self.turns[seq]
        self.free(seq, None)
        if seq not in state:
            return
        if isinstance(ending, Waiting):
            held = state[seq]
            held.known, held.held = ending.known, ending.held
            others = [other for other in state.pause(seq) if other != seq]
            self.dispatch.delay(seq, ending.due)
            if route_trouble.must_wait_apart(ending.due, self.world.now):
                self.detach(self.world.fates[seq].name, "retry")
        else:
            others = state.settle(seq, self.world.now)
            life = self.apart.get(self.world.fates[seq].name)
            if life is not None:
                life.blocks.settled(seq)
        self.offer(others)

    def buried(self, seq: int) -> None:
        """Its dead letter is written; it is still to be settled."""
        state, route = self.state, self.world.fates[seq].name
        if route not in self.world.blocking or state is None or not self.world.rules.blocks_keys:
            return
        life = self.apart.get(route)
        if life is not None and life.blocks.known:
            life.blocks.buried(seq)
            return
        state.stop(route)
        self.detach(route, "block")

    def free(self, seq: int, outcome: Outcome | None) -> None:
        breaker = self.dispatch.breaker_of(seq)
        if breaker is None:
            return
        if outcome is None:
            breaker.abandoned()
        elif isinstance(outcome, Unavailable | Uncertain):
            breaker.failed(self.world.now)
            if breaker.state is BreakerState.OPEN:
                self.detach(self.world.fates[seq].name, "breaker")
        else:
            breaker.answered(self.world.now)
        self.dispatch.sent(seq)

    # ── Routes in trouble ────────────────────────────────────────────────────────────────────────────────────────

    def detach(self, route: str, why: Why) -> None:
        """Its life apart begins, unless it has."""
        state = self.state
        if state is None or route in self.apart or self.leaving or not self.world.rules.detaches:
            return
        if not state.barrier.passed and self.world.rules.waits_for_barrier:
            self._early[route] = why
            return
        self._apart(state, route, None, why)

    def _apart(
        self, state: LaneState[Held], route: str, trouble: Trouble | None, why: Why | None = None
    ) -> None:
        leaving = None
        if why is not None:
            incarnation = self.requests.next_incarnation()
            leaving = Leaving(why, incarnation, self.world.pauses(route).since)
        self.apart[route] = RouteApart(self, state, route, trouble, leaving)

    def _live(self, route: str) -> None:
        if next(self.apart[route].steps, self) is self:
            del self.apart[route]


def startable(state: LaneState[Held]) -> list[int]:
    """Everything that may start now, in order: asked once, when the barrier is passed."""
    return sorted(seq for seq, _ in state.held() if state.may_start(seq))
