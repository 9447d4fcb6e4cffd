"""What a person decides about a dead letter, done exactly once: replay or discard (rule R11). Pure.

A generator yields what it wants done and is sent the answer, so that the same code runs against a server and in the
simulation, with a crash between any two steps and several operators at once.

The marker `position.replay.<tenant>.<route>.<seq>` in DELIVERIES decides, by compare-and-set: the dead letter is in
another stream, which nothing could change in the same moment.

    claim ──► is the letter still there? ──► (replay: the copy) ──► verdict ──► tombstone in the letter's place

- The copy names the claim's sequence: it is stored only while that claim is the marker. Who comes next claims again, so
  that nothing of the last one can come any more, and only then looks for its copy between the two claims.
- The letter is looked at behind the claim: a tombstone is written only once a marker has decided, so where it is
  still open either no verdict was ever stored or its marker is there, and the claim would have been refused. So a
  marker may be purged as soon as its letter has been replaced (and `finish` replaces it within the keeper's minute).
- A verdict is never changed. Who finds one completes it, whatever was wanted.
"""

from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from eventbus.fence import Refusal, Written, classify_refusal
from pipeline.dlq.stored_letter import Copy, LetterUnreadable, copy_of, read_letter
from pipeline.dlq.tombstone import Tombstone, Verdict, read_tombstone

PATIENCE = 5
"""How often a refusal that waiting does not mend may come."""


class Marker(msgspec.Struct, frozen=True, omit_defaults=True):
    """verdict None: a claim. The rest is there for whoever must finish what another began.

    token: who wrote it; of a replay's verdict, the copy's HEADER_REPLAY_ID. scan_from: behind which sequence a copy
    may lie; 0: behind the marker itself. copy: the copy's sequence. idle: it was looked for copies, and nothing is under
    way. lives_s: how long the tombstone is to stand; by, at, note: as in Tombstone.
    """

    token: str
    verdict: Verdict | None = None
    scan_from: int = 0
    copy: int = 0
    idle: bool = False
    lives_s: int = 0
    by: str = ""
    at: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class StoredMarker:
    seq: int
    marker: Marker

    @property
    def scan_from(self) -> int:
        return self.marker.scan_from or self.seq

    @property
    def tombstone(self) -> Tombstone:
        """What a verdict puts in the letter's place."""
        marker = self.marker
        if marker.verdict == "discarded":
            return Tombstone(None, marker.by, marker.at, marker.note)
        return Tombstone(marker.copy, marker.by, marker.at)


@dataclass(frozen=True, slots=True)
class LetterMessage:
    """What is stored on a dead letter's subject: the letter, or its tombstone."""

    seq: int
    headers: Mapping[str, str]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to become of a dead letter. by: a person; at: seconds since the epoch; lives_s: the tombstone's life."""

    verdict: Verdict
    by: str
    at: float
    lives_s: int
    note: str = ""
    new_key: bool = False


# ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ReadMarker:
    """Through the stream's leader. Answer: StoredMarker, or None."""


@dataclass(frozen=True, slots=True)
class WriteMarker:
    """Alone, in place of the one before, which is at `expected` (0: there is none). Answer: fence.Written."""

    marker: Marker
    expected: int


@dataclass(frozen=True, slots=True)
class ReadLetter:
    """Through the stream's leader. Answer: LetterMessage, or None."""


@dataclass(frozen=True, slots=True)
class Look:
    """The copy that an earlier try left above `after` and below `before`: on the route's subject in DELIVERIES, its
    HEADER_REPLAY_ID beginning with `token_prefix`. Answer: FoundCopy, or None.
    """

    after: int
    before: int


@dataclass(frozen=True, slots=True)
class FoundCopy:
    seq: int
    token: str


@dataclass(frozen=True, slots=True)
class SendCopy:
    """Store the copy in DELIVERIES, only while the marker is at `fence`. Answer: fence.Written."""

    copy: Copy
    fence: int


@dataclass(frozen=True, slots=True)
class Replace:
    """The tombstone in the place of what is at `expected` in DLQ, to expire after `lives_s`. Answer: fence.Written."""

    tombstone: Tombstone
    expected: int
    lives_s: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Refused for now (None: no answer): wait a moment, each time longer, with some chance in it. Answer: None."""

    code: int | None


Request = ReadMarker | WriteMarker | ReadLetter | Look | SendCopy | Replace | Pause


# ── How it ends ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Ended:
    """The tombstone stands (or has stood). ours: the verdict is this call's own."""

    tombstone: Tombstone
    ours: bool


@dataclass(frozen=True, slots=True)
class Gone:
    """There is nothing to decide about: no letter (any more)."""


@dataclass(frozen=True, slots=True)
class Denied:
    """It must not be done: says why. Nothing was sent."""

    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The server refuses, for a reason that waiting does not mend."""

    code: int | None


Ending = Ended | Gone | Denied | Failed
Steps = Generator[Request, Any, Ending]


def token_prefix(seq: int) -> str:
    """What the tokens of a dead letter's copies begin with, and nobody else's. seq: the dead delivery's."""
    return f"replay-{seq}-"


