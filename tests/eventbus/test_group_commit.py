"""Group commit decides without I/O: what each answer leads to."""

from itertools import count

import pytest

from eventbus.fence import SILENCE, FenceMark, Stored, waiting_reason
from eventbus.group_commit import (
    Action,
    Commit,
    CommitLimits,
    Failed,
    Group,
    GroupCommit,
    Lost,
    Outgoing,
    Reclaim,
    Resolve,
    Send,
    Single,
)

FENCE = 7
FEW = CommitLimits(few=2, lag_s=1.0, lag=3)


def batches(limits: CommitLimits | None = None) -> GroupCommit[int]:
    numbers = count(1)
    return GroupCommit(lambda: f"c-{next(numbers)}", FENCE, limits)


def group(first: int, last: int) -> Group[int]:
    messages = [Outgoing(b"s", b"", b"payload", (number,)) for number in range(first, last + 1)]
    return Group.of(messages, last)


def actions(one: GroupCommit[int], now: float = 0.0) -> list[Action[int]]:
    found: list[Action[int]] = []
    while (action := one.decide(now)) is not None:
        found.append(action)
    return found


def sent(found: list[Action[int]]) -> list[int | str]:
    return [message.key[0] for action in found if isinstance(action, Send) for message in action.messages]


def committed_after(one: GroupCommit[int], now: float) -> tuple[list[int | str], Commit[int]]:
    """What is sent at `now`, and the commit that ends it."""
    *_, last = found = actions(one, now)
    assert isinstance(last, Commit)
    return sent(found), last


def stored(seq: int, token: str) -> Stored:
    return Stored(seq, b"", FenceMark(token))


def test_while_one_batch_commits_the_next_is_sent_all_but_its_position() -> None:
    one = batches()
    one.put(group(1, 2))
    assert actions(one) == [Send("c-1", 1, group(1, 2).messages), Commit("c-1", 3, 2, FENCE)]
    one.put(group(3, 3))
    one.put(group(4, 5))
    assert actions(one) == [Send("c-2", 1, group(3, 5).messages)]
    assert one.answered("c-1", 20, None, 0.0)
    assert actions(one) == [Commit("c-2", 4, 5, 20)]
    assert not one.idle
    assert one.answered("c-2", 24, None, 0.0)
    assert one.idle


def test_a_batch_holds_whole_groups_as_far_as_they_fit() -> None:
    one = batches(CommitLimits(messages=5))
    one.put(group(1, 3))
    one.put(group(4, 6))
    assert sent(actions(one)) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="6 messages"):
        one.put(group(7, 12))


@pytest.mark.parametrize("code", [10071, 10164, 503, None, 10023])
def test_an_unknown_outcome_is_read_back_and_what_was_stored_is_not_sent_again(code: int | None) -> None:
    one = batches()
    one.put(group(1, 2))
    actions(one)
    one.put(group(3, 3))
    actions(one)
    assert one.answered("c-1", None, code, 0.0) is None
    assert actions(one, 5.0) == [Resolve()]
    committed = one.resolved(stored(20, "c-1"))
    assert committed is not None
    assert (committed.mark, committed.seq) == (2, 20)
    assert committed_after(one, 5.0) == ([3], Commit("c-3", 2, 3, 20))


def test_an_answer_that_comes_while_the_position_is_read_changes_nothing() -> None:
    one = batches()
    one.put(group(1, 2))
    actions(one)
    one.answered("c-1", None, None, 0.0)
    assert actions(one, 5.0) == [Resolve()]
    assert one.answered("c-1", 20, None, 5.0) is None
    assert one.resolved(stored(20, "c-1"))
    assert one.idle


def test_what_is_not_stored_is_claimed_first_and_then_sent_without_what_a_torn_batch_left() -> None:
    one = batches()
    one.put(group(1, 4))
    actions(one)
    one.answered("c-1", None, None, 0.0)
    assert actions(one, 5.0) == [Resolve()]
    held = stored(FENCE, "claim")
    assert one.resolved(held) is None
    assert actions(one, 5.0) == [Reclaim(held)]
    one.reclaimed(11, (2,))
    assert committed_after(one, 5.0) == ([3, 4], Commit("c-2", 3, 4, 11))


def test_a_position_that_somebody_else_wrote_ends_it() -> None:
    one = batches()
    one.put(group(1, 1))
    actions(one)
    one.answered("c-1", None, 10071, 0.0)
    assert actions(one, 5.0) == [Resolve()]
    theirs = stored(30, "claim of another")
    assert one.resolved(theirs) is None
    assert actions(one, 5.0) == [Lost(theirs)]
    assert actions(one, 99.0) == []


@pytest.mark.parametrize(("code", "pause"), [(10176, 0.05), (10210, 1.0), (10077, 1.0)])
def test_what_is_surely_not_stored_is_sent_again_after_a_pause(code: int, pause: float) -> None:
    one = batches()
    one.put(group(1, 2))
    actions(one)
    one.put(group(3, 3))
    actions(one)
    one.answered("c-1", None, code, 0.0)
    assert (one.blocked, one.wake) == (code, pause)
    assert actions(one, pause / 2) == []
    assert committed_after(one, pause) == ([1, 2, 3], Commit("c-3", 4, 3, FENCE))
    one.answered("c-3", 20, None, pause)
    assert one.blocked is None


