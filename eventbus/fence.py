"""Becoming the only writer of a position: read, claim, and only then look (rules C3, C5, T2, T3).

A position is the last message of its subject. Whoever writes it names the sequence of the one before
(`Nats-Expected-Last-Subject-Sequence`), so of two writers the server refuses one. A *claim* is the position
written again, alone: once it is stored, no batch that a predecessor still has on its way can commit. Looking for
the rest of a torn batch before that moment would miss what commits a moment later.

Pure: `claim` is a generator that yields what it wants done (a `Request`) and is sent the answer, so that the same
code runs against a server and in the simulation.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

import msgspec


class FenceMark(msgspec.Struct, frozen=True):
    """The members every position has, beside its writer's own.

    token: the batch id or claim that wrote it; scan_from: where a later owner begins to look for torn batches.
    """

    token: str
    claim: bool = False
    scan_from: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """A position as the stream's leader has it: its sequence (0 where there is none), payload and mark."""

    seq: int
    payload: bytes
    mark: FenceMark

    @classmethod
    def read(cls, seq: int, payload: bytes) -> "Stored":
        """Raises msgspec.DecodeError where the payload is no position."""
        return cls(seq, payload, _decoder.decode(payload))


_decoder = msgspec.json.Decoder(FenceMark)
NOTHING = Stored(0, b"", FenceMark(""))
"""There is no position yet: the first write expects sequence 0."""


class Refusal(Enum):
    """What the server's answer to a write means."""

    UNKNOWN = auto()  # it may be stored: read the position
    NOT_STORED = auto()  # surely not stored, may be sent again
    BUSY = auto()  # not stored, too many batches under way: they end within ten seconds
    FULL = auto()  # refused whole: no room in the stream
    FULL_MAYBE_TORN = auto()  # no room on the server: a prefix may be stored
    FOREIGN = auto()  # nothing that waiting mends


_REFUSALS = {
    10071: Refusal.UNKNOWN,  # wrong last sequence: another writer, or our own batch that came late
    10164: Refusal.UNKNOWN,  # the batch already wrote that subject
    503: Refusal.UNKNOWN,  # no responders, no leader
    10008: Refusal.UNKNOWN,  # JetStream is not available just now
    10009: Refusal.UNKNOWN,  # no suitable peers
    10176: Refusal.NOT_STORED,  # the batch has a gap
    10210: Refusal.BUSY,  # fifty batches under way
    10077: Refusal.FULL,  # maximum bytes exceeded
    10023: Refusal.FULL_MAYBE_TORN,  # insufficient resources
    10047: Refusal.FULL_MAYBE_TORN,  # insufficient storage
}
SINGLE_ID = "Single-Id"
"""The header in which a message that its writer stored without a batch bears an id like a batch's."""
SILENCE = 0
"""In place of a refusal's code where something waits: no answer came."""
_WAITING = {
    SILENCE: "JetStream gives no answer (where its disk was full it has to be restarted)",
    503: "JetStream does not serve the stream",
    10077: "the stream is full (max_bytes)",
    10023: "JetStream's storage is full",
    10047: "JetStream's storage is full",
}


def waiting_reason(code: int) -> str:
    """Why nothing is written, for people; `code` as `blocked` says it."""
    return _WAITING.get(code, f"JetStream refuses for now ({code})")


def classify_refusal(code: int | None) -> Refusal:
    """An error code of JetStream (None: no answer in time) as what it means for what was sent."""
    return Refusal.UNKNOWN if code is None else _REFUSALS.get(code, Refusal.FOREIGN)


@dataclass(frozen=True, slots=True)
class Read:
    """Asks for the position, through the stream's leader. Answer: Stored (NOTHING where there is none)."""


@dataclass(frozen=True, slots=True)
class Write:
    """Asks to write the position alone. Answer: the sequence, or the refusal's error code, or None (no answer)."""

    payload: bytes
    expected: int


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to a Write: `seq` where it is stored, else the server's `code`; neither: no answer in time."""

    seq: int | None
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """Asks for the last message above `after` and below `before` whose batch's or own id begins with the writer's prefix.

    Only messages of the writer's own subjects count, never the position. Answer: Torn or None.
    """

    after: int
    before: int


@dataclass(frozen=True, slots=True)
class Torn:
    """The last message that was stored without a position behind it: of a torn batch, or by itself.

    labels: of those messages that bear the writer's label, the last of each series (the label up to its first colon).
    """

    seq: int
    headers: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)


Request = Read | Write | Look
Answer = Stored | Written | Torn | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """We own the position: `fence` is what the next write expects, `torn` the end of what a torn batch left."""

    fence: int
    torn: Torn | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class ClaimLost:
    """Somebody else wrote the position meanwhile, or the write was refused; `code` is the server's."""

    code: int | None


def claim(
    held: Stored, encode: Callable[[FenceMark], bytes], token: str
) -> Generator[Request, Answer, Claimed | ClaimLost]:
    """Claims the position that was read as `held`. `encode` writes the position's own members around the mark."""
    scan_from = held.mark.scan_from if held.mark.claim else held.seq
    payload = encode(FenceMark(token, claim=True, scan_from=scan_from))
    written = yield Write(payload, held.seq)
    assert isinstance(written, Written)
    seq = written.seq
    if seq is None:
        if classify_refusal(written.code) is not Refusal.UNKNOWN:
            return ClaimLost(written.code)
        now = yield Read()
        assert isinstance(now, Stored)
        if now.mark.token != token:
            return ClaimLost(written.code)
        seq = now.seq
    torn = yield Look(scan_from, seq)
    assert torn is None or isinstance(torn, Torn)
    return Claimed(seq, torn, payload)
