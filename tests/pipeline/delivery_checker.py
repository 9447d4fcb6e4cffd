"""Was a delivery lost, doubled, reordered? Proved by replaying what the ERPs heard against what was published. Pure.

Nothing of the pipeline is asked but its dead letters. What must hold, as docs/guarantees.md promises it:

- `delivered`: each event that a route wants was acknowledged by its ERP, or is a dead letter, and not both: a delivery
  whose dead letter is open was never acknowledged. Only where its route was removed after somebody had died between the
  ERP's answer and its confirmation may it be both: nobody is left who could ask the ERP again.
- `order`: of one route and key, an event is asked for only once the one before it was acknowledged or became a dead
  letter, and never beside it. Where dead letters block, it is asked for only once they are dealt with. A repeat stands
  directly behind what it repeats; only where the server was killed *and* the worker that remembered what was settled,
  the last few may come again, in order. A replay comes when it comes, unless dead letters block.
- `repeats`: a request comes again only where its answer was lost or asked for it (later, please), or somebody died
  between the ERP's answer and its confirmation. It is the same request then, with the same Idempotency-Key.
- `dead letters`: each says why, and how often it was tried: no more often than the ERP was asked. Because its route was
  removed, only what was to be delivered before that.
- `silence`: while a route is paused, and after it was removed, its ERP hears nothing of it.
- `neighbours`: what others' routes were given while one ERP was in trouble was done before that trouble ended.

Times are seconds of one monotonic clock.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

Invariant = Literal["delivered", "order", "repeats", "dead letters", "silence", "neighbours"]
Victim = Literal["worker", "server"]
RouteName = tuple[str, str]

CONFIRM_S = 5.0
"""So long after an ERP's answer its confirmation may be under way, on a machine that is busy with everything else."""
AGAIN = (408, 423, 425, 429)
"""With all from 500 on, the answers that ask to be asked again (docs/decisions, 0005)."""


@dataclass(frozen=True, slots=True)
class Published:
    """An event that a route wants. id: the Idempotency-Key that its requests must have; number: its place in its key."""

    route: RouteName
    key: str
    number: int
    id: str
    at: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the ERP heard it. status: its answer; None: it was lost, or never given."""

    id: str
    number: int
    began: float
    ended: float
    status: int | None

    @property
    def acknowledged(self) -> bool:
        return self.status is not None and self.status < 300

    @property
    def ends_it(self) -> bool:
        """Whether nobody need ask again."""
        return self.status is not None and self.status < 500 and self.status not in AGAIN


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. became: what a person made of it."""

    id: str
    reason: str
    attempts: int
    became: Literal["open", "replayed", "discarded"] = "open"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Somebody was killed or frozen, and from when on it was there again."""

    who: Victim
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Silence:
    """From when to when a route's ERP must not hear of it."""

    route: RouteName
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """One route's ERP was in trouble; what others were given until `fed` was to be done when it ended."""

    route: RouteName
    began: float
    fed: float
    ended: float


@dataclass(frozen=True, slots=True)
class History:
    """All that happened. published: of each route and key in order; asked: in the ERP's order.

    reasons: which dead letters may have; blocking: routes whose dead letters block their key. removable: deliveries
    whose route was removed after their event.
    """

    published: Sequence[Published]
    asked: Sequence[Asked]
    letters: Sequence[Letter] = ()
    disturbances: Sequence[Disturbance] = ()
    silences: Sequence[Silence] = ()
    troubles: Sequence[Trouble] = ()
    reasons: Sequence[str] = ("rejected",)
    blocking: Sequence[RouteName] = ()
    removable: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: Invariant
    id: str
    what: str


@dataclass
class _Case:
    """All of one delivery."""

    published: Published
    asked: list[Asked] = field(default_factory=list)
    letter: Letter | None = None

    def acknowledged_by(self, moment: float) -> bool:
        return any(one.acknowledged and one.ended <= moment for one in self.asked)


def violations(history: History) -> list[Violation]:
    """None where all is well."""
    cases = {one.id: _Case(one) for one in history.published}
    strange = [
        Violation("repeats", one.id, "nobody published it") for one in history.asked if one.id not in cases
    ]
    strange += [
        Violation("dead letters", one.id, "nobody published it")
        for one in history.letters
        if one.id not in cases
    ]
    for asked in history.asked:
        if asked.id in cases:
            cases[asked.id].asked.append(asked)
    for letter in history.letters:
        if letter.id in cases:
            cases[letter.id].letter = letter
    by_key: defaultdict[tuple[RouteName, str], list[_Case]] = defaultdict(list)
    for case in cases.values():
        by_key[case.published.route, case.published.key].append(case)
    found: Iterable[Iterable[Violation]] = (
        *(_delivered(case, history.disturbances) for case in cases.values()),
        *(_repeats(case, history.disturbances) for case in cases.values()),
        *(_dead_letters(case, history) for case in cases.values()),
        *(
            _order(line, history.disturbances, blocks=place[0] in history.blocking)
            for place, line in by_key.items()
        ),
        *(_silence(silence, cases.values()) for silence in history.silences),
        *(_neighbours(trouble, cases.values()) for trouble in history.troubles),
    )
    return strange + [violation for each in found for violation in each]