def test_silence_is_told_as_what_keeps_us_waiting() -> None:
    one = batches()
    one.put(group(1, 1))
    actions(one)
    one.answered("c-1", None, None, 0.0)
    assert one.blocked == SILENCE
    assert "no answer" in waiting_reason(SILENCE)


def test_unknown_outcomes_that_repeat_are_slowed_down() -> None:
    one = batches()
    one.put(group(1, 1))
    now, reads = 0.0, 0
    while now < 10.0:
        for action in actions(one, now):
            match action:
                case Commit(batch):
                    one.answered(batch, None, 10071, now)
                case Resolve():
                    reads += 1
                    one.resolved(stored(FENCE, ""))
                case Reclaim():
                    one.reclaimed(FENCE, None)
                case _:
                    pass
        now = max(now + 0.001, one.wake or 0.0)
    assert 5 < reads < 12


def test_a_refusal_that_waiting_does_not_mend_ends_it_after_some_patience() -> None:
    one = batches(CommitLimits(patience=2))
    one.put(group(1, 1))
    now, found = 0.0, actions(one)
    one.answered("c-1", None, 10054, now)
    assert one.wake is not None
    now = one.wake
    assert actions(one, now) == [Resolve()]
    one.resolved(stored(FENCE, ""))
    assert actions(one, now) == [Reclaim(stored(FENCE, ""))]
    one.reclaimed(8, None)
    found = actions(one, now)
    assert isinstance(found[-1], Commit)
    one.answered(found[-1].batch, None, 10054, now)
    assert actions(one, now) == [Failed(10054)]


def test_a_refused_next_batch_leaves_the_committing_one_its_answer() -> None:
    one = batches()
    one.put(group(1, 1))
    actions(one)
    one.put(group(2, 2))
    actions(one)
    one.answered("c-2", None, 10210, 0.0)
    assert one.answered("c-1", 20, None, 0.5)
    assert actions(one, 0.5) == []
    assert committed_after(one, 1.0) == ([2], Commit("c-3", 2, 2, 20))


def test_room_counts_what_is_not_committed() -> None:
    one = batches(CommitLimits(buffer=10))
    rooms = [one.room]
    one.put(group(1, 2))
    actions(one)
    rooms.append(one.room)
    one.answered("c-1", 20, None, 0.0)
    assert [*rooms, one.room] == [True, False, True]


def single(number: int, batch: str) -> Single:
    return Single(batch, group(number, number).messages[0], FENCE)


def test_few_messages_are_stored_one_by_one_without_a_batch() -> None:
    one = batches(FEW)
    one.put(group(1, 1))
    assert actions(one) == [single(1, "c-1")]
    one.put(group(2, 2))
    one.put(group(3, 3))
    assert actions(one) == []
    committed = one.answered("c-1", 20, None, 0.0)
    assert committed is not None
    assert (committed.mark, committed.seq, committed.single) == (1, FENCE, True)
    assert actions(one) == [single(2, "c-2")]


def test_more_than_few_or_several_of_one_group_go_into_a_batch_behind_the_single_one() -> None:
    one = batches(FEW)
    one.put(group(1, 1))
    actions(one)
    one.put(group(2, 3))
    assert actions(one) == [Send("c-2", 1, group(2, 3).messages)]
    one.answered("c-1", 20, None, 0.0)
    assert actions(one) == [Commit("c-2", 3, 3, FENCE)]
    one.answered("c-2", 23, None, 0.0)
    for number in (4, 5, 6):
        one.put(group(number, number))
    assert committed_after(one, 0.0) == ([4, 5, 6], Commit("c-3", 4, 6, 23))


@pytest.mark.parametrize(("messages", "each_s"), [(3, 0.0), (2, 0.6)])
def test_the_position_follows_single_messages(messages: int, each_s: float) -> None:
    one = batches(FEW)
    for number in range(1, messages + 1):
        one.put(group(number, number))
        assert isinstance(one.decide((number - 1) * each_s), Single)
        one.answered(f"c-{number}", 20 + number, None, number * each_s)
    one.put(group(9, 9))
    commit = Commit(f"c-{messages + 1}", 1, messages, FENCE)
    assert actions(one, messages * each_s) == [commit]
    committed = one.answered(commit.batch, 30, None, 2.0)
    assert committed is not None
    assert (committed.mark, committed.seq, committed.messages, committed.single) == (messages, 30, 0, False)
    assert actions(one, 2.0) == [Single(f"c-{messages + 2}", group(9, 9).messages[0], 30)]


@pytest.mark.parametrize(("torn", "left"), [((1,), []), (None, [1])])
def test_a_single_message_without_an_answer_is_claimed_and_looked_for(
    torn: tuple[int] | None, left: list[int]
) -> None:
    one = batches(FEW)
    one.put(group(1, 1))
    actions(one)
    one.answered("c-1", None, None, 0.0)
    assert actions(one, 5.0) == [Resolve()]
    held = stored(FENCE, "the position before")
    one.resolved(held)
    assert actions(one, 5.0) == [Reclaim(held)]
    one.reclaimed(11, torn)
    found = actions(one, 5.0)
    if left:
        assert found == [Single("c-2", group(1, 1).messages[0], 11)]
    else:
        assert found == [Commit("c-2", 1, 1, 11)]
