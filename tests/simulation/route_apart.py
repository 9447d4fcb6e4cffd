"""A route's life apart from its lane in the simulation: leaves, pulls its own consumer, comes back (rules R6, R7, R13)."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.delivery.breaker import BreakerState
from pipeline.delivery.retry_record import SETTLED_BEFORE, Known
from pipeline.lanes.state import LaneState, Taken
from pipeline.lanes.takeover import CreateConsumer
from pipeline.routes.attach import Drain, Drained, Park, StayApart, TakeBack, attach
from pipeline.routes.detach import Halt, Leaving, LetGo, Record, Standing, detach
from pipeline.routes.session import InspectOwn, Session, begin_session
from pipeline.routes.trouble import Trouble, Word
from tests.simulation.consumer_model import Delivery
from tests.simulation.simulated_blocks import SimulatedBlocks

if TYPE_CHECKING:
    from tests.simulation.lane_ownership import Owned

PARKED = 4


class SessionEnds(Exception):
    """The consumer must be swept again, or is not ours."""


class RouteApart:
    """steps: its life; what comes last is its owner, where it is back."""

    def __init__(
        self,
        owned: "Owned",
        state: LaneState[Any],
        route: str,
        trouble: Trouble | None,
        leaving: Leaving | None,
    ) -> None:
        self._owned = owned
        self._world = owned.world
        self._state = state
        self._route = route
        self._trouble = trouble
        self.blocks = SimulatedBlocks(owned, state, route)
        self._given_back: int | None = None
        self._parked: list[int] = []
        self._session: Session | None = None
        self._pin = 0
        self._expected = 0
        self._highest = 0
        self._left = 1
        self._stops = False
        self.steps: Generator[Any] = self._life(leaving)

    @classmethod
    def forgetting(cls, owned: "Owned", state: LaneState[Any], route: str) -> "RouteApart":
        """Not apart: its end is written down, no more."""
        this = cls(owned, state, route, owned.troubles[route], None)
        this.steps = this._forget()
        return this

    def arrived(self, seq: int, *, settled: bool) -> bool:
        """The lane has brought a message of the route; whether that is dealt with."""
        word = self._owned.troubles.on_lane(self._route, seq)
        if word is Word.TAKE:
            return False
        if word is Word.PARK and not settled:
            self._parked.append(seq)
        else:
            self._owned.again(self._owned.name, seq)
        return True

    def _forget(self) -> Generator[Any]:
        yield from self._owned.requests.change(self._route, None)
        self._owned.troubles.take(self._route, None)
        yield self._owned

    def _life(self, leaving: Leaving | None) -> Generator[Any]:
        self._state.stop(self._route)
        if leaving is not None:
            steps = detach(self._route, leaving, self._owned.troubles[self._route])
            self._trouble = yield from self._performed(steps)
        while not self._state.barrier.passed and self._world.rules.waits_for_barrier:
            yield
        back = False
        while not back:
            while self._rests():
                yield from self._note_pause()
                yield
            yield from self._note_pause()
            self.blocks.follow()
            whole = True
            try:
                back = yield from self._pull_for_a_while()
            except SessionEnds:
                back = whole = False
                self._stay_apart()
            if not back:
                given = yield from self._give_back()
                self._given_back = given if whole else None
        yield self._owned

    def _rests(self) -> bool:
        world = self._world
        if self._owned.leaving or world.pauses(self._route).since is not None:
            return True
        gate = self._owned.dispatch._gates.get((self._route.partition("/")[0], "c"))
        if gate is None or gate.breaker.state is not BreakerState.OPEN:
            return False
        probe = gate.breaker.next_probe
        return probe is not None and world.now < probe

    def _note_pause(self) -> Generator[None]:
        trouble, since = self._trouble, self._world.pauses(self._route).since
        assert trouble is not None
        changed = trouble.paused(since, self._world.now)
        if changed != trouble:
            yield from self._owned.requests.change(self._route, changed)
            self._owned.troubles.take(self._route, changed)
            self._trouble = changed

    # ── Sessions ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _pull_for_a_while(self) -> Generator[None, None, bool]:
        """Whether the route is back."""
        world, trouble = self._world, self._trouble
        assert trouble is not None
        given_back, self._given_back = self._given_back, None
        session = yield from self._performed(begin_session(self._route, trouble, given_back))
        for seq in session.dead:
            self._owned.remember(seq)
        self._session, self._expected, self._pin, self._left = session, session.consumer_seq, 0, 1
        self._highest = session.barrier.upto
        if session.barrier.passed:
            self._go()
        while not self._rests() and not world.chance(0.03):
            yield
            if world.random.random() < 0.5:
                self.blocks.follow()
            self._pull()
            if session.barrier.passed:
                self.blocks.settled_up_to(self._highest)
            held = self._state.loads.get(self._route)
            if (
                session.barrier.passed
                and not self.blocks
                and (not self._left or world.chance(0.1))
                and (held is None or world.random.random() < 0.2)
            ):
                back = yield from self._performed(attach(self._route, trouble))
                if back is not None:
                    return True
        return False

    def _pull(self) -> None:
        world, owned, session = self._world, self._owned, self._session
        assert session is not None
        owned.check()
        name = self._name
        delivery = world.pull(name, self._pin)
        if isinstance(delivery, int):
            raise SessionEnds
        if delivery is None:
            if not session.barrier.passed and self._pin and (world.chance(0.05) or not world.chaos):
                raise SessionEnds  # nothing came of what was pending
            self._left = self._waiting() if self._pin or session.barrier.passed else 1
            return
        if world.chance(0.01):
            return
        self._pin = delivery.pin
        self._expected += 1
        if delivery.consumer_seq != self._expected and world.rules.counts_deliveries:
            raise SessionEnds
        self._take(session, delivery)

    def _waiting(self) -> int:
        return self._world.consumers[self._name].facts().num_pending

    def _take(self, session: Session, delivery: Delivery) -> None:
        seq, passed = delivery.message.seq, session.barrier.passed
        session.barrier.saw(seq)
        if session.barrier.missed:
            if self._world.rules.begins_anew:
                raise SessionEnds
            session.barrier.pending = 0
        self._highest = max(self._highest, seq)
        self._left = self._waiting()
        assert self._trouble is not None
        unseen = self._owned.troubles.on_its_own(self._route, seq) is Word.UNSEEN
        if unseen and self._world.rules.knows_todo:
            self._owned.again(self._name, seq)
        else:
            match self._state.known(seq):
                case Taken.SETTLED if not self._world.rules.confirms_again:
                    self._owned.again(self._name, seq)
                case Taken.SETTLED:
                    self._owned.hold(seq, SETTLED_BEFORE, self._name)
                case Taken.HELD:
                    tried = seq <= session.barrier.upto or self._state.was_tried(seq)
                    self._owned.hold(seq, None if tried else Known(), self._name)
                case Taken.KNOWN:
                    pass
        if not passed and session.barrier.passed:
            self._go()

    def _go(self) -> None:
        self._owned.offer(self._state.go(self._route))

    def _give_back(self) -> Generator[None, None, int]:
        """How many went back to D."""
        self._state.stop(self._route)
        while self._state.at_work(self._route):
            yield
        self._owned.check()
        held = self._state.of(self._route)
        for seq in held:
            if self._name in self._world.consumers:
                self._world.consumers[self._name].nak(seq)
            self._state.let_go(seq)
        if (
            self._pin
            and self._name in self._world.consumers
            and self._pin == self._world.consumers.pin(self._name)
        ):
            self._world.consumers.unpin(self._name)
        return len(held)

    @property
    def _name(self) -> str:
        assert self._trouble is not None
        return self._owned.requests.own(self._route, self._trouble.incarnation)

    # ── Steps ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _performed(self, steps: Generator[Any, Any, Any]) -> Generator[None, None, Any]:
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                return end.value
            yield
            answer = yield from self._answer(self._as_remembered(step))

    def _as_remembered(self, step: Any) -> Any:
        forgets = not self._world.rules.knows_settled_through
        if not forgets or not isinstance(step, Record | TakeBack) or step.trouble is None:
            return step
        trouble = msgspec.structs.replace(step.trouble, settled_through=0)
        return TakeBack(step.route, trouble) if isinstance(step, TakeBack) else Record(step.route, trouble)

    def _answer(self, step: Any) -> Generator[None, None, Any]:
        owned, route = self._owned, self._route
        match step:
            case Halt():
                while self._state.at_work(route):
                    yield
                return Standing(self._state.of(route), self._state.highest)
            case Record(_, trouble):
                yield from owned.requests.change(route, trouble)
            case CreateConsumer(_, trouble) if not self._world.rules.creates_before_it_lets_go:
                self._let_go(trouble)
                yield
                yield from owned.requests.answer(step)
            case LetGo(_, trouble):
                if self._world.rules.creates_before_it_lets_go:
                    self._let_go(trouble)
            case InspectOwn():
                facts = yield from owned.requests.answer(step)
                self._left = facts.waiting if facts else self._left
                return facts
            case _:
                return (yield from self._answer_coming_back(step))
        return None

    def _answer_coming_back(self, step: Any) -> Generator[None, None, Any]:
        owned, route = self._owned, self._route
        match step:
            case Park():
                if self._world.rules.parks:
                    owned.troubles.park(route, self._state.highest)
            case Drain():
                return (yield from self._drain())
            case StayApart():
                self._stay_apart()
            case TakeBack(_, trouble):
                self._take_back(trouble)
            case _:
                return (yield from owned.requests.answer(step))
        return None

    def _stay_apart(self) -> None:
        self._owned.troubles.unpark(self._route)
        for seq in self._parked:
            self._owned.again(self._owned.name, seq)
        self._parked.clear()

    def _let_go(self, trouble: Trouble) -> None:
        self._owned.troubles.take(self._route, trouble)
        for seq in self._state.of(self._route):
            self._state.let_go(seq)
            self._owned.again(self._owned.name, seq)

    def _drain(self) -> Generator[None, None, Drained | None]:
        while True:
            if self.blocks or self._rests() or len(self._parked) > PARKED or self._world.chance(0.01):
                return None
            first_new = self._owned.troubles.first_new(self._route)
            if self._left and (first_new is None or self._highest < first_new):
                self._pull()
            elif self._route not in self._state.loads:
                return Drained(first_new if self._world.rules.waits_for_the_new else 0)
            yield

    def _take_back(self, trouble: Trouble | None) -> None:
        owned, state, route = self._owned, self._state, self._route
        state.stop(route)
        owned.troubles.take(route, trouble)
        parked, self._parked = sorted(self._parked), []
        del owned.apart[route]
        for seq in parked:
            known = state.known(seq)
            if known is Taken.SETTLED or owned.troubles.on_lane(route, seq) is Word.UNSEEN:
                self._owned.again(owned.name, seq)
            elif known is Taken.HELD:
                owned.hold(seq, Known())
        owned.apart[route] = self
        owned.offer(state.go(route))
