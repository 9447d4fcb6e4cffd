"""One turn of one delivery in the simulation: performs what `pipeline.delivery.turn` asks for."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connectors.protocol import Delivered, Outcome, Uncertain
from pipeline.delivery.retry_record import Known, RetryRecord
from pipeline.delivery.turn import (
    Bury,
    ReadRecord,
    Render,
    Rendered,
    Report,
    Send,
    Sent,
    Settle,
    Step,
    Turn,
    WriteRecord,
)

if TYPE_CHECKING:
    from tests.simulation.lane_ownership import Owned


@dataclass
class RunningTurn:
    """consumer: which brought the delivery; sent: the ERP may have it, and nobody has its answer; paused: since when its route was when it began."""

    consumer: str
    paused: float | None
    sent: bool = False
    outcome: Outcome | None = None
    steps: Iterator[None] = field(default_factory=lambda: iter(()))


def perform_turn(owned: "Owned", seq: int, running: RunningTurn, turn: Turn) -> Generator[None]:
    answer: Any = None
    while True:
        try:
            step = turn.send(answer)
        except StopIteration as end:
            owned.ended(seq, end.value)
            return
        answer = yield from _perform(owned, seq, running, step)
        yield


def _perform(owned: "Owned", seq: int, running: RunningTurn, step: Step) -> Generator[None, None, Any]:
    world, key = owned.world, str(seq)
    match step:
        case ReadRecord():
            revision, record = world.retry.get(key)
            return Known(record or RetryRecord(), revision)
        case WriteRecord(record, expected):
            written = yield from owned.act(lambda: world.retry.update(key, record, expected))
            return None if world.chance(0.02) else written
        case Render():
            return Rendered(safe=not (world.fates[seq].unsafe and world.rules.notes_intents))
        case Send():
            return (yield from _send(owned, seq, running))
        case Report():
            if isinstance(running.outcome, Delivered):
                owned.remember(seq)
        case Bury(letter):
            yield from owned.act(lambda: world.bury(seq, letter.reason), longest=0.0)
            if world.chance(0.05):  # the answer was lost: once more
                yield from owned.act(lambda: world.bury(seq, letter.reason), longest=0.0)
            owned.remember(seq)
            owned.buried(seq)
            owned.free(seq, None)
        case Settle(reason):
            yield from _settle(owned, seq, running, reason)
    return None


def _settle(owned: "Owned", seq: int, running: RunningTurn, reason: str | None) -> Generator[None]:
    owned.free(seq, None)
    world, name = owned.world, running.consumer
    while True:
        if reason is None:
            answer = yield from owned.act(lambda: world.ack(name, seq))
        else:
            answer = yield from owned.act(lambda: world.terminate(name, seq, reason))
        if answer == -503:
            raise owned.lost
        if answer is not None and not world.chance(0.1):
            running.sent = False
            if not owned.tenure.holds(world.now):
                world.excuse(seq)  # it was on its way for so long that the next owner holds what it settles
            return
        yield  # its confirmation was lost: once more


def _send(owned: "Owned", seq: int, running: RunningTurn) -> Generator[None, None, Sent]:
    world = owned.world
    owned.check()
    began, running.sent = world.now, True
    running.outcome = outcome = world.erp(seq, running.paused)
    if not world.rules.confirms_before_the_next and isinstance(outcome, Delivered):
        assert owned.state is not None
        owned.offer(owned.state.settle(seq, world.now))
    yield
    if isinstance(outcome, Uncertain):
        world.excuse(seq)
    if not isinstance(outcome, Delivered):
        running.sent = False
    owned.free(seq, outcome)
    return Sent(outcome, began, world.now)
