import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.decoder import Decoder, DecodingFailed
from cdc.position import Mark
from cdc.streamed_transactions import CannotStream, StreamedCommit
from eventbus.group_commit import Outgoing
from tests.cdc.pgoutput_stream import (
    COLUMNS,
    INT8,
    LSN,
    ORDERS,
    STREAM_STOP,
    TABLES,
    TEXT,
    asked,
    begin,
    commit,
    decoder,
    events,
    feed,
    insert,
    inserts,
    kept,
    message,
    relation,
    started,
    stream_abort,
    stream_commit,
    stream_start,
    taken,
    within,
)
from tests.cdc.streaming_server import DESCRIBED, Server

XID, SUB, OTHER_SUB = 800, 801, 802


def served(choice: random.Random, *, messages: bool) -> Server:
    server = Server(choice, messages=messages)
    for _ in range(choice.randrange(120)):
        server.step()
    for session in [*server.sessions]:
        server.end(session, commits=True)
    return server


def decoded(payloads: Iterable[bytes]) -> list[Outgoing]:
    stream = decoder(TABLES)
    feed(stream, *payloads)
    assert not stream.streamed
    return taken(stream)


@given(st.randoms(use_true_random=False))
def test_streamed_or_whole_the_events_are_the_same(choice: random.Random) -> None:
    server = served(choice, messages=False)
    assert decoded(server.streamed) == decoded(server.whole)


@given(st.randoms(use_true_random=False))
def test_with_messages_they_are_the_same_or_it_is_told(choice: random.Random) -> None:
    server = served(choice, messages=True)
    try:
        streamed = decoded(server.streamed)
    except CannotStream:
        return
    assert streamed == decoded(server.whole)


def row(label: int, number: int) -> bytes:
    return within(label, insert(ORDERS, str(number), "7", "", ""))


def block(*payloads: bytes, first: bool = True) -> list[bytes]:
    return [stream_start(XID, first=first), *payloads, STREAM_STOP]


def described(label: int = XID) -> bytes:
    return within(label, DESCRIBED)


def keys(stream: Decoder) -> list[int]:
    return [event["key"]["id"] for event in events(stream)]


def test_nothing_of_an_open_transaction_is_seen_and_all_of_it_once_it_commits() -> None:
    stream = started()
    feed(stream, *block(described(), row(XID, 1)), *inserts(1))
    assert keys(stream) == [0]
    feed(stream, *block(row(XID, 2), first=False), stream_commit(XID, LSN + 100))
    first, second = events(stream)
    assert [first["id"], second["id"]] == ["shop:0/16B37AC:1", "shop:0/16B37AC:2"]
    assert (first["source"]["xid"], first["source"]["commit_ts"]) == (XID, "2026-11-19T03:28:19.832462Z")


def test_a_transaction_that_is_given_up_leaves_nothing() -> None:
    stream = started()
    feed(stream, *block(described(), row(XID, 1)), stream_abort(XID, XID))
    assert not stream.streamed
    assert keys(stream) == []


def test_a_block_is_no_moment_between_transactions_and_what_lies_between_blocks_is() -> None:
    stream = started()
    seen = []
    for payload in [*block(described(), row(XID, 1)), *block(row(XID, 2), first=False)]:
        feed(stream, payload)
        seen.append(stream.between_transactions)
    assert seen == [False, False, False, True, False, False, True]


def test_while_its_frames_are_fed_a_streamed_transaction_is_open() -> None:
    stream = started()
    feed(stream, *block(described(), row(XID, 1)))
    committed = asked(stream, stream_commit(XID, LSN))
    assert isinstance(committed, StreamedCommit)
    assert stream.feed(iter([committed.begin])) is None
    assert not stream.between_transactions
    assert stream.feed(iter([*kept(committed.transaction), committed.commit])) is None
    assert stream.between_transactions


@pytest.mark.parametrize("resume_ordinal", [0, 1, 2, 3])
def test_what_was_published_of_a_streamed_transaction_is_not_published_again(resume_ordinal: int) -> None:
    stream = started(resume_after=Mark(LSN, resume_ordinal, LSN - 100))
    feed(stream, *block(described(), *(row(XID, n) for n in (1, 2, 3))), stream_commit(XID, LSN))
    assert [e["source"]["ordinal"] for e in events(stream)] == [1, 2, 3][resume_ordinal:]


