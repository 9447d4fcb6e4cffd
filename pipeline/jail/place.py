"""Room for one rendering child, and what it is about: which may be missing, starting, or held up by a task."""

import asyncio
import time
from dataclasses import dataclass, field

from connectors.registry import PLUG_INS
from pipeline.jail.frames import Answer, Lacking, Load, MappingSource, Op, PlugIns, Task, Zone
from pipeline.jail.process import RenderProcess
from pipeline.jail.told_kinds import shape_of
from pipeline.jail.zone_files import zone_file

HELD_UP_S = 0.04
"""Seconds of CPU for one task, from which on others do not wait behind it."""
STILL_S = 10.0
"""A child that has tasks, answers none and computes nothing is stopped, or worse."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What is asked of a child. zones: the names of those that it may need; cpu_s: see Task.

    waits: for what else its tenant has under way, where the tenant is apart.
    """

    op: Op
    digest: bytes
    source: MappingSource
    event: bytes = b""
    given: bytes = b"{}"
    zones: tuple[str, ...] = ()
    cpu_s: float = 0.4
    waits: bool = True


@dataclass(slots=True, eq=False)
class Call:
    """Work on its way. deaths: children that ended while they were about it; moves: before they came to it."""

    tenant: str
    work: Work
    answer: asyncio.Future[Answer]
    since: float
    deaths: int = 0
    moves: int = 0


@dataclass(slots=True, eq=False)
class Place:
    """window: how many tasks are given to its child at once; nice: as nice(2) takes it."""

    window: int
    nice: int = 0
    child: RenderProcess | None = None
    starting: asyncio.Task[None] | None = None
    failing: bool = False
    under_way: dict[int, Call] = field(default_factory=dict)
    held_up: bool = False
    _number: int = 0
    _loaded: set[bytes] = field(default_factory=set)
    _zones: set[str] = field(default_factory=set)
    _shapes: set[str] = field(default_factory=set)
    _at: int = 0
    _cpu: float = 0.0
    _since: float = 0.0
    _still_cpu: float = 0.0

    @property
    def takes(self) -> bool:
        """Whether its child would begin soon with one more."""
        return self.child is not None and not self.held_up and len(self.under_way) < self.window

    @property
    def is_coming(self) -> bool:
        """Whether there will be a child in a moment."""
        return self.child is None and not self.failing

    def moved_in(self, child: RenderProcess) -> None:
        self.child, self.failing, self.held_up = child, False, False
        self._loaded.clear()
        self._zones.clear()
        self._shapes.clear()
        self._still_cpu = 0.0
        child.give(PlugIns(sorted(PLUG_INS.found)))

    def give(self, call: Call) -> None:
        assert self.child is not None
        work = call.work
        for zone in work.zones:
            if zone not in self._zones:
                self._zones.add(zone)
                self.child.give(Zone(zone, zone_file(zone)))
        if work.digest not in self._loaded:
            self._loaded.add(work.digest)
            self.child.give(Load(work.digest, work.source))
        if not self.under_way:
            self._since = time.monotonic()
        self._number += 1
        self.under_way[self._number] = call
        self.child.give(Task(self._number, work.op, work.digest, work.event, work.given, work.cpu_s))

    def answered(self, number: int) -> Call | None:
        """Whose answer this is; None: nobody waits for it any more."""
        self._since = time.monotonic()
        call = self.under_way.pop(number, None)
        if not self.under_way:
            self.held_up = False
        return call

    def lacks(self, answer: Lacking, digest: bytes) -> None:
        """Its child has given up the mapping, or does not know what its requests look like."""
        if not answer.kind:
            self._loaded.discard(digest)
        elif answer.kind not in self._shapes and self.child is not None:
            self._shapes.add(answer.kind)
            self.child.give(shape_of(answer.kind))

    def moved_out(self) -> tuple[Call | None, list[Call]]:
        """Its child is gone: what it was about, and what else it had, in order."""
        assert self.child is not None
        culprit = self.under_way.pop(self.child.at, None)
        rest = list(self.under_way.values())
        self.under_way.clear()
        self.child = None
        self.held_up = False
        return culprit, rest

    def is_held_up(self) -> bool:
        """Whether one task takes its child's time just now; and what it takes is its own affair from then on."""
        assert self.child is not None
        at, cpu = self.child.at, self.child.cpu()
        if at != self._at or at == 0:
            self._at, self._cpu = at, cpu
            return False
        return not self.held_up and at in self.under_way and cpu - self._cpu > HELD_UP_S

    def hold_up(self) -> tuple[Call, list[Call]]:
        """What holds it up, and what it need not answer any more, in order."""
        assert self.child is not None
        self.held_up = True
        self.child.skip(self._number)
        culprit = self.under_way.pop(self._at)
        rest = list(self.under_way.values())
        self.under_way = {self._at: culprit}
        return culprit, rest

    def is_still(self) -> bool:
        """Whether its child does nothing, with tasks before it."""
        assert self.child is not None
        now, cpu = time.monotonic(), self.child.cpu()
        if cpu > self._still_cpu:
            self._still_cpu, self._since = cpu, now
        return now - self._since > STILL_S
