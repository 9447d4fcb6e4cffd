"""What a rendering child's operations are given and answer, as JSON inside frames. Pure."""

from dataclasses import replace
from typing import Any

import msgspec

from connectors.protocol import Delivered, Outcome, Rejected, RetryLater, Throttled, Unavailable, Uncertain
from pipeline.jail.frames import FrameInvalid, FromJson, to_json
from pipeline.mapping import Finding, MappingFacts, Rendered, RenderInput
from pipeline.mapping import Result as RenderResult

_OUTCOMES = {
    each.__name__: each for each in (Delivered, Rejected, RetryLater, Throttled, Unavailable, Uncertain)
}


class Spoken(msgspec.Struct, frozen=True):
    """An outcome with its kind's name, which a dataclass does not carry."""

    kind: str
    outcome: msgspec.Raw


class Judgement(msgspec.Struct, frozen=True):
    """An answer of the ERP to `rendered`, to be classified."""

    given: RenderInput
    spoken: Spoken
    rendered: Rendered | None = None


class CasesGiven(msgspec.Struct, frozen=True):
    """A mapping's cases as written. file: the mapping's, as errors call it."""

    file: str
    cases_file: str
    cases: str


def spoken(outcome: Outcome) -> Spoken:
    return Spoken(type(outcome).__name__, msgspec.Raw(to_json(outcome)))


def read_outcome(text: bytes) -> Outcome:
    """What `spoken` wrote. Raises FrameInvalid."""
    return outcome_of(_spoken(text))


def outcome_of(said: Spoken) -> Outcome:
    """Raises FrameInvalid."""
    kind = _OUTCOMES.get(said.kind)
    if kind is None:
        raise FrameInvalid(f"no outcome is called {said.kind[:40]!r}")
    read = _readers[kind]
    outcome: Outcome = read(bytes(said.outcome))
    return outcome


def without_answer(outcome: Outcome) -> Outcome:
    """Whoever asked has it still."""
    return replace(outcome, answer=None)


_readers: dict[type[Outcome], FromJson[Outcome]] = {kind: FromJson(kind) for kind in _OUTCOMES.values()}
_spoken: FromJson[Spoken] = FromJson(Spoken)
read_given: FromJson[RenderInput] = FromJson(RenderInput)
read_judgement: FromJson[Judgement] = FromJson(Judgement)
read_cases_given: FromJson[CasesGiven] = FromJson(CasesGiven)
read_result: FromJson[RenderResult] = FromJson(RenderResult)
read_facts: FromJson[MappingFacts] = FromJson(MappingFacts)
read_keys: FromJson[tuple[Any, ...]] = FromJson(tuple[Any, ...])
read_problems: FromJson[list[str]] = FromJson(list[str])
read_findings: FromJson[list[Finding]] = FromJson(list[Finding])