def test_a_published_transaction_is_skipped_and_what_it_told_of_its_tables_holds() -> None:
    stream = started(resume_after=Mark(LSN, 2**31 - 1, LSN + 48))
    wider = relation(ORDERS, "orders", {**COLUMNS, "more": TEXT}, key=["id"])
    changed = within(XID, insert(ORDERS, "1", "7", "", "", "x"))
    feed(stream, *block(within(XID, wider), changed), stream_commit(XID, LSN))
    assert keys(stream) == []
    feed(stream, begin(LSN + 100), insert(ORDERS, "2", "7", "", "", "x"), commit(LSN + 100))
    assert events(stream)[0]["after"]["more"] == "x"


def test_what_was_sent_last_about_a_table_holds_after_a_transaction_that_was_told_earlier() -> None:
    stream = started()
    feed(stream, *block(described(), row(XID, 1)))
    narrow = relation(ORDERS, "orders", {"id": INT8, "company": TEXT}, key=["id"])
    feed(stream, narrow, begin(LSN), insert(ORDERS, "2", "7"), commit(LSN), stream_commit(XID, LSN + 100))
    feed(stream, begin(LSN + 200), insert(ORDERS, "3", "7"), commit(LSN + 200))
    assert [len(e["after"]) for e in events(stream)] == [2, 4, 2]


TOLD = within(XID, message(transactional=True))


@pytest.mark.parametrize(
    "payloads",
    [
        [*block(described(), row(XID, 1), TOLD, row(SUB, 2))],
        [*block(described(), row(XID, 1), TOLD)],
        [
            *block(described(), row(XID, 1), row(OTHER_SUB, 2), TOLD),
            stream_abort(XID, OTHER_SUB),
            *block(TOLD, row(SUB, 3), first=False),
        ],
    ],
)
def test_a_message_that_may_belong_to_what_was_rolled_back_cannot_be_streamed(payloads: list[bytes]) -> None:
    stream = started()
    feed(stream, *payloads)
    with pytest.raises(CannotStream, match=r"transaction 800 .*savepoint"):
        feed(stream, stream_abort(XID, SUB))


def test_a_childs_xid_is_higher_also_behind_the_end_of_all_xids() -> None:
    stream, top, last = started(), 2**32 - 2, 2**32 - 1
    written = described(top), row(top, 1), row(last, 2), row(3, 3)
    feed(stream, stream_start(top), *written, STREAM_STOP, stream_abort(top, last), stream_commit(top, LSN))
    assert keys(stream) == [1]


def test_a_message_behind_a_row_of_what_was_rolled_back_goes_with_it() -> None:
    stream = started()
    feed(stream, *block(described(), TOLD, row(XID, 1), row(SUB, 2), TOLD, row(OTHER_SUB, 3), TOLD))
    feed(stream, stream_abort(XID, SUB), *block(row(XID, 4), first=False), stream_commit(XID, LSN))
    assert [(e["key"]["id"], e["source"]["ordinal"]) for e in events(stream)] == [(1, 2), (4, 3)]


@pytest.mark.parametrize(
    ("payloads", "says"),
    [
        ([stream_commit(XID, LSN)], "transaction 800 was never begun"),
        ([stream_start(XID, first=False)], "begins twice, or was never begun"),
        ([*block(), stream_start(XID)], "begins twice, or was never begun"),
        ([stream_start(XID), begin(LSN)], "does not belong between Stream Start and Stream Stop"),
        ([stream_start(XID), stream_start(SUB)], "does not belong between"),
        ([begin(LSN), stream_start(XID)], "within another transaction"),
        ([*block(), begin(LSN), stream_commit(XID, LSN)], "within another transaction"),
        ([STREAM_STOP], "stands where it does not belong"),
        ([b"S\0\0"], "cannot be decoded"),
        ([*block(), b"c\0\0"], "cannot be decoded"),
    ],
)
def test_what_does_not_fit_together_stops(payloads: list[bytes], says: str) -> None:
    stream = started()
    feed(stream, *payloads[:-1])
    with pytest.raises(DecodingFailed, match=says):
        feed(stream, payloads[-1])
