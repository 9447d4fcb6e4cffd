"""Workers, lanes, routes in trouble, a server and ERPs in one thread: what happens next is the seed's choice.

Between any two steps a worker may crash, stop for a while, lose its lease, hand it over, or lose an answer; a request
may come late from one that is dead; the server may restart, or be killed and give back what was confirmed; a route may
be paused, an ERP be down. Then one ERP stays away while everybody else must go on, and at last all must end: then
routes come back to their lanes, and a few kills more find them on their way.
"""

import itertools
from bisect import bisect
from collections.abc import Callable

from tests.simulation.jetstream_model import Draft
from tests.simulation.lane_facts import Fate
from tests.simulation.lane_rules import LaneRules
from tests.simulation.lane_surroundings import Surroundings
from tests.simulation.lane_worker import SimulatedWorker
from tests.simulation.simulated_keeper import SimulatedKeeper
from tests.simulation.simulated_operators import SimulatedOperators

ROUTES = (("acme", "safe"), ("acme", "unsafe"), ("beta", "safe"))
ROUTES_OF_LANE_1 = (("gamma", "safe"),)
STEPS = 12_000
_OFTEN = (0.69, 0.79, 0.86, 0.90, 0.92, 0.93, 0.935, 0.942, 0.949, 0.958, 0.978)
"""Where the share of one event ends and the next one's begins."""
ACK_WAIT_S = 60.0
NEIGHBOURS_S = 200.0
"""Half a deadline: by then nothing has ended just because its time was over."""


