"""What a lane's owner holds in memory, and in which order it may go (rules R4 and R5). Pure.

A delivery stands in one line for each of its ordering keys (`pipeline.lanes.ordering`). It may be sent when it is the
first in all of them and nothing of them is under way. It leaves its lines when the server has *confirmed* that it
is settled: sent earlier, the key's next event could overtake a redelivery of this one.
"""

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from pipeline.lanes.ordering import Line
from pipeline.lanes.settled_memory import SettledMemory

T = TypeVar("T")


class Taken(Enum):
    """What an arriving message is."""

    HELD = auto()  # new to us: now held
    KNOWN = auto()  # a second copy of what is held: ignore it
    SETTLED = auto()  # settled before: only acknowledge it again


@dataclass(slots=True)
class Load:
    """What is held of one route: deliveries, and the bytes of their payloads. shed: how many without their payload."""

    count: int = 0
    bytes: int = 0
    shed: int = 0


@dataclass(slots=True)
class _Held(Generic[T]):
    item: T
    lines: Sequence[Line]
    size: int
    apart: bool
    place: int
    shed: bool = False


@dataclass(slots=True)
class Barrier:
    """Nothing is sent before all that the last owner left has come back (rules R3.6, R4).

    upto: the last sequence delivered to anybody before us; pending: how many of those were not settled.
    missed: not all of it will come back now, and the takeover must begin anew. Redeliveries come before anything new;
    but a purge makes the server forget which those are: then they come when their `ack_wait` is over.
    """

    upto: int
    pending: int
    missed: bool = False
    _back: set[int] = field(default_factory=set)

    @property
    def passed(self) -> bool:
        return len(self._back) >= self.pending

    def saw(self, seq: int) -> None:
        if self.passed:
            return
        if seq > self.upto:
            self.missed = True
        else:
            self._back.add(seq)

    def nothing_left(self) -> None:
        """The consumer has nothing to deliver: some was settled late by the last owner, or is forgotten for now."""
        self.missed = not self.passed


