"""Which deliveries of a lane may be sent now: within each connection's concurrency, rate and breaker (rule R8). Pure.

Of each connection the least sequence goes first. Connections do not wait for each other. Time is passed in, in
seconds of a clock that never goes back.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from pipeline.delivery.breaker import Breaker, BreakerState
from pipeline.tenants.model import BreakerPolicy

GateKey = tuple[str, str]
"""Names of tenant and connection."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """concurrency: requests at once; rate: requests a second, evenly spread; None: no limit."""

    concurrency: int
    breaker: BreakerPolicy
    rate: float | None = None


REST_S = 60.0
"""So long a connection rests at most that is throttled without being told for how long; a second at first."""


@dataclass(slots=True)
class Gate:
    """One connection, as one lane's owner sees it.

    next_at: when its rate, or its rest, lets something go again; rests_until: the rest alone. throttled: how often in a
    row it was, without being told how long.
    """

    settings: GateSettings
    breaker: Breaker
    under_way: int = 0
    next_at: float = float("-inf")
    rests_until: float = float("-inf")
    throttled: int = 0
    ready: list[int] = field(default_factory=list)

    def rest(self, now: float, after: float | None, longest: float) -> None:
        """Nothing is sent for `after` seconds, at most `longest`; where the endpoint did not say, longer and longer."""
        if after is None:
            if now < self.rests_until:  # another of those that were under way together
                return
            if now > self.rests_until + REST_S:
                self.throttled = 0
            after = min(2.0**self.throttled, REST_S)
            self.throttled = min(self.throttled + 1, 16)
        self.rests_until = max(self.rests_until, now + min(after, longest))
        self.next_at = max(self.next_at, self.rests_until)

    def next(self, now: float) -> int | None:
        settings = self.settings
        if not self.ready or self.under_way >= settings.concurrency or now < self.next_at:
            return None
        if not self.breaker.admits(now):
            return None
        if settings.rate is not None:
            self.next_at = now + 1 / settings.rate
        self.under_way += 1
        self.breaker.started()
        return heappop(self.ready)


class Dispatch:
    """Offer what is ready; take what may go. A sequence is offered again after each of its attempts."""

    def __init__(self) -> None:
        self._gates: dict[GateKey, Gate] = {}
        self._open: set[GateKey] = set()
        self._gate_of: dict[int, GateKey] = {}
        self._delayed: list[tuple[float, int]] = []
        self._due: dict[int, float] = {}
        """Until when each is delayed: what it was delayed until before counts no more."""
        self._gate_times: list[tuple[float, GateKey]] = []
        self._woken: set[tuple[float, GateKey]] = set()

    @property
    def wake(self) -> float | None:
        """When to call `due` and `admitted` again although nothing happened."""
        times = [queue[0][0] for queue in (self._delayed, self._gate_times) if queue]
        return min(times, default=None)

    def offer(self, seq: int, key: GateKey, settings: GateSettings) -> None:
        """It is ready to be sent to this connection."""
        if seq in self._gate_of:
            return
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = Gate(settings, Breaker(settings.breaker))
        gate.settings, gate.breaker.policy = settings, settings.breaker
        self._gate_of[seq] = key
        heappush(gate.ready, seq)
        self._open.add(key)

    def withdraw(self, like: int, which: Callable[[int], bool]) -> list[int]:
        """Takes back what is ready for the connection of `like` and of `which` this is true."""
        gate = self._gates[self._gate_of[like]]
        gone = [seq for seq in gate.ready if which(seq)]
        if gone:
            gate.ready = [seq for seq in gate.ready if not which(seq)]
            heapify(gate.ready)
            for seq in gone:
                del self._gate_of[seq]
        return gone

    def take_back(self, seqs: Collection[int]) -> None:
        """None of these is sent any more. None of them is under way."""
        if any(seq in self._due for seq in seqs):
            for seq in seqs:
                self._due.pop(seq, None)
            self._delayed = [(until, seq) for seq, until in self._due.items()]
            heapify(self._delayed)
        gone = {seq for seq in seqs if seq in self._gate_of}
        for gate in [self._gates[key] for key in {self._gate_of.pop(seq) for seq in gone}]:
            gate.ready = [seq for seq in gate.ready if seq not in gone]
            heapify(gate.ready)

    def opens_at(self, key: GateKey, now: float) -> float:
        """When the connection takes something again: `now` where it does, as far as is known."""
        gate = self._gates.get(key)
        if gate is None:
            return now
        return max(now, gate.next_at, gate.breaker.next_probe or now)

    def breaker_at(self, key: GateKey) -> BreakerState | None:
        """None: nothing was ever offered to it."""
        gate = self._gates.get(key)
        return None if gate is None else gate.breaker.state

    def delay(self, seq: int, until: float) -> None:
        """Not before `until`: then it comes out of `due`."""
        self._due[seq] = until
        heappush(self._delayed, (until, seq))

    def due(self, now: float) -> Iterator[int]:
        """What was delayed until now: to be offered again, perhaps to another connection."""
        while self._delayed and self._delayed[0][0] <= now:
            until, seq = heappop(self._delayed)
            if self._due.get(seq) == until:
                del self._due[seq]
                yield seq

    def admitted(self, now: float) -> Iterator[int]:
        """What may be sent now; `sent` is owed for each."""
        while self._gate_times and self._gate_times[0][0] <= now:
            woken = heappop(self._gate_times)
            self._woken.discard(woken)
            self._open.add(woken[1])
        while self._open:
            key = self._open.pop()
            gate = self._gates[key]
            while (seq := gate.next(now)) is not None:
                yield seq
            if gate.ready and gate.next_at > now:
                self._wake_at(gate.next_at, key)

    def breaker_of(self, seq: int) -> Breaker | None:
        """Of the connection that `seq` was admitted to: tell it what the endpoint did. None: it needs none (more)."""
        key = self._gate_of.get(seq)
        return None if key is None else self._gates[key].breaker

    def throttled(self, seq: int, now: float, after: float | None, longest: float) -> None:
        """The endpoint of what was admitted takes no more for now. after: seconds, as it says; longest: seconds."""
        key = self._gate_of[seq]
        gate = self._gates[key]
        gate.rest(now, after, longest)
        self._wake_at(gate.next_at, key)

    def sent(self, seq: int) -> None:
        """What was admitted needs the connection no more."""
        key = self._gate_of.pop(seq)
        gate = self._gates[key]
        gate.under_way -= 1
        self._open.add(key)
        if (probe := gate.breaker.next_probe) is not None:
            self._wake_at(probe, key)

    def _wake_at(self, when: float, key: GateKey) -> None:
        if (when, key) not in self._woken:
            self._woken.add((when, key))
            heappush(self._gate_times, (when, key))