class LaneWorld(Surroundings):
    """One run: chaos, then peace, in which everything must end."""

    def __init__(self, seed: int, rules: LaneRules, total: int = 18) -> None:
        super().__init__(seed, rules, total)
        self.leapt = 0.0
        self._expired = self.now
        self._aftershocks = self.random.choice((0, 1, 3, 6))
        self.purges = self.random.random() < 0.6
        self.operators = SimulatedOperators(self)
        self.keeper = SimulatedKeeper(self, self.operators)
        self._routes = [(0, *route) for route in ROUTES]
        if self.lane_count == 2:
            self._routes += [(1, *route) for route in ROUTES_OF_LANE_1]
        self.workers = [SimulatedWorker(self, name) for name in ("a", "b")[: 2 if self.kills else 1]]

        self._events = (
            self._work,
            self._pass_time,
            self._publish,
            self._something_arrives,
            self._flush,
            self._come_and_go,
            self._stop,
            self._hand_over,
            self._pause_or_resume,
            self._kill,
            self._keep_house,
            self.operators.step,
        )

    def routes_of(self, lane: int) -> list[str]:
        return [f"{tenant}/{route}" for number, tenant, route in self._routes if number == lane]

    def run(self) -> None:
        for _ in range(self.random.randint(150, 800)):
            self._happen()
        self.chaos = False
        if self.deadline_s > NEIGHBOURS_S and self.random.random() < 0.4:
            self._calm("acme")
            self._publish_behind("acme")
            self._until("neighbours are not held up", self._neighbours_are_done, NEIGHBOURS_S)
        self._calm(None)
        self._until("every delivery ends", self._is_done)

    def unread(self, seq: int) -> int:
        owners = [lane.owned for worker in self.workers for lane in worker.lanes if lane.owned is not None]
        return sum(
            seq in owner.turns and owner.turns[seq].sent and not owner.tenure.holds(self.now)
            for owner in owners
        )

    # ── Chaos ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _happen(self) -> None:
        self._events[bisect(_OFTEN, self.random.random())]()

    def _work(self) -> None:
        self.random.choice(self.workers).step()

    def _flush(self) -> None:
        self.consumers.flush()

    def _come_and_go(self) -> None:
        self.down ^= {self.random.choice(("acme", "beta"))}

    def _stop(self) -> None:
        self.random.choice(self.workers).stopped_until = self.now + self.random.choice((0.5, 3, 6, 12))

    def _hand_over(self) -> None:
        self.random.choice(self.workers).leave()

    def _keep_house(self) -> None:
        for _ in range(self.random.choice((1, 1, 2, 6)) if self.purges else 0):
            next(self.keeper.steps)

    def _something_arrives(self) -> None:
        due = [late for late in self.late if late.not_before <= self.now]
        if due:
            self.arrives(self.random.choice(due))

    def _kill(self) -> None:
        if self.kills and self.random.random() < 0.8:
            self.random.choice(self.workers).crash()
            return
        self.note(("the server", "restarts" if self.kills else "is killed"))
        self.nothing_arrives()
        self.consumers.restart(killed=not self.kills)
        for worker in self.workers:
            worker.lose_the_connection()

    def _pause_or_resume(self) -> None:
        _, tenant, route = self.random.choice(self._routes)
        name = f"{tenant}/{route}"
        if self.pauses(name).since is None:
            self.pause(name)
        else:
            self.resume(name)

    def _pass_time(self) -> None:
        passed = self.random.choice((0.1, 0.3, 0.7) if self.chaos else (0.1, 0.3, 0.6))
        if self.random.random() < (0.004 if self.chaos else 0.0005):
            passed += ACK_WAIT_S
            self.leapt += ACK_WAIT_S
        self.wait_for_the_prompt(self.now + passed)
        self.now += passed
        if self.now - self._expired >= ACK_WAIT_S:
            self._expired = self.now
            for name in self.consumers.names:
                self.consumers[name].expire()
        self.unpin_the_silent()

    def _publish(self) -> None:
        if len(self.fates) == self.total:
            return
        answers = self.random.choices(
            ("later", "much later", "uncertain", "no"), (3, 1, 1, 1), k=self.random.choice((0, 0, 1, 2))
        )
        self._store(self.random.choice(self._routes), answers)

    def _store(self, where: tuple[int, str, str], answers: list[str]) -> None:
        lane, tenant, route = where
        seq = self.stream.publish(Draft(f"deliveries.{lane}.{tenant}.{route}"))
        unsafe, key = route == "unsafe", self.random.randrange(2)
        paused = self.pauses(f"{tenant}/{route}").so_far(self.now)
        self.fates[seq] = Fate(lane, tenant, route, key, unsafe, answers, self.now, paused, seq)

    def _publish_behind(self, tenant: str) -> None:
        """More than a lane takes of a tenant that is away, and then something of others."""
        for where in [one for one in self._routes if one[1] == tenant] * 5 + self._routes:
            self._store(where, [])
        self.total = len(self.fates)

    # ── Peace ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _calm(self, away: str | None) -> None:
        """away: a tenant whose ERP does not come back yet."""
        self.down = {away} if away else set()
        self.away = away
        for name in list(self.paused):
            self.resume(name)

    def _until(self, invariant: str, done: Callable[[], bool], within_s: float = 10_000.0) -> None:
        began = self.now - self.leapt
        for step in itertools.takewhile(lambda _: self.now - self.leapt - began < within_s, range(STEPS)):
            if self._aftershocks and self.random.random() < 0.03:
                self._aftershocks -= 1
                self._kill()
            if len(self.fates) < self.total:
                if self.random.random() < 0.15:
                    self._publish()
            elif step % 8 == 0 and done():
                return
            while self.late:
                self.arrives(self.late[0])
            self._pass_time()
            for worker in self.workers:
                worker.step()
            if step % 4 == 0:
                self.operators.step()
                if self.purges:
                    next(self.keeper.steps)
        raise self.violated(invariant, f"{self._open()} are not at their end")

    def _open(self) -> list[int]:
        return [seq for seq in self.fates if seq not in self.booked.counts and seq not in self.dead]

    def _neighbours_are_done(self) -> bool:
        return all(self.fates[seq].tenant == self.away for seq in self._open())

    def _is_done(self) -> bool:
        if self._open() or self.open_letters():
            return False
        names = self.consumers.names
        return all(not self.consumers[name].pending for name in names) and not any(
            name.startswith("route--") for name in names
        )


def play(seed: int) -> None:
    LaneWorld(seed, LaneRules()).run()