class LaneState(Generic[T]):
    """One lane, from one takeover to the next; `memory` outlives it: what is settled stays settled."""

    def __init__(self, barrier: Barrier, memory: SettledMemory) -> None:
        self.barrier = barrier
        self.memory = memory
        self.highest = barrier.upto
        """The highest sequence seen, by the last owner too: what of it is not settled comes back."""
        self.bytes = 0
        """What the payloads held take that came by the lane."""
        self.loads: dict[str, Load] = {}
        """What is held of each route of which something is, by `tenant/route`."""
        self.by_lane = 0
        """How many are held that came by the lane."""
        self._held: dict[int, _Held[T]] = {}
        self._lines: dict[Line, list[int]] = {}
        self._under_way: dict[int, Sequence[Line]] = {}
        self._busy: set[Line] = set()
        self._tried: set[int] = set()
        self._stopped: set[str] = set()
        self._moved = False
        """Whether anything ever stood at another place than its sequence's."""
        self._blocks: dict[Line, dict[int, int]] = {}
        """Open dead letters that block a line: their sequences, and places."""

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, seq: int) -> bool:
        return seq in self._held

    def __getitem__(self, seq: int) -> T:
        return self._held[seq].item

    def held(self) -> Iterator[tuple[int, T]]:
        for seq, held in self._held.items():
            yield seq, held.item

    @property
    def under_way(self) -> int:
        """How many are being sent or settled."""
        return len(self._under_way)

    def seen(self, seq: int) -> Taken:
        """What the arriving message `seq` is; HELD means: call `hold`."""
        self.barrier.saw(seq)
        self.highest = max(self.highest, seq)
        return self.known(seq)

    def known(self, seq: int) -> Taken:
        """As `seen`, of a message that a route's own consumer brings."""
        if seq in self._held:
            return Taken.KNOWN
        return Taken.SETTLED if seq in self.memory else Taken.HELD

    def was_tried(self, seq: int) -> bool:
        """Whether it may have been begun: by an owner before us, or since then. If not, nobody has written anything of it."""
        return seq <= self.barrier.upto or seq in self._tried

    def hold(
        self,
        seq: int,
        item: T,
        lines: Sequence[Line],
        size: int = 0,
        *,
        apart: bool = False,
        place: int | None = None,
    ) -> None:
        """apart: it came by the route's own consumer; place: where it stands in its lines, if not by its sequence."""
        self._held[seq] = _Held(item, lines, size, apart, seq if place is None else place)
        self._moved = self._moved or place is not None
        if not apart:
            self.by_lane += 1
            self.bytes += size
        load = self.loads.get(lines[0][0])
        if load is None:
            load = self.loads[lines[0][0]] = Load()
        load.count += 1
        load.bytes += size
        for line in lines:
            waiting = self._lines.setdefault(line, [])
            if waiting and (self._moved or waiting[-1] > seq):
                insort(waiting, seq, key=self._place)
            else:
                waiting.append(seq)

    def may_start(self, seq: int) -> bool:
        """Whether it is held, the first in all its lines, and nothing of them is under way."""
        held = self._held.get(seq)
        if held is None or not self.barrier.passed:
            return False
        if self._stopped and held.lines[0][0] in self._stopped:
            return False
        if self._blocks and self._is_blocked(held):
            return False
        return all(self._lines[line][0] == seq and line not in self._busy for line in held.lines)

    def start(self, seq: int) -> None:
        """It is under way now, until `pause` or `settle`."""
        assert self.may_start(seq)
        lines = self._held[seq].lines
        self._under_way[seq] = lines
        self._busy.update(lines)
        self._tried.add(seq)

    def pause(self, seq: int) -> list[int]:
        """It was not settled and stays first. Returns what may start now: itself, or an older one that came late."""
        lines = self._end(seq)
        return self._heads(lines)

    def settle(self, seq: int, now: float) -> list[int]:
        """The server has confirmed it. Returns what may start now."""
        self.memory.add(seq, now)
        self._tried.discard(seq)
        return self.let_go(seq)

    def let_go(self, seq: int) -> list[int]:
        """It is held no more, settled or not. Returns what may start now."""
        self._end(seq)
        held = self._held.pop(seq)
        if not held.apart:
            self.by_lane -= 1
            self.bytes -= held.size
        self._lighten(held)
        for line in held.lines:
            waiting = self._lines[line]
            waiting.remove(seq)
            if not waiting:
                del self._lines[line]
        return self._heads(held.lines)

    # ── Lines that a dead letter blocks (rule R11) ───────────────────────────────────────────────────────────────

    def lines(self, seq: int) -> Sequence[Line]:
        return self._held[seq].lines

    def block(self, lines: Sequence[Line], seq: int, place: int) -> None:
        """What stands behind `place` in these lines waits for what becomes of the dead letter of delivery `seq`."""
        for line in lines:
            self._blocks.setdefault(line, {})[seq] = place

    def unblock(self, route: str, seq: int) -> list[int]:
        """Returns what may start now."""
        mine = [line for line, letters in self._blocks.items() if line[0] == route and seq in letters]
        for line in mine:
            del self._blocks[line][seq]
            if not self._blocks[line]:
                del self._blocks[line]
        return self._heads(mine)

    def is_blocked(self, seq: int) -> bool:
        return bool(self._blocks) and self._is_blocked(self._held[seq])

    def shed(self, seq: int) -> None:
        """Its payload is not kept any more."""
        held = self._held[seq]
        load = self.loads[held.lines[0][0]]
        load.bytes -= held.size
        load.shed += not held.shed
        if not held.apart:
            self.bytes -= held.size
        held.size, held.shed = 0, True

    def _is_blocked(self, held: _Held[T]) -> bool:
        blocks = self._blocks
        return any(place < held.place for line in held.lines for place in blocks.get(line, {}).values())

    def _place(self, seq: int) -> tuple[int, int]:
        return self._held[seq].place, seq

    # ── Routes as a whole (rules R6, R7) ─────────────────────────────────────────────────────────────────────────

    def stop(self, route: str) -> None:
        """Nothing more of the route may start, until `go`."""
        self._stopped.add(route)

    def go(self, route: str) -> list[int]:
        """Returns what may start now, in order."""
        self._stopped.discard(route)
        return [seq for seq in self.of(route) if self.may_start(seq)]

    def of(self, route: str) -> list[int]:
        """What is held of the route, in order."""
        if route not in self.loads:
            return []
        return sorted(seq for seq, held in self._held.items() if held.lines[0][0] == route)

    def at_work(self, route: str) -> int:
        """How many of the route are being sent or settled."""
        return sum(lines[0][0] == route for lines in self._under_way.values())

    def forget_old(self, now: float) -> None:
        """What the lane may bring once more is above the least that it holds; a D's settled messages stay settled."""
        least = min((seq for seq, held in self._held.items() if not held.apart), default=self.highest + 1)
        self.memory.forget(least, now)

    def _lighten(self, held: _Held[T]) -> None:
        route = held.lines[0][0]
        load = self.loads[route]
        load.count -= 1
        load.bytes -= held.size
        load.shed -= held.shed
        if not load.count:
            del self.loads[route]

    def _end(self, seq: int) -> Sequence[Line]:
        lines = self._under_way.pop(seq, ())
        self._busy.difference_update(lines)
        return lines

    def _heads(self, lines: Sequence[Line]) -> list[int]:
        first = {self._lines[line][0] for line in lines if line in self._lines}
        return sorted(seq for seq in first if self.may_start(seq))
