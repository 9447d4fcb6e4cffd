"""A blocking route's dead letters in the simulation: which keys wait, and until when (rule R11, `pipeline.routes.blocked_keys`)."""

from typing import TYPE_CHECKING, Any

from pipeline.dlq.tombstone import read_tombstone
from pipeline.lanes.ordering import Line
from pipeline.lanes.state import LaneState
from tests.simulation.jetstream_model import ModelMessage

if TYPE_CHECKING:
    from tests.simulation.lane_ownership import Owned


class SimulatedBlocks:
    """Those of one route while it is apart."""

    def __init__(self, owned: "Owned", state: LaneState[Any], route: str) -> None:
        self._owned = owned
        self._world = owned.world
        self._state = state
        self._route = route
        self._open: set[int] = set()
        self._copies: dict[int, int] = {}
        self._read = 0
        self.known = False

    def __bool__(self) -> bool:
        return bool(self._open or self._copies)

    def follow(self) -> None:
        """What is new in DLQ of the route; the first time, all of it."""
        if self._route not in self._world.blocking or not self._world.rules.blocks_keys:
            return
        subject = f"dlq.{self._route.replace('/', '.')}.*"
        for message in self._world.dlq.between(subject, self._read, 2**62):
            self._read = message.seq
            self._take(message)
        self.known = True

    def buried(self, seq: int) -> None:
        """A delivery that is held has become a dead letter."""
        self._open.add(seq)
        self._state.block(self._state.lines(seq), seq, self._world.fates[seq].place)

    def settled_up_to(self, highest: int) -> None:
        for copy in [copy for copy in self._copies if copy <= highest and copy not in self._state]:
            self.settled(copy)

    def settled(self, seq: int) -> None:
        """Perhaps a copy that keys wait for."""
        if (first := self._copies.pop(seq, None)) is not None:
            self._free(first)

    def _take(self, message: ModelMessage) -> None:
        seq = int(message.subject.rpartition(".")[2])
        tombstone = read_tombstone(message.headers)
        if tombstone is None:
            if seq not in self._open:
                self._open.add(seq)
                self._state.block(self._lines(seq), seq, self._world.fates[seq].place)
            return
        self._open.discard(seq)
        copy = tombstone.replayed
        if copy is None or copy in self._owned.owner.memory or copy not in self._world.stream.messages:
            self._free(seq)
        else:
            self._copies[copy] = seq
            self._state.block(self._lines(copy), seq, self._world.fates[copy].place)

    def _lines(self, seq: int) -> list[Line]:
        return [line_of(self._route, self._world.fates[seq].key)]

    def _free(self, seq: int) -> None:
        self._owned.offer(self._state.unblock(self._route, seq))


def line_of(route: str, key: int) -> Line:
    return (route, "t", b"%d" % key)
