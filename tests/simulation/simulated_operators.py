"""Operators in the simulation: replay and discard dead letters, several at once, dying midway; and who finishes it (R11)."""

from collections.abc import Generator
from functools import partial
from typing import Any

import msgspec

from eventbus.event import HEADER_REPLAY_ID
from eventbus.fence import Written
from pipeline.dlq.replay import (
    Ended,
    FoundCopy,
    LetterMessage,
    Look,
    Marker,
    ReadLetter,
    ReadMarker,
    Replace,
    SendCopy,
    Steps,
    StoredMarker,
    Wanted,
    WriteMarker,
    finish,
    settle_letter,
    token_prefix,
)
from pipeline.dlq.tombstone import read_tombstone
from tests.simulation.jetstream_model import Draft, StreamModel
from tests.simulation.lane_surroundings import Surroundings

GRACE_S = 60.0
_markers = msgspec.json.Decoder(Marker)


class SimulatedOperators:
    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self._under_way: list[Generator[None]] = []
        self._tokens = 0

    def step(self) -> None:
        """One of them goes on, begins, or dies."""
        world = self._world
        if self._under_way and world.random.random() < 0.8:
            this = world.random.choice(self._under_way)
            if world.chance(0.1) or next(this, self) is self:
                self._under_way.remove(this)
        elif len(self._under_way) < 2 and (letters := world.open_letters()):
            self._under_way.append(self._decide(world.random.choice(letters)))

    def finish(self) -> Generator[None, None, int]:
        """As a keeper does before it purges. The least sequence that must not be purged yet."""
        world, needed = self._world, 2**62
        for subject in [m.subject for m in world.stream.between("position.replay.>", 0, 2**62)]:
            yield
            seq = int(subject.rpartition(".")[2])
            found = self._marker(seq)
            if found is None or found.marker.idle or seq not in world.dead:
                continue
            if (found.marker.verdict is None and found.marker.at > world.now - GRACE_S) or not isinstance(
                (yield from self._performed(seq, finish(found, partial(self._token, seq)))), Ended
            ):
                needed = min(needed, found.scan_from)
        return needed

    def _decide(self, seq: int) -> Generator[None]:
        world = self._world
        verdict: Any = world.random.choice(("replayed", "replayed", "discarded"))
        wanted = Wanted(verdict, "somebody", world.now, 10_000)
        ended = yield from self._performed(seq, settle_letter(wanted, partial(self._token, seq)))
        if isinstance(ended, Ended):
            world.decided(seq, ended.tombstone.replayed)

    def _performed(self, seq: int, steps: Steps) -> Generator[None, None, Any]:
        answer: Any = None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as end:
                return end.value
            yield
            answer = yield from self._answer(seq, request)

    def _answer(self, seq: int, request: Any) -> Generator[None, None, Any]:
        world, rules, fate = self._world, self._world.rules, self._world.fates[seq]
        marker = f"position.replay.{fate.tenant}.{fate.route}.{seq}"
        delivery = f"deliveries.{fate.lane}.{fate.tenant}.{fate.route}"
        match request:
            case ReadMarker():
                return self._marker(seq)
            case ReadLetter():
                found = world.dlq.last(world.letter_subject(seq))
                return LetterMessage(found.seq, found.headers, found.payload) if found else None
            case Look(after, before):
                copies = world.stream.between(delivery, after, before) if rules.looks_for_copies else []
                return next(
                    (
                        FoundCopy(m.seq, m.headers[HEADER_REPLAY_ID])
                        for m in copies
                        if m.headers.get(HEADER_REPLAY_ID, "").startswith(token_prefix(seq))
                    ),
                    None,
                )
            case WriteMarker(it, expected):
                at = expected if rules.marks_by_compare_and_set else None
                draft = Draft(marker, msgspec.json.encode(it), expected=at, rollup=True)
                return (yield from self._written(world.stream, draft))
            case SendCopy(copy, fence):
                at = fence if rules.fences_copies else None
                draft = Draft(delivery, copy.payload, copy.headers, at, of=marker)
                return (yield from self._written(world.stream, draft, seq))
            case Replace(tombstone, expected):
                subject = world.letter_subject(seq)
                draft = Draft(subject, tombstone.encode(), tombstone.headers, expected, rollup=True)
                return (yield from self._written(world.dlq, draft))
            case _:
                return None

    def _written(
        self, stream: StreamModel, draft: Draft, copy_of: int | None = None
    ) -> Generator[None, None, Written]:
        def act() -> int:
            stored = stream.publish(draft)
            if stored > 0 and copy_of is not None:
                self._world.copied(copy_of, stored)
            return stored

        answer = yield from self._world.request(act)
        if answer is None or self._world.chance(0.05):
            return Written(None)
        return Written(answer) if answer > 0 else Written(None, -answer)

    def _marker(self, seq: int) -> StoredMarker | None:
        fate = self._world.fates[seq]
        found = self._world.stream.last(f"position.replay.{fate.tenant}.{fate.route}.{seq}")
        return StoredMarker(found.seq, _markers.decode(found.payload)) if found else None

    def _token(self, seq: int) -> str:
        self._tokens += 1
        return f"{token_prefix(seq)}{self._tokens}"


def is_open(headers: Any) -> bool:
    """Whether a message of DLQ is a dead letter that nobody has decided about."""
    return read_tombstone(headers) is None
