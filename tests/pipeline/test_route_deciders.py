"""How routes leave their lane and come back: what is decided, step by step (rules R3.4, R6, R7)."""

from collections.abc import Generator, Mapping
from typing import Any

import pytest

from pipeline.lanes.settled_memory import SettledMemory
from pipeline.lanes.state import Barrier, LaneState, Load, Taken
from pipeline.lanes.takeover import (
    ConsumerFacts,
    CreateConsumer,
    DeleteConsumer,
    Inspect,
    ListConsumers,
    ReadDeadLetters,
    ReadState,
    State,
    TakenOver,
    WriteState,
    take_over,
)
from pipeline.routes.attach import (
    Drain,
    Drained,
    Park,
    StayApart,
    TakeBack,
    attach,
    forgettable,
    is_at_its_end,
)
from pipeline.routes.crowding import LANE_BYTES, crowds, must_wait_apart, the_largest
from pipeline.routes.detach import Halt, Leaving, LetGo, Record, Standing, detach
from pipeline.routes.session import InspectOwn, ReadOwnDeadLetters, SweepOwn, begin_session
from pipeline.routes.trouble import RoutesInTrouble, Trouble, Word

ROUTE = "acme/orders"
ON = Trouble("on", 7, start=3, upto=9, todo=(3, 8), settled_through=2, why="retry")


def performed(steps: Generator[Any, Any, Any], *answers: Any) -> tuple[list[Any], Any]:
    """What was asked for, and what came of it."""
    asked: list[Any] = []
    answer: Any = None
    rest = list(answers)
    try:
        while True:
            asked.append(steps.send(answer))
            answer = rest.pop(0) if rest else None
    except StopIteration as end:
        return asked, end.value


def test_a_route_leaves_by_state_consumer_and_only_then_lets_go() -> None:
    before = Trouble("off", 5, settled_through=4)
    asked, trouble = performed(detach(ROUTE, Leaving("retry", 7), before), Standing([3, 6, 8], 9))
    assert trouble == Trouble("on", 7, start=6, upto=9, todo=(6, 8), settled_through=4, why="retry")
    assert asked == [
        Halt(ROUTE),
        Record(ROUTE, trouble),
        CreateConsumer(ROUTE, trouble),
        LetGo(ROUTE, trouble),
    ]


def test_a_route_that_holds_nothing_begins_behind_what_the_lane_has_seen() -> None:
    _, trouble = performed(detach(ROUTE, Leaving("paused", 7, 50.0), None), Standing([], 9))
    assert (trouble.start, trouble.todo, trouble.paused_since) == (10, (), 50.0)


def test_a_route_comes_back_by_state_and_only_then_is_its_consumer_deleted() -> None:
    ends = ConsumerFacts(floor=20, delivered=20, consumer_seq=9, pending=0, waiting=3)
    asked, back = performed(attach(ROUTE, ON), None, Drained(15), ends)
    assert back == Trouble("off", 7, settled_through=20)
    assert asked == [
        Park(ROUTE),
        Drain(ROUTE),
        InspectOwn(ROUTE, 7),
        Record(ROUTE, back),
        DeleteConsumer(ROUTE, 7),
        TakeBack(ROUTE, back),
    ]


def test_a_route_pulls_on_until_its_consumer_is_where_the_lane_goes_on() -> None:
    behind = ConsumerFacts(floor=14, delivered=14, consumer_seq=9, pending=0, waiting=1)
    there = ConsumerFacts(floor=15, delivered=15, consumer_seq=9, pending=0, waiting=1)
    asked, back = performed(attach(ROUTE, ON), None, Drained(15), behind, Drained(15), there)
    assert [type(step) for step in asked[:5]] == [Park, Drain, InspectOwn, Drain, InspectOwn]
    assert back.settled_through == 15


@pytest.mark.parametrize("answers", [(None, None), (None, Drained(None), None)])
def test_a_route_in_trouble_again_stays_apart(answers: tuple[Any, ...]) -> None:
    asked, back = performed(attach(ROUTE, ON), *answers)
    assert back is None
    assert asked[-1] == StayApart(ROUTE)
    assert not any(isinstance(step, Record | DeleteConsumer) for step in asked)


@pytest.mark.parametrize(
    ("pending", "waiting", "delivered", "first_new", "ends"),
    [
        (0, 0, 12, None, True),
        (0, 0, 12, 15, True),
        (0, 2, 15, 15, True),
        (0, 2, 14, 15, False),
        (0, 2, 14, None, False),
        (1, 0, 15, 15, False),
    ],
)
def test_where_a_routes_own_consumer_may_end(
    pending: int, waiting: int, delivered: int, first_new: int | None, *, ends: bool
) -> None:
    assert is_at_its_end(ConsumerFacts(0, delivered, 9, pending, waiting), first_new) is ends


