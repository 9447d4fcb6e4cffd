import pytest

from cdc.position import FINISHED, Mark
from cdc.transaction_groups import GROUP_EVENTS
from tests.cdc.pgoutput_stream import (
    LSN,
    ORDERS,
    begin,
    commit,
    feed,
    insert,
    inserts,
    started,
    taken,
    update,
)


def test_small_transactions_are_grouped_whole() -> None:
    stream = started()
    for place in range(10):
        feed(stream, *inserts(9, LSN + 100 * place))
    feed(stream, begin(LSN + 5_000), insert(ORDERS, "1", "7", "", ""))
    groups = stream.take()
    assert [len(group.messages) for group in groups] == [36, 36, 18]
    assert [group.mark for group in groups] == [
        Mark(LSN + 300, FINISHED, LSN + 348),
        Mark(LSN + 700, FINISHED, LSN + 748),
        Mark(LSN + 900, FINISHED, LSN + 948),
    ]
    assert all(
        g.size == sum(len(m.payload) + len(m.headers) + len(m.subject) for m in g.messages) for g in groups
    )
    assert not stream.between_transactions
    assert stream.take() == []


def test_a_large_transaction_is_cut_and_says_when_it_ends() -> None:
    stream = started()
    feed(stream, *inserts(1, LSN - 100), *inserts(2 * GROUP_EVENTS))
    first, *pieces, end = stream.take()
    assert first.mark == Mark(LSN - 100, FINISHED, LSN - 52)
    assert [(len(piece.messages), piece.mark) for piece in pieces] == [
        (GROUP_EVENTS, Mark(LSN, GROUP_EVENTS, LSN - 52)),
        (GROUP_EVENTS, Mark(LSN, 2 * GROUP_EVENTS, LSN - 52)),
    ]
    assert (len(end.messages), end.mark) == (0, Mark(LSN, FINISHED, LSN + 48))


def test_large_rows_are_cut_by_size() -> None:
    stream = started()
    large = "x" * 400_000
    feed(stream, begin(LSN), *(insert(ORDERS, str(n), "7", large, "") for n in range(7)), commit(LSN))
    assert [len(group.messages) for group in stream.take()] == [3, 3, 1]


@pytest.mark.parametrize("ordinal", [0, 1, 2, 3, 4, FINISHED])
def test_what_was_published_is_skipped_and_the_rest_keeps_its_ids(ordinal: int) -> None:
    frames = [
        *inserts(2, LSN - 100),
        begin(LSN),
        insert(ORDERS, "1", "7", "", ""),
        update(ORDERS, ["1", "8", "b", "p"], old=["1", "7", None, None]),
        insert(ORDERS, "2", "8", "", ""),
        commit(LSN),
        *inserts(1, LSN + 100),
    ]
    whole = started("id", "company")
    feed(whole, *frames)
    rest = started("id", "company", resume_after=Mark(LSN, ordinal, LSN - 52))
    feed(rest, *frames)
    groups = rest.take()
    assert [m for group in groups for m in group.messages] == [
        m for m in taken(whole) if m.key > (LSN, ordinal)
    ]
    assert groups[-1].mark == Mark(LSN + 100, FINISHED, LSN + 148)


def test_a_transaction_whose_rest_is_empty_is_finished_after_a_restart() -> None:
    stream = started(resume_after=Mark(LSN, 2, LSN - 52))
    feed(stream, *inserts(2))
    assert [(g.messages, g.mark) for g in stream.take()] == [([], Mark(LSN, FINISHED, LSN + 48))]