def settle_letter(wanted: Wanted, new_token: Callable[[], str]) -> Steps:
    """new_token: an id that nobody ever used, beginning with `token_prefix`."""
    earlier: StoredMarker | None = None
    mine: set[str] = set()
    refusals = 0
    while True:
        if earlier is not None and earlier.marker.verdict is not None:
            return (yield from _replace(earlier, None, ours=earlier.marker.token in mine))
        mine.add(token := new_token())
        outcome = yield from _try(wanted, earlier, mine, token)
        if not isinstance(outcome, Written):
            return outcome
        refusals += classify_refusal(outcome.code) is Refusal.FOREIGN
        if refusals >= PATIENCE:
            return Failed(outcome.code)
        # whatever the answer was, the marker tells what is stored
        yield Pause(outcome.code)
        earlier = yield ReadMarker()


def finish(found: StoredMarker, new_token: Callable[[], str]) -> Steps:
    """Completes what somebody began and did not end: for the keeper, before it purges. Where others act, they go on."""
    if found.marker.verdict is not None:
        return (yield from _replace(found, None, ours=False))
    claim = msgspec.structs.replace(found.marker, token=new_token(), scan_from=found.scan_from)
    claimed: Written = yield WriteMarker(claim, found.seq)
    if claimed.seq is None:
        return Failed(claimed.code)
    left: FoundCopy | None = yield Look(found.scan_from, claimed.seq)
    if left is None:
        rest = msgspec.structs.replace(claim, token=new_token(), scan_from=0, idle=True)
    else:
        rest = _replayed(claim, left)
    written: Written = yield WriteMarker(rest, claimed.seq)
    if written.seq is None:
        return Failed(written.code)
    if left is None:
        return Gone()
    return (yield from _replace(StoredMarker(written.seq, rest), None, ours=False))


def _try(
    wanted: Wanted, earlier: StoredMarker | None, mine: Collection[str], token: str
) -> Generator[Request, Any, Ending | Written]:
    """Claims and decides; a refusal where that is to be tried again."""
    scan_from = earlier.scan_from if earlier else 0
    claim = Marker(
        token, None, scan_from, lives_s=wanted.lives_s, by=wanted.by, at=wanted.at, note=wanted.note
    )
    claimed: Written = yield WriteMarker(claim, earlier.seq if earlier else 0)
    if claimed.seq is None:
        return claimed
    letter: LetterMessage | None = yield ReadLetter()
    if letter is None:
        return Gone()
    if (tombstone := read_tombstone(letter.headers, letter.payload)) is not None:
        return Ended(tombstone, ours=False)
    verdict: Marker | Ending | Written | None = None
    if earlier is not None and not earlier.marker.idle:
        left: FoundCopy | None = yield Look(scan_from, claimed.seq)
        verdict = None if left is None else _replayed(earlier.marker, left)
    if verdict is None:
        verdict = yield from _verdict(wanted, claim, letter, claimed.seq)
    if not isinstance(verdict, Marker):
        return verdict
    written: Written = yield WriteMarker(verdict, claimed.seq)
    if written.seq is None:
        return written
    ours = verdict.token in mine
    return (yield from _replace(StoredMarker(written.seq, verdict), letter.seq, ours=ours))


def _verdict(
    wanted: Wanted, claim: Marker, letter: LetterMessage, fence: int
) -> Generator[Request, Any, Marker | Denied | Written]:
    """What the marker is to say; of a replay once its copy is stored."""
    if wanted.verdict == "discarded":
        return msgspec.structs.replace(claim, verdict="discarded", scan_from=0)
    copy = _copy(wanted, letter, claim.token)
    if isinstance(copy, Denied):
        return copy
    stored: Written = yield SendCopy(copy, fence)
    return stored if stored.seq is None else _replayed(claim, FoundCopy(stored.seq, claim.token))


def _replayed(claim: Marker, copy: FoundCopy) -> Marker:
    return msgspec.structs.replace(
        claim, token=copy.token, verdict="replayed", scan_from=0, copy=copy.seq, note=""
    )


def _replace(decided: StoredMarker, at: int | None, *, ours: bool) -> Steps:
    """at: where the letter is, as far as we know."""
    tombstone, refusals = decided.tombstone, 0
    while True:
        if at is None:
            letter: LetterMessage | None = yield ReadLetter()
            if letter is None:  # the tombstone has had its time
                return Ended(tombstone, ours)
            if (there := read_tombstone(letter.headers, letter.payload)) is not None:
                return Ended(there, ours)
            at = letter.seq
        written: Written = yield Replace(tombstone, at, decided.marker.lives_s)
        if written.seq is not None:
            return Ended(tombstone, ours)
        at = None
        refusals += classify_refusal(written.code) is Refusal.FOREIGN
        if refusals >= PATIENCE:
            return Failed(written.code)
        yield Pause(written.code)


def _copy(wanted: Wanted, letter: LetterMessage, token: str) -> Copy | Denied:
    try:
        if wanted.new_key and (found := read_letter(letter.payload)).may_have_arrived:
            return Denied(
                f"it may have arrived ({found.reason}): under a new key the ERP could not tell the repeat;"
                " look there, then replay it without --new-key, or discard it"
            )
        return copy_of(letter.headers, letter.payload, token, new_key=wanted.new_key)
    except LetterUnreadable as error:
        return Denied(str(error))