def test_a_session_brings_back_what_is_pending_and_knows_its_dead_letters() -> None:
    facts = ConsumerFacts(floor=5, delivered=9, consumer_seq=12, pending=3)
    asked, session = performed(begin_session(ROUTE, ON), facts, None, [4, 8])
    assert asked == [InspectOwn(ROUTE, 7), SweepOwn(ROUTE, 7, 6, 9, 12), ReadOwnDeadLetters(ROUTE)]
    assert (session.barrier, session.consumer_seq, session.dead) == (Barrier(9, 3), 12, [8])


def test_a_session_of_what_was_given_back_sweeps_nothing() -> None:
    facts = ConsumerFacts(floor=5, delivered=9, consumer_seq=12, pending=3)
    asked, session = performed(begin_session(ROUTE, ON, 3), facts)
    assert asked == [InspectOwn(ROUTE, 7)]
    assert session.barrier == Barrier(9, 3)
    asked, _ = performed(begin_session(ROUTE, ON, 2), facts, None, [])
    assert SweepOwn(ROUTE, 7, 6, 9, 12) in asked


def test_a_session_makes_the_consumer_that_somebody_deleted() -> None:
    facts = ConsumerFacts(floor=2, delivered=2, consumer_seq=0, pending=0)
    asked, session = performed(begin_session(ROUTE, ON), None, None, facts, [])
    made = [InspectOwn(ROUTE, 7), CreateConsumer(ROUTE, ON), InspectOwn(ROUTE, 7)]
    assert asked == [*made, ReadOwnDeadLetters(ROUTE)]
    assert session.barrier.passed


def test_a_takeover_makes_the_consumers_that_are_missing_and_deletes_the_others() -> None:
    routes = {"a/b": ON, "c/d": Trouble("on", 8), "e/f": Trouble("off", 9, settled_through=3)}
    taken, asked = _taken_over(State(4, None, routes), [("a/b", 7), ("c/d", 3), ("e/f", 9), ("x/y", 1)])
    assert taken.state == State(5, None, routes)
    of_consumers = [step for step in asked if isinstance(step, CreateConsumer | DeleteConsumer)]
    assert of_consumers == [
        DeleteConsumer("c/d", 3),
        DeleteConsumer("e/f", 9),
        DeleteConsumer("x/y", 1),
        CreateConsumer("c/d", routes["c/d"]),
    ]


def _taken_over(state: State, there: list[tuple[str, int]]) -> tuple[TakenOver, list[Any]]:
    answers: Mapping[type, Any] = {
        ReadState: (state, 3),
        WriteState: 4,
        ListConsumers: there,
        Inspect: ConsumerFacts(0, 0, 0, 0),
        ReadDeadLetters: [],
    }
    asked: list[Any] = []
    steps = take_over(None, "me", 100.0)
    answer: Any = None
    try:
        while True:
            asked.append(steps.send(answer))
            answer = answers.get(type(asked[-1]))
    except StopIteration as end:
        return end.value, asked


def test_what_the_lane_brings_of_a_route_that_is_apart_is_acknowledged_unseen_until_it_parks() -> None:
    routes = RoutesInTrouble({ROUTE: ON})
    assert routes.on_lane("acme/other", 5) is Word.TAKE
    assert routes.on_lane(ROUTE, 5) is Word.UNSEEN
    routes.park(ROUTE, 11)
    assert routes.on_lane(ROUTE, 4) is Word.PARK  # once more: not new
    assert routes.first_new(ROUTE) is None
    assert [routes.on_lane(ROUTE, seq) for seq in (12, 13)] == [Word.PARK, Word.PARK]
    assert routes.first_new(ROUTE) == 12
    routes.unpark(ROUTE)
    assert routes.on_lane(ROUTE, 14) is Word.UNSEEN
    assert routes.first_new(ROUTE) is None


def test_what_the_lane_brings_of_a_route_that_came_back_is_its_own_unless_it_was_settled_apart() -> None:
    routes = RoutesInTrouble({ROUTE: ON})
    routes.take(ROUTE, Trouble("off", 7, settled_through=20))
    assert [routes.on_lane(ROUTE, seq) for seq in (20, 21)] == [Word.UNSEEN, Word.TAKE]
    routes.take(ROUTE, None)
    assert routes.on_lane(ROUTE, 20) is Word.TAKE
    assert not routes


def test_a_routes_own_consumer_brings_again_what_was_settled_before_it_was_made() -> None:
    routes = RoutesInTrouble({ROUTE: ON})
    words = [routes.on_its_own(ROUTE, seq) for seq in (3, 5, 8, 9, 10)]
    assert words == [Word.TAKE, Word.UNSEEN, Word.TAKE, Word.UNSEEN, Word.TAKE]


def test_what_was_settled_apart_is_forgotten_when_the_lane_is_past_it() -> None:
    off = Trouble("off", 7, settled_through=20)
    assert not forgettable(off, 19)
    assert forgettable(off, 20)
    assert not forgettable(ON, 1000)


