"""Workers of one lane, a server and ERPs in one thread: what happens next is the seed's choice.

Between any two steps a worker may crash, stop for a while, lose its lease, or lose an answer; the server may be
killed and give back what was confirmed.
"""

from tests.simulation.jetstream_model import Draft
from tests.simulation.lane_surroundings import Fate, LaneRules, Surroundings
from tests.simulation.lane_worker import SimulatedWorker


class LaneWorld(Surroundings):
    """One run: chaos, then peace, in which everything must end."""

    def __init__(self, seed: int, rules: LaneRules, total: int = 14) -> None:
        super().__init__(seed, rules, total)
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

    def unread(self, seq: int) -> int:
        owners = [worker.owned for worker in self.workers if worker.owned is not None]
        return sum(
            seq in owner.turns and owner.turns[seq].sent and not owner.tenure.holds(self.now)
            for owner in owners
        )

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
