"""A mapping's whole way through an event, on facts alone: what it would read, send, and make of the answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from connectors.protocol import Answer, Delivered, Outcome, Rejected
from connectors.registry import judged
from pipeline.mapping.case_facts import Facts, NotGiven, label_of
from pipeline.mapping.known import Known, Read
from pipeline.mapping.render import RenderInput
from pipeline.mapping.results import Done, Needs, Rendered, Result, Skipped, Waits
from pipeline.mapping.values import Value

MOST = 1_000
"""Renderings of one event; each step and each read takes one."""


class Renders(Protocol):
    """A mapping, wherever it is compiled."""

    @property
    def connector(self) -> str: ...

    def render(self, given: RenderInput) -> Result: ...

    def classify(self, outcome: Outcome, given: RenderInput, rendered: Rendered | None = None) -> Outcome: ...


@dataclass(slots=True)
class Walk:
    """requests: in the order of sending. outcome: of the last answer that was given. end: how it ended, None where it
    ends with a request whose answer nobody gave.
    """

    reads: list[Read] = field(default_factory=list)
    requests: list[Rendered] = field(default_factory=list)
    outcome: Outcome | None = None
    end: Skipped | Waits | Done | None = None


def walk(mapping: Renders, given: RenderInput, facts: Facts) -> Walk:
    """Goes on as long as the facts have answers.

    Raises:
        RenderError: as `Mapping.render`.
        NotGiven: something is read that the facts do not tell.
    """
    found, known = Walk(), Known(unsure=facts.unsure)
    for _ in range(MOST):
        given = replace(given, known=known)
        result = mapping.render(given)
        if isinstance(result, Needs):
            found.reads += result.reads
            known = facts.learn(known, result.reads)
            continue
        if not isinstance(result, Rendered):
            found.end = result
            return found
        found.requests.append(result)
        answer = facts.answers.get(label_of(result))
        if answer is None:
            return found
        found.outcome = mapping.classify(judgement(mapping.connector, answer, result.request), given, result)
        if result.last or not isinstance(found.outcome, Delivered):
            return found
        known = heard(known, result, answer)
    raise NotGiven("the mapping comes to no end")


def heard(known: Known, rendered: Rendered, answer: Answer) -> Known:
    """What is known once a request has its answer."""
    if rendered.kind == "find":
        return msgspec.structs.replace(known, finds={**known.finds, rendered.step: answer})
    return msgspec.structs.replace(known, answers={**known.answers, rendered.step: answer})


def judgement(connector: str, answer: Answer, request: Mapping[str, Value]) -> Outcome:
    """What the connector says of an answer where it tells that without a connection; else what its status alone means.
    The mapping's rules know best.
    """
    found = judged(connector, request, answer)
    return _by_status(answer) if found is None else found


def _by_status(answer: Answer) -> Outcome:
    return Delivered(answer) if answer.status < 300 else Rejected(f"status {answer.status}", answer)
