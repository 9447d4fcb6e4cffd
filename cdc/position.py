"""The position: how far the WAL has been published, and of which database (rules "Order and position").

It is the last message of `position.<source>` in EVENTS, written in the same atomic batch as the events before it.
"""

from collections.abc import Iterable
from typing import NamedTuple, Self

import msgspec

from eventbus.fence import FenceMark
from eventbus.lsn import format_lsn, parse_lsn

FINISHED = 2**31 - 1
"""The ordinal of a transaction of which everything is published."""


MOST_AGAIN, LONGEST_AGAIN = 1_000, 2**15
"""Keys that a run's mark may hold, and their characters together; each position is written with them, in one message."""


class RunMark(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a backfill's rows are published.

    n: the number of the last one; cursor: the key behind which to read on, as PostgreSQL prints its columns, empty
    before the first row; until: the last key when it began to read; again: keys, as events tell them, to be read
    besides; finished: there is no more to read.
    """

    run: str
    table: str = ""
    n: int = 0
    cursor: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    finished: bool = False

    def with_again(self, keys: Iterable[str]) -> Self:
        """Where they are too many, the table is read from its beginning."""
        again = tuple(dict.fromkeys((*self.again, *keys)))
        if len(again) > MOST_AGAIN or sum(map(len, again)) > LONGEST_AGAIN:
            return msgspec.structs.replace(self, cursor=(), until=(), again=())
        return msgspec.structs.replace(self, again=again)


Runs = tuple[RunMark, ...]
"""The open backfills that have begun, one mark each."""


def run_of(runs: Runs, run: str) -> RunMark:
    """Its mark; that of a run which has not begun where there is none."""
    return next((mark for mark in runs if mark.run == run), RunMark(run))


def with_run(runs: Runs, mark: RunMark) -> Runs:
    """With this mark in place of the run's last one."""
    return (*without_run(runs, mark.run), mark)


def without_run(runs: Runs, run: str) -> Runs:
    return tuple(mark for mark in runs if mark.run != run)


class Mark(NamedTuple):
    """A place between two changes. lsn, ordinal: of the last published one; flush: what PostgreSQL may let go.

    runs: how far backfills have come at this place.
    """

    lsn: int
    ordinal: int
    flush: int
    runs: Runs = ()

    @property
    def key(self) -> tuple[int, int]:
        return self.lsn, self.ordinal

    @property
    def within_transaction(self) -> bool:
        # ordinal 0 is a message outside transactions, or nothing yet
        return 0 < self.ordinal < FINISHED

    @property
    def reach(self) -> int:
        """Where the WAL that published events come from ends, at least."""
        # a transaction's LSN is where its commit record begins: of one published in part that record belongs to it
        return max(self.flush, self.lsn + self.within_transaction)


class Identity(msgspec.Struct, frozen=True):
    """What must stay the same for LSNs to mean the same; the timeline may go on (rule C4)."""

    system_id: str
    timeline: int
    database: str
    publication_oid: int
    slot: str


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """The payload, LSNs as text. written: the writer's clock, for people; dropped: `cdc drop` removed the slot.

    backfills: left out where none is open.
    """

    lsn: str
    ordinal: int
    flush: str
    system_id: str
    timeline: int
    database: str
    publication_oid: int
    slot: str
    tables_hash: str
    epoch: int = 1
    token: str = ""
    claim: bool = False
    scan_from: int = 0
    written: str = ""
    dropped: bool = False
    backfills: Runs | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def at(cls, mark: Mark, identity: Identity, tables_hash: str, epoch: int) -> Self:
        return cls(
            lsn=format_lsn(mark.lsn),
            ordinal=mark.ordinal,
            flush=format_lsn(mark.flush),
            tables_hash=tables_hash,
            epoch=epoch,
            **msgspec.structs.asdict(identity),
        )

    @property
    def mark(self) -> Mark:
        return Mark(parse_lsn(self.lsn), self.ordinal, parse_lsn(self.flush), self.backfills or ())

    @property
    def identity(self) -> Identity:
        return Identity(self.system_id, self.timeline, self.database, self.publication_oid, self.slot)

    def encode(self, mark: Mark, fence: FenceMark, written: str) -> bytes:
        """The payload that says `mark` in place of this position's, written under `fence`."""
        moved = msgspec.structs.replace(
            self,
            lsn=format_lsn(mark.lsn),
            ordinal=mark.ordinal,
            flush=format_lsn(mark.flush),
            token=fence.token,
            claim=fence.claim,
            scan_from=fence.scan_from,
            written=written,
            backfills=mark.runs or msgspec.UNSET,
        )
        return _encoder.encode(moved)


def decode_position(payload: bytes) -> Position:
    """Raises ValueError where the payload is no position."""
    try:
        position = _decoder.decode(payload)
        _ = position.mark
    except (ValueError, msgspec.DecodeError) as error:
        raise ValueError(f"the stored position cannot be read: {error}") from None
    return position


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Position)
