"""A webhook is stored once: the event stands in one atomic batch with markers of its id (docs/decisions/0011). Pure.

    opened (expecting none) │ event │ stored          subject of both markers: intake.<source>.<hash of the event's id>

A marker that says `stored` proves the event, whatever became of it since. `opened` alone is what a torn batch left
(one replica: a full disk, a loss of power), or a batch that is being stored at this moment: first it is *claimed*,
written again alone, so that nothing older can be stored any more; only then the message behind it is looked at.

`store_once` is a generator that yields what it wants done (a `Request`) and is sent the answer, so that the same code
runs against a server and in the simulation.
"""

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import sha256

import msgspec

from eventbus.fence import Refusal, Written, classify_refusal


class Marker(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a marker says. tenant: its name; digest: of the body; object: the event's, where it is too big for a message.

    stored: the event is. opened: in a claim, the sequence of the batch's first message; 0: this one is that.
    """

    id: str
    tenant: str
    digest: str
    object: str = ""
    stored: bool = False
    opened: int = 0


def digest_of(event_id: str) -> str:
    """What stands for the id in its markers' subject: an id may be long."""
    return sha256(event_id.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Found:
    """A marker at its sequence."""

    seq: int
    marker: Marker


@dataclass(frozen=True, slots=True)
class StoreBatch:
    """Asks to store opened, event and stored in one batch, expecting the last marker at `expected`. Answer: Written."""

    expected: int


@dataclass(frozen=True, slots=True)
class WriteMarker:
    """Asks to write a marker alone, over the one at `expected`. Answer: Written."""

    marker: Marker
    expected: int


@dataclass(frozen=True, slots=True)
class ReadMarker:
    """Asks for the last marker, through the stream's leader. Answer: Found, or None."""


@dataclass(frozen=True, slots=True)
class ReadEventId:
    """Asks for the event's id in the message at `seq`, through the leader. Answer: text, "" where it has none or is gone."""

    seq: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Asks to wait a little: longer each time. Answer: None."""


class Outcome(Enum):
    """What became of the webhook."""

    STORED = auto()
    KNOWN = auto()


@dataclass(frozen=True, slots=True)
class Stored:
    """It is in the stream. by: its marker, where it was there before (Outcome.KNOWN), or another webhook's of that id."""

    outcome: Outcome
    by: Marker


@dataclass(frozen=True, slots=True)
class Refused:
    """The server takes nothing just now. Unless `surely`, the event may be stored: the webhook's next arrival tells."""

    code: int
    surely: bool = False


Request = StoreBatch | WriteMarker | ReadMarker | ReadEventId | Pause
Answer = Written | Found | str | None
Steps = Generator[Request, Answer, Stored | Refused]


def store_once(mine: Marker) -> Steps:
    """Ends only with an answer: whoever performs it bounds the time, and then knows nothing."""
    expected, sure = 0, True
    while True:
        written = yield StoreBatch(expected)
        assert isinstance(written, Written)
        if written.seq is not None:
            return Stored(Outcome.STORED, mine)
        match classify_refusal(written.code):
            case Refusal.FULL | Refusal.FOREIGN:
                return Refused(written.code or 0, sure)
            case Refusal.FULL_MAYBE_TORN:
                return Refused(written.code or 0)
            case Refusal.NOT_STORED | Refusal.BUSY:
                yield Pause()
            case Refusal.UNKNOWN:
                sure = False
                resolved = yield from _resolve(mine)
                if not isinstance(resolved, int):
                    return resolved
                expected = resolved


def _resolve(mine: Marker) -> Generator[Request, Answer, Stored | Refused | int]:
    """What a batch came to whose answer tells nothing; the sequence that the next one expects: it is not stored."""
    while True:
        found = yield ReadMarker()
        if found is None:
            yield Pause()
            return 0
        assert isinstance(found, Found)
        marker = found.marker
        if marker.stored or marker.tenant != mine.tenant:
            return Stored(Outcome.KNOWN, marker)
        claimed = found.seq
        if not marker.opened:
            claim = msgspec.structs.replace(marker, opened=found.seq)
            written = yield WriteMarker(claim, found.seq)
            assert isinstance(written, Written)
            if written.seq is None:
                if classify_refusal(written.code) is not Refusal.UNKNOWN:
                    return Refused(written.code or 0)
                yield Pause()
                continue
            marker, claimed = claim, written.seq
        if (yield ReadEventId(marker.opened + 1)) != mine.id:
            return claimed
        # nobody need look again; where this fails, the next one looks
        yield WriteMarker(msgspec.structs.replace(marker, stored=True), claimed)
        return Stored(Outcome.KNOWN, marker)