def _delivered(case: _Case, disturbances: Sequence[Disturbance]) -> Iterator[Violation]:
    acknowledged = any(asked.acknowledged for asked in case.asked)
    became = case.letter.became if case.letter else None
    if not acknowledged and became in (None, "replayed"):
        yield Violation("delivered", case.published.id, "lost: neither acknowledged nor an open dead letter")
    if acknowledged and became == "open" and not _removed_unconfirmed(case, disturbances):
        yield Violation("delivered", case.published.id, "acknowledged, and a dead letter as well")


def _removed_unconfirmed(case: _Case, disturbances: Sequence[Disturbance]) -> bool:
    acknowledged = next(asked for asked in case.asked if asked.acknowledged)
    return (
        case.letter is not None
        and case.letter.reason == "removed"
        and _cut_short(acknowledged, acknowledged.ended + CONFIRM_S, disturbances)
    )


def _repeats(case: _Case, disturbances: Sequence[Disturbance]) -> Iterator[Violation]:
    if any(asked.number != case.published.number for asked in case.asked):
        yield Violation("repeats", case.published.id, "not the same request under the same Idempotency-Key")
    replays = 1 if case.letter is not None and case.letter.became == "replayed" else 0
    for before, after in pairwise(case.asked):
        if not before.ends_it or _cut_short(before, after.began, disturbances):
            continue
        if not before.acknowledged and replays:
            replays -= 1
            continue
        yield Violation(
            "repeats", case.published.id, f"asked again after {before.status}, which was no answer to that"
        )


def _cut_short(asked: Asked, until: float, disturbances: Sequence[Disturbance]) -> bool:
    """Whether somebody may have died between its answer and the confirmation."""
    return any(
        one.ended >= asked.began and one.began <= min(until, asked.ended + CONFIRM_S) for one in disturbances
    )


def _order(
    line: Sequence[_Case], disturbances: Sequence[Disturbance], *, blocks: bool
) -> Iterator[Violation]:
    """line: the cases of one route and key as they were published. blocks: a dead letter blocks it."""
    replayed = {
        case.published.id for case in line if case.letter and case.letter.became == "replayed" and not blocks
    }
    turns = sorted(
        ((asked, place) for place, case in enumerate(line) for asked in case.asked),
        key=lambda turn: turn[0].began,
    )
    turns = [turn for turn in turns if turn[0].id not in replayed]
    for (before, last), (after, place) in pairwise(turns):
        if before.status is not None and after.began < before.ended and place != last:
            yield Violation("order", after.id, f"asked for beside {before.id}")
        repeated = after is not line[place].asked[0]
        if place < last and repeated and not _rewound(after, line[place], disturbances):
            yield Violation("order", after.id, f"asked for again after {before.id}")
    reached = 0
    for asked, place in turns:
        for case in line[reached:place]:
            over = case.letter is not None and (not blocks or case.letter.became == "discarded")
            if not over and not case.acknowledged_by(asked.began):
                yield Violation("order", asked.id, f"asked for before {case.published.id} was done")
        reached = max(reached, place)


def _rewound(again: Asked, case: _Case, disturbances: Sequence[Disturbance]) -> bool:
    """Whether the server forgot its confirmation, and whoever remembered it was killed."""
    first = case.asked[0]
    servers = [one for one in disturbances if one.who == "server" and first.began <= one.ended]
    return any(
        worker.who == "worker" and worker.began <= again.began and worker.ended >= server.began - CONFIRM_S
        for server in servers
        if server.began <= min(again.began, first.ended + CONFIRM_S)
        for worker in disturbances
    )


def _dead_letters(case: _Case, history: History) -> Iterator[Violation]:
    letter = case.letter
    if letter is None:
        return
    removed = letter.reason == "removed" and letter.id in history.removable
    if letter.reason not in history.reasons and not removed:
        yield Violation("dead letters", letter.id, f"a dead letter because of {letter.reason!r}")
    if letter.attempts > len(case.asked):
        yield Violation(
            "dead letters", letter.id, f"{letter.attempts} attempts, {len(case.asked)} were heard"
        )
    if letter.attempts == 0 and letter.reason in ("rejected", "exhausted"):
        yield Violation("dead letters", letter.id, "it does not say how often it was tried")


def _silence(silence: Silence, cases: Iterable[_Case]) -> Iterator[Violation]:
    for case in cases:
        if case.published.route == silence.route and any(
            silence.began <= asked.began < silence.ended for asked in case.asked
        ):
            yield Violation("silence", case.published.id, "asked for while its route was silent")


def _neighbours(trouble: Trouble, cases: Iterable[_Case]) -> Iterator[Violation]:
    for case in cases:
        if case.published.route == trouble.route or not trouble.began <= case.published.at <= trouble.fed:
            continue
        if case.letter is None and not case.acknowledged_by(trouble.ended):
            yield Violation(
                "neighbours", case.published.id, "not done while a neighbour's ERP was in trouble"
            )
