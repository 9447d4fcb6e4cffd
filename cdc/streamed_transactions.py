"""Transactions that are sent before they commit (protocol version 2): kept undecoded until their end is known.

    Stream Start ── frames, each with its (sub)transaction's xid ── Stream Stop     any number of blocks
    Stream Abort of a subtransaction: what it sent goes; of the whole: everything goes
    Stream Commit: what is left is an ordinary transaction

A transaction is a log of records: four bytes of length, then the frame without the xid. Its end stands in memory
(`tail`); what stood before may have been stored elsewhere (`cdc.transaction_spool`).
"""

import struct
from array import array
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from cdc.pgoutput import (
    DELETE,
    INSERT,
    MESSAGE,
    ORIGIN,
    RELATION,
    TRUNCATE,
    TYPE,
    UPDATE,
    MessageInvalid,
    StreamCommit,
    message_name,
    parse_stream_abort,
    parse_stream_commit,
    parse_stream_start,
)
from cdc.replication_frames import MESSAGE_AT, xlog_data

_LENGTH = struct.Struct(">I")
_TAG_END = MESSAGE_AT + 1
_XID = slice(_TAG_END, _TAG_END + 4)
_BODY = _TAG_END + 4
_HALF = 2**31


class CannotStream(Exception):
    """The transactions can be read whole only, after their commit: begin again with `streaming` off."""


class StreamedCommit(NamedTuple):
    """A streamed transaction committed: `begin`, its frames in order and `commit` are to be fed now."""

    transaction: "StreamedTransaction"
    begin: bytes
    commit: bytes


class StreamedTransaction:
    """The log of one top-level transaction. Runs of records of one subtransaction are remembered, 12 bytes each.

    A message's record does not tell which subtransaction wrote it (the server puts the top-level xid): a run of its
    own, of nobody.
    """

    __slots__ = ("_label", "_labels", "_starts", "stored", "tail", "xid")

    def __init__(self, xid: int) -> None:
        self.xid = xid
        self.tail = bytearray()
        self.stored = 0
        """How many bytes of the log stand before `tail`, elsewhere; what was stored behind them means nothing."""
        self._label = b""
        self._labels, self._starts = array("I"), array("Q")

    @property
    def length(self) -> int:
        return self.stored + len(self.tail)

    def add(self, label: bytes, frame: bytes) -> None:
        """The next record; `label`: the subtransaction's xid, or `NOBODY`."""
        if label != self._label:
            self._label = label
            self._labels.append(int.from_bytes(label))
            self._starts.append(self.length)
        self.tail += _LENGTH.pack(len(frame) - 4)
        self.tail += frame[:_TAG_END]
        self.tail += frame[_BODY:]

    def tail_stored(self) -> None:
        self.stored += len(self.tail)
        self.tail.clear()

    def abort(self, subxid: int) -> None:
        """Takes back what a subtransaction wrote. Raises CannotStream where that cannot be told.

        From its first record on everything is its own or its children's, whose xids are higher; all that was written
        before it began has lower ones.
        """
        labels, kept, cut = self._labels, len(self._labels), len(self._labels)
        while kept and (labels[kept - 1] == 0 or (labels[kept - 1] - subxid) % 2**32 < _HALF):
            kept -= 1
            if labels[kept]:
                cut = kept
        if kept < cut:
            raise CannotStream(
                f"transaction {self.xid} sent a logical message, and then rolled back to a savepoint before or behind "
                "it: the server does not tell which before the transaction commits"
            )
        if cut < len(labels):
            self._cut(cut)

    def _cut(self, run: int) -> None:
        start = self._starts[run]
        del self._labels[run:], self._starts[run:]
        self._label = b""  # whoever comes next begins a run
        del self.tail[max(0, start - self.stored) :]
        self.stored = min(self.stored, start)


NOBODY = bytes(4)


def records(log: bytes) -> tuple[list[bytes], int]:
    """The whole frames at the beginning of a stretch of a log, and how many bytes they take.

    Where there is none, how many bytes the first one takes.
    """
    frames: list[bytes] = []
    at, end = 0, len(log)
    while at + 4 <= end:
        after = at + 4 + _LENGTH.unpack_from(log, at)[0]
        if after > end:
            break
        frames.append(log[at + 4 : after])
        at = after
    return frames, at if frames else 4 + _LENGTH.unpack_from(log)[0]


class StreamedTransactions:
    """All that are open, by xid. `handlers`: by tag, for the frames of an open block."""

    def __init__(self) -> None:
        self.open: dict[int, StreamedTransaction] = {}
        self._block: StreamedTransaction | None = None
        self._add: Callable[[bytes, bytes], None] = _outside
        self._numbers = count(1)
        self.handlers: list[Callable[[bytes], None]] = [_refuse] * 256
        for tag, handler in (
            *((tag, self._keep) for tag in (INSERT, UPDATE, DELETE, TRUNCATE, TYPE)),
            (RELATION, self._keep_relation),
            (MESSAGE, self._keep_message),
            # it has no xid, and nothing that an event tells
            (ORIGIN, _ignore),
        ):
            self.handlers[tag] = handler

    @property
    def in_block(self) -> bool:
        return self._block is not None

    def next_number(self) -> int:
        """Relation messages are numbered in the order in which they are sent."""
        return next(self._numbers)

    def start(self, frame: bytes) -> None:
        xid, first = parse_stream_start(frame[MESSAGE_AT:])
        if first == (xid in self.open):
            raise MessageInvalid(f"transaction {xid} begins twice, or was never begun")
        self._block = self.open.setdefault(xid, StreamedTransaction(xid))
        self._add = self._block.add

    def stop(self, _frame: bytes) -> None:
        self._block, self._add = None, _outside

    def abort(self, frame: bytes) -> None:
        xid, subxid = parse_stream_abort(frame[MESSAGE_AT:])
        if xid == subxid:
            self.open.pop(xid, None)
        elif xid in self.open:
            self.open[xid].abort(subxid)

    def commit(self, frame: bytes) -> StreamedCommit:
        end: StreamCommit = parse_stream_commit(frame[MESSAGE_AT:])
        if end.xid not in self.open:
            raise MessageInvalid(f"transaction {end.xid} was never begun")
        header = frame[:MESSAGE_AT]
        return StreamedCommit(self.open.pop(end.xid), header + end.begin(), header + end.commit())

    def _keep(self, frame: bytes) -> None:
        self._add(frame[_XID], frame)

    def _keep_message(self, frame: bytes) -> None:
        self._add(NOBODY, frame)

    def _keep_relation(self, frame: bytes) -> None:
        # a relation message has no LSN of its own: its number takes the place
        self._add(frame[_XID], xlog_data(self.next_number(), frame[MESSAGE_AT:]))


def _outside(_label: bytes, _frame: bytes) -> None:
    raise AssertionError("frames are kept within a block only")


def _ignore(_frame: bytes) -> None:
    pass


def _refuse(frame: bytes) -> None:
    raise MessageInvalid(
        f"{message_name(frame[MESSAGE_AT:])} does not belong between Stream Start and Stream Stop"
    )
