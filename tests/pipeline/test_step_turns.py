"""A delivery of several requests, ended at every point at which it can be: what is finished is not sent again."""

import itertools
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from connectors.protocol import Answer, Delivered, Outcome, Rejected, RetryLater, Unavailable, Uncertain
from pipeline.delivery.disposition import DeadLetter, Problem, RetryAt
from pipeline.delivery.retry_record import ANSWER_BYTES, Known, RetryRecord, finished
from pipeline.delivery.turn import (
    Bury,
    Done,
    Later,
    ReadRecord,
    Render,
    Rendered,
    Report,
    Rules,
    Save,
    Send,
    Sent,
    Settle,
    Settled,
    Waiting,
    WriteRecord,
    take_turn,
)
from pipeline.tenants.model import RetryPolicy

RULES = Rules(RetryPolicy(max_attempts=3, initial_s=1, factor=1, max_s=1, jitter=0), 10_000.0, 30.0)


class Killed(Exception):
    pass


@dataclass(frozen=True)
class Step:
    name: str
    repeat: str = "upsert"
    reads: bool = False


@dataclass
class World:
    """The ERP, the record and a mapping. arrivals: requests in the ERP's order; outcomes: of the next requests."""

    steps: list[Step]
    saves: bool = True
    arrivals: list[str] = field(default_factory=list)
    lookups: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    record: RetryRecord | None = None
    revision: int = 0
    letter: str | None = None
    saved: int = 0
    settled: bool = False
    forgotten: bool = True
    reports: list[Report] = field(default_factory=list)
    now: float = 100.0


@dataclass
class Worker:
    """What a process remembers between turns. kill_at: the number of the step at which it ends, before or after it."""

    world: World
    kill_at: int | None = None
    after: bool = False
    known: Known | None = None
    held: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    facts: dict[str, Any] | None = None
    count: int = 0
    read_again: list[bool] = field(default_factory=list)

    def run(self) -> None:
        while not self.world.settled:
            self.turn()

    def turn(self) -> None:
        world = self.world
        kept, self.facts = self.facts, None
        record = (self.known.record if self.known else None) or world.record or RetryRecord()
        self._facts = kept or self._from(record)
        turn = take_turn(RULES, self.known, self.held, lambda: world.now, 0.0)
        answer: Any = None
        ending: Any = None
        try:
            while True:
                step = turn.send(answer)
                self.count += 1
                if self.count == self.kill_at and not self.after:
                    raise Killed
                answer = self._perform(step)
                if self.count == self.kill_at and self.after:
                    raise Killed
        except StopIteration as end:
            ending = end.value
        if isinstance(ending, Waiting):
            self.known, self.held = ending.known, ending.held
            self.facts = self._facts if ending.goes_on else None
            world.now = max(world.now, ending.due)
        else:
            assert isinstance(ending, Settled)

    def _from(self, record: RetryRecord) -> dict[str, Any]:
        finds = dict.fromkeys(record.finds, True)
        return {"answers": {**record.answers, **self.answers}, "finds": finds, "unsure": record.unsure}

    def _perform(self, step: Any) -> Any:
        world = self.world
        match step:
            case ReadRecord():
                known = Known(world.record or RetryRecord(), world.revision)
                self._facts = self._from(known.record)
                return known
            case WriteRecord(record, expected):
                if expected != world.revision:
                    return None
                world.record, world.revision = record, world.revision + 1
                return world.revision
            case Render():
                self._rendered = self._render()
                return self._rendered
            case Send():
                return self._send()
            case Save():
                world.saved += 1
            case Bury(letter):
                world.letter = letter.reason
            case Settle(_, forgets):
                world.settled, world.forgotten = True, forgets
            case Report():
                world.reports.append(step)
        return None

    def _render(self) -> Rendered | Done:
        world = self.world
        for step in world.steps:
            if step.name in self._facts["answers"]:
                continue
            safe = step.reads or step.repeat != "unsafe"
            last = step is world.steps[-1] and not world.saves
            finds = self._facts["finds"]
            if step.repeat == "find" and step.name in self._facts["unsure"]:
                if step.name not in finds:
                    return Rendered(safe=True, step=step.name, lookup=True, last=False)
                if finds[step.name]:
                    continue
            return Rendered(
                safe=safe, step=step.name, reads=step.reads, looked_up=step.repeat == "find", last=last
            )
        return Done(world.saves)

    def _send(self) -> Sent:
        world, rendered = self.world, self._rendered
        assert isinstance(rendered, Rendered)
        if rendered.lookup:
            world.lookups += 1
            self._facts["finds"][rendered.step] = rendered.step in world.arrivals
            return Sent(Delivered(Answer(200, {}, None)), world.now, world.now)
        outcome = (
            world.outcomes.pop(0) if world.outcomes else Delivered(Answer(201, {}, {"id": Decimal("1.50")}))
        )
        if isinstance(outcome, Delivered | Uncertain):
            world.arrivals.append(rendered.step)
        if isinstance(outcome, Delivered) and not rendered.last:
            assert outcome.answer is not None
            self._facts["answers"][rendered.step] = outcome.answer
            if not rendered.reads:
                self.answers[rendered.step] = outcome.answer
        stale = isinstance(outcome, RetryLater) and bool(self.read_again) and self.read_again.pop(0)
        return Sent(outcome, world.now, world.now, reads_again=stale)


