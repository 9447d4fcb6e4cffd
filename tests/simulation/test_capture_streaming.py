"""Transactions sent before they commit, the outbox and notes: each rule about them is needed (rules C8, C12)."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from cdc.capture_stream import CaptureStream
from cdc.decoder import Decoder, Note
from cdc.event_assembly import begin as transaction_of
from cdc.outbox import OutboxEvents
from cdc.pgoutput import INSERT, parse_commit
from cdc.replication_frames import MESSAGE_AT, wal_start
from cdc.streamed_transactions import StreamedCommit, StreamedTransaction, StreamedTransactions, records
from tests.cdc.pgoutput_stream import OTHER, begin, commit, frame, insert, within
from tests.simulation.capture_world import play
from tests.simulation.seeds import EVERYDAY, first_violation


def forgets_aborts(_transaction: StreamedTransaction, _subxid: int) -> None:
    pass


def counts_what_was_rolled_back(
    transaction: StreamedTransaction, run: int, cut: Any = StreamedTransaction._cut
) -> None:
    log = bytes(transaction.tail[max(0, transaction._starts[run] - transaction.stored) :])
    gone = records(log)[0] if log else []
    cut(transaction, run)
    for one in gone:
        if one[MESSAGE_AT] == INSERT:
            transaction.add(transaction.xid.to_bytes(4), frame(within(transaction.xid, insert(OTHER, "1"))))


def keeps_on_disk_what_was_rolled_back(
    transaction: StreamedTransaction, run: int, cut: Any = StreamedTransaction._cut
) -> None:
    stored = transaction.stored
    cut(transaction, run)
    transaction.stored = stored


def takes_a_message_for_the_transactions_own(transactions: StreamedTransactions, payload: bytes) -> None:
    transactions._add(payload[MESSAGE_AT + 1 : MESSAGE_AT + 5], payload)


async def confirms_at_the_commit(
    stream: CaptureStream, committed: Any, spool: Any, replay: Any = CaptureStream._replay
) -> None:
    _, end = parse_commit(committed.commit[MESSAGE_AT:])
    stream._tenure.progress.acknowledged(end, 0.0)
    await replay(stream, committed, spool)


def publishes_each_block(
    decoder: Decoder, stop: bytes, stream_stop: Any = Decoder._stream_stop
) -> StreamedCommit:
    block, lsn = decoder._streamed._block, wal_start(stop)
    assert block is not None
    stream_stop(decoder, stop)
    decoder._streamed.open[block.xid] = StreamedTransaction(block.xid)
    decoder._described.replay_begins()
    return StreamedCommit(block, frame(begin(lsn, block.xid), lsn), frame(commit(lsn), lsn))


async def replays_without_its_last(
    stream: CaptureStream, frames: Iterable[bytes], spool: Any, decode: Any = CaptureStream._decode
) -> None:
    await decode(stream, list(frames)[:-1] if stream.replaying else frames, spool)


async def note_overtakes(stream: CaptureStream, note: Note) -> None:
    listener = stream._listeners.get(note.prefix)
    waits = listener(note) if listener else None
    if waits is not None:
        await waits


def takes_an_ordinal(events: OutboxEvents, lsn: int, sent_at: int, content: bytes) -> Any:
    return events.message(transaction_of(events._origin, lsn, sent_at, None), lsn, content)


COMMITTED, NOTHING_SKIPPED = "only what was committed", "nothing skipped"


@pytest.mark.parametrize(
    ("rule", "instead", "breaks"),
    [
        pytest.param(
            "cdc.streamed_transactions.StreamedTransaction.abort",
            forgets_aborts,
            COMMITTED,
            id="forgets aborts",
        ),
        pytest.param(
            "cdc.streamed_transactions.StreamedTransaction._cut",
            counts_what_was_rolled_back,
            "",
            id="counts what was rolled back",
        ),
        pytest.param(
            "cdc.streamed_transactions.StreamedTransaction._cut",
            keeps_on_disk_what_was_rolled_back,
            "",
            id="keeps on disk what was rolled back",
        ),
        pytest.param(
            "cdc.streamed_transactions.StreamedTransactions._keep_message",
            takes_a_message_for_the_transactions_own,
            COMMITTED,
            id="guesses who wrote a message",
        ),
        pytest.param(
            "cdc.capture_stream.CaptureStream._replay",
            confirms_at_the_commit,
            "confirmed after stored",
            id="confirms at the commit",
        ),
        pytest.param(
            "cdc.decoder.Decoder._stream_stop", publishes_each_block, COMMITTED, id="publishes each block"
        ),
        pytest.param(
            "cdc.capture_stream.CaptureStream._note",
            note_overtakes,
            "a note comes in order",
            id="a note overtakes",
        ),
        pytest.param(
            "cdc.outbox.OutboxEvents.lone_message", takes_an_ordinal, "", id="a lone message takes an ordinal"
        ),
    ],
)
def test_each_rule_is_needed(
    monkeypatch: pytest.MonkeyPatch, rule: str, instead: Callable[..., Any], breaks: str
) -> None:
    monkeypatch.setattr(rule, instead)
    assert f": {breaks}" in first_violation(play, range(EVERYDAY)).args[0].partition("\n")[0]