def test_the_time_of_pauses_is_added_up() -> None:
    paused = ON.paused(100.0, 130.0)
    assert paused.paused_s(130.0) == 30.0
    assert paused.paused(110.0, 140.0) == paused
    resumed = paused.paused(None, 150.0)
    assert (resumed.paused_since, resumed.paused_s(900.0)) == (None, 50.0)
    assert resumed.paused(200.0, 210.0).paused_s(260.0) == 110.0


def test_a_long_wait_and_a_crowd_take_a_route_out() -> None:
    assert must_wait_apart(111.0, 100.0)
    assert not must_wait_apart(110.0, 100.0)
    assert [crowds(load) for load in (None, Load(500, 0), Load(501, 0))] == [False, False, True]


def test_the_largest_leave_a_full_lane() -> None:
    loads = {
        "a": Load(400, 1),
        "b": Load(450, 2),
        "c": Load(300, LANE_BYTES),
        "gone": Load(5_000, 5 * LANE_BYTES),
    }
    leaves = {"gone"}.__contains__
    assert list(the_largest(loads, leaves)) == ["c"]
    assert list(the_largest({**loads, "c": Load(300, LANE_BYTES - 3)}, leaves)) == []
    many = {str(n): Load(n, 0) for n in range(100, 150)} | {"big": Load(900, 0), "bigger": Load(1_000, 0)}
    assert list(the_largest(many, leaves)) == ["bigger", "big"]


def test_a_stopped_route_starts_nothing_and_its_neighbours_do() -> None:
    state: LaneState[str] = LaneState(Barrier(0, 0), SettledMemory())
    for seq, route in enumerate(("a", "b", "a"), 1):
        assert state.seen(seq) is Taken.HELD
        state.hold(seq, "", [(route, "t", b"%d" % seq)], 10)
    state.start(1)
    state.stop("a")
    assert [state.may_start(seq) for seq in (1, 2, 3)] == [False, True, False]
    assert (state.at_work("a"), state.of("a")) == (1, [1, 3])
    assert state.pause(1) == []
    assert state.go("a") == [1, 3]


def test_what_is_let_go_is_neither_held_nor_settled() -> None:
    state: LaneState[str] = LaneState(Barrier(0, 0), SettledMemory())
    line = ("a", "t", b"1")
    state.hold(1, "", [line], 10)
    state.hold(2, "", [line], 5, apart=True)
    assert (state.bytes, state.by_lane, state.loads["a"]) == (10, 1, Load(2, 15))
    assert state.let_go(1) == [2]
    assert state.let_go(2) == []
    assert (state.bytes, state.by_lane, state.loads) == (0, 0, {})
    assert state.known(1) is Taken.HELD


def test_what_stands_behind_a_dead_letter_waits_and_nothing_else() -> None:
    state: LaneState[str] = LaneState(Barrier(0, 0), SettledMemory())
    line, other = ("a", "t", b"1"), ("a", "t", b"2")
    state.block([line], 3, 3)
    for seq, key in ((4, line), (5, other), (6, line)):
        state.hold(seq, "", [key], 10, apart=True)
    assert [state.may_start(seq) for seq in (4, 5, 6)] == [False, True, False]
    assert state.is_blocked(6)
    state.shed(6)
    assert (state.loads["a"].bytes, state.loads["a"].shed) == (20, 1)
    state.hold(9, "", [line], apart=True, place=3)  # its replay
    assert state.may_start(9)
    state.start(9)
    assert state.settle(9, 0.0) == []
    assert state.unblock("b", 3) == []
    assert state.unblock("a", 3) == [4]
    assert not state.is_blocked(6)


def test_a_replay_stands_where_the_first_delivery_did() -> None:
    state: LaneState[str] = LaneState(Barrier(0, 0), SettledMemory())
    line = ("a", "t", b"1")
    for seq, place in ((8, None), (12, 5), (13, 4), (9, None)):
        state.hold(seq, "", [line], place=place)
    order = []
    while head := next((seq for seq, _ in state.held() if state.may_start(seq)), None):
        order.append(head)
        state.start(head)
        state.settle(head, 0.0)
    assert order == [13, 12, 8, 9]


def test_a_barrier_is_passed_when_all_that_was_pending_is_back() -> None:
    barrier = Barrier(9, 2)
    barrier.saw(4)
    barrier.saw(4)
    assert not barrier.passed
    barrier.saw(8)
    barrier.saw(10)
    assert (barrier.passed, barrier.missed) == (True, False)


def test_what_is_new_does_not_end_what_is_old() -> None:
    ahead, silent = Barrier(9, 1), Barrier(9, 1)
    ahead.saw(10)
    silent.nothing_left()
    assert (ahead.missed, silent.missed) == (True, True)
    assert not ahead.passed


def test_a_lane_knows_how_far_its_last_owner_was() -> None:
    assert LaneState[str](Barrier(14, 0), SettledMemory()).highest == 14