KINDS = [("upsert", False), ("unsafe", False), ("find", False), ("upsert", True)]


@pytest.mark.parametrize("saves", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_killed_anywhere_it_sends_nothing_twice_that_must_not_be(count: int, *, saves: bool) -> None:
    for kinds in itertools.product(KINDS, repeat=count):
        steps = [Step("" if count == 1 else f"s{place}", *kind) for place, kind in enumerate(kinds)]
        if steps[-1].reads:
            continue
        for kill_at, after in itertools.product(range(1, 40), (False, True)):
            world = World(steps, saves)
            first = Worker(world, kill_at, after)
            try:
                first.run()
            except Killed:
                Worker(world).run()
            check(world, steps)
            if first.count < kill_at:
                break


def check(world: World, steps: list[Step]) -> None:
    changing = [step for step in steps if not step.reads]
    times = {step.name: world.arrivals.count(step.name) for step in changing}
    for step in changing:
        assert times[step.name] <= (2 if step.repeat == "upsert" else 1), (step, world)
    # a repeat is one of the step at which it ended, or of none: what was finished never comes again
    assert sum(times.values()) <= len(changing) + 1
    firsts = list(dict.fromkeys(name for name in world.arrivals if name in times))
    assert firsts == [step.name for step in changing][: len(firsts)]
    if world.letter is None:
        assert len(firsts) == len(changing)
        assert bool(world.saved) == world.saves
        assert world.forgotten
    else:
        assert world.letter == "uncertain"
        assert any(step.repeat == "unsafe" for step in changing[: len(firsts) + 1])


def test_a_request_that_may_have_arrived_is_looked_up_before_it_is_sent_again() -> None:
    world = World([Step("create", "find")], outcomes=[Uncertain("no answer")])
    Worker(world).run()
    assert (world.arrivals, world.lookups, world.saved) == (["create"], 1, 1)
    # one that never arrived is sent, once it was looked up
    world = World([Step("create", "find")], outcomes=[Uncertain("no answer")])
    worker = Worker(world)
    worker.turn()
    world.arrivals.clear()
    worker.run()
    assert (world.arrivals, world.lookups) == (["create"], 1)
    # one over which the ERP failed may be there, and one that was only read is read again
    world = World([Step("create", "find")], outcomes=[RetryLater("failed", Answer(500, {}, None))])
    Worker(world).run()
    assert (world.arrivals, world.lookups) == (["create"], 1)
    world = World([Step("create")], outcomes=[RetryLater("failed", Answer(500, {}, None))])
    Worker(world).run()
    assert (world.arrivals, world.lookups) == (["create"], 0)
    # one that the ERP has put off was not processed
    busy = RetryLater("busy", Answer(400, {}, None))
    world = World([Step("create", "find")], outcomes=[busy, RetryLater("busy"), Unavailable("down")])
    Worker(world).run()
    assert (world.arrivals, world.lookups) == (["create"], 0)


def test_what_has_changed_is_read_again_at_once_and_then_as_the_route_says() -> None:
    world = World([Step("get", reads=True), Step("put")], outcomes=[Delivered(Answer(200, {}, None))])
    stale = RetryLater("changed", Answer(412, {}, None))
    world.outcomes += [stale, Delivered(Answer(200, {}, None)), stale]
    worker = Worker(world)
    worker.read_again = [True, False]
    worker.run()
    assert world.arrivals == ["get", "get", "get", "put"]
    dues = [report.disposition.due for report in world.reports if isinstance(report.disposition, RetryAt)]
    assert dues == [100.0, 101.0]
    assert {report.number for report in world.reports} == {1, 2, 3}


def test_an_end_in_the_middle_leaves_what_is_finished_for_a_replay() -> None:
    world = World(
        [Step("one"), Step("two"), Step("three")], outcomes=[Delivered(Answer(201, {}, 5)), Rejected("no")]
    )
    Worker(world).run()
    assert (world.letter, world.forgotten) == ("rejected", False)
    assert world.record == RetryRecord(answers={"one": Answer(201, {}, 5)})
    assert [(report.step, type(report.disposition).__name__) for report in world.reports] == [
        ("one", "Next"),
        ("two", "DeadLetter"),
    ]
    replay = World(world.steps, record=world.record, revision=world.revision)
    Worker(replay).run()
    assert (replay.arrivals, replay.letter, replay.forgotten) == (["two", "three"], None, True)
    # one that may have arrived is looked up by a replay, too
    world = World([Step("one", "find"), Step("two")], outcomes=[Uncertain("no answer")])
    worker = Worker(world)
    worker.turn()
    world.now = RULES.deadline
    worker.run()
    assert (world.letter, world.arrivals) == ("expired", ["one"])
    replay = World(world.steps, arrivals=["one"], record=world.record, revision=world.revision)
    Worker(replay).run()
    assert (replay.arrivals, replay.lookups, replay.letter) == (["one", "two"], 1, None)


def test_a_wait_for_what_is_read_spends_no_attempt_and_keeps_what_is_finished() -> None:
    world = World([Step("one"), Step("two")])
    worker = Worker(world)
    render = worker._render
    waits = [Later("not yet")] * 3

    def rendered() -> Any:
        found = render()
        return waits.pop() if isinstance(found, Rendered) and found.step == "two" and waits else found

    worker._render = rendered  # type: ignore[method-assign]
    worker.run()
    assert (world.arrivals, world.letter) == (["one", "two"], None)
    assert {report.number for report in world.reports} == {1}
    held = [report.disposition for report in world.reports if report.sent is None]
    assert [getattr(each, "why", "") for each in held] == ["not yet"] * 2


def test_the_deadline_ends_a_wait_and_says_for_what() -> None:
    world = World([Step("one")])
    worker = Worker(world)
    worker._render = lambda: Later("nothing saved yet", "wait_for")  # type: ignore[assignment,return-value,method-assign]
    worker.run()
    assert (world.arrivals, world.letter) == ([], "expired")
    assert isinstance(letter := world.reports[-1].disposition, DeadLetter)
    assert letter.problem == Problem("wait_for", "nothing saved yet")
    assert world.now < RULES.deadline
    assert 10 < len(world.reports) < 20  # of some ten thousand waits


def test_a_mistake_in_saving_undoes_nothing() -> None:
    world = World([Step("")])
    worker = Worker(world)
    render = worker._render
    found: list[Any] = []

    def rendered() -> Any:
        found.append(render())
        return Problem("value", "of save") if isinstance(found[-1], Done) else found[-1]

    worker._render = rendered  # type: ignore[method-assign]
    worker.run()
    assert (world.arrivals, world.letter, world.settled) == ([""], None, True)


def test_an_answer_is_kept_without_cookies_and_within_bounds() -> None:
    record = finished(
        RetryRecord(), "a", Answer(200, {"Set-Cookie": "s=1", "etag": "x"}, {"cost": Decimal("1.50")})
    )
    assert record.answers["a"] == Answer(200, {"etag": "x"}, {"cost": Decimal("1.50")})
    record = finished(record, "b", Answer(201, {"etag": "y"}, "x" * ANSWER_BYTES))
    assert record.answers["b"] == Answer(201, {}, None, truncated=True)
    for place in range(20):
        record = finished(record, f"c{place}", Answer(200, {}, "x" * (ANSWER_BYTES - 100)))
    assert len(record.answers) == 22
    assert sum(found.truncated for found in record.answers.values()) > 10
