"""`response: {ok, throttle, unavailable, uncertain, retry, reject, save}`: what the mapping knows better than the
connector about an answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from connectors.error_text import error_text
from connectors.protocol import (
    Answer,
    Delivered,
    Outcome,
    Rejected,
    RetryLater,
    Throttled,
    Unavailable,
    Uncertain,
)
from pipeline.mapping.errors import EvaluationError, RenderError, Wanted
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.leaves import Reader
from pipeline.mapping.scope import ANSWER_NAMES
from pipeline.mapping.structure import compile_tree
from pipeline.mapping.values import OMIT, Frame, Measure, Value
from pipeline.yaml_tree import MappingNode, Mark

RULES = ("ok", "throttle", "unavailable", "uncertain", "retry", "reject")
"""In the order in which they are asked: the first that holds decides."""
MAX_SAVED = 64_000
"""What one delivery may save, about, in characters of JSON: it is looked up by other deliveries."""


@dataclass(frozen=True, slots=True)
class Rules:
    """conditions: by their rule's name, over `status`, `headers` (names in lower case), `body` and the event."""

    conditions: Mapping[str, Evaluator] = field(default_factory=dict)
    needs_vars: bool = False

    @property
    def any(self) -> bool:
        return bool(self.conditions)

    def classify(self, outcome: Outcome, frame: Frame) -> Outcome:
        """The first of RULES that holds decides; `ok` that is false undoes "delivered".

        A rule that has no value for this answer (`body.error.code` of a body without an error) does not hold,
        and says nothing about the answer either: the connector's word stands.
        """
        answer = outcome.answer
        if answer is None:
            return outcome
        said = {name: _holds(self.conditions[name], frame) for name in RULES if name in self.conditions}
        for name, holds in said.items():
            if holds:
                return Delivered(answer) if name == "ok" else _ruled(name, outcome, _told(outcome, answer))
        if said.get("ok") is False and isinstance(outcome, Delivered):
            return Rejected(f"{_told(outcome, answer)}, and the mapping's response.ok does not hold", answer)
        return outcome


def _told(outcome: Outcome, answer: Answer) -> str:
    """What the connector says of it, or the ERP where the connector took it for a success."""
    if outcome.message:
        return outcome.message
    words = error_text(answer.body).text
    return f"the ERP answered {answer.status}{f': {words}' if words else ''}"


def _holds(rule: Evaluator, frame: Frame) -> bool | None:
    try:
        return bool(rule(frame))
    except (RenderError, Wanted):
        return None


def _ruled(rule: str, outcome: Outcome, message: str) -> Outcome:
    """What a rule that holds makes of it; what the connector says already stays in its words."""
    answer, code, after = outcome.answer, getattr(outcome, "code", ""), getattr(outcome, "after", None)
    ruled: Outcome
    match rule:
        case "throttle":
            ruled = Throttled(message, answer, after, code or "throttled")
        case "unavailable":
            ruled = Unavailable(message, answer, after, code or "unavailable")
        case "uncertain":
            ruled = Uncertain(message, answer, code or "uncertain")
        case "retry":
            ruled = RetryLater(message, answer, after, code)
        case _:
            ruled = Rejected(f"{message} (by the mapping's response.reject)", answer, code)
    return outcome if type(ruled) is type(outcome) else ruled


def compile_rules(node: MappingNode | None, reader: Reader, steps: tuple[str, ...]) -> Rules:
    """The mapping's `response`; steps: the names that `step` may have, where there are steps."""
    if node is None:
        return Rules()
    for error in node.unknown_keys((*RULES, "save")):
        reader.refuse(error.mark, error.message)
    names = (*ANSWER_NAMES, "step") if steps else ANSWER_NAMES
    with reader.scope.noting() as used, reader.scope.inside(*names):
        conditions = {
            entry.key: reader.condition_of(entry, f"response.{entry.key}")
            for entry in node
            if entry.key in RULES
        }
    return Rules(conditions, needs_vars="vars" in used)


@dataclass(frozen=True, slots=True)
class Save:
    """One value to keep for other deliveries."""

    name: str
    mark: Mark
    evaluate: Evaluator


def compile_save(section: MappingNode | None, reader: Reader) -> tuple[Save, ...]:
    """A `save`: names to values of the answer."""
    if section is None:
        return ()
    with reader.scope.inside(*ANSWER_NAMES):
        return tuple(Save(each.key, each.mark, compile_tree(each.value, reader)) for each in section)


def save_values(saves: tuple[Save, ...], frame: Frame) -> tuple[dict[str, Value], list[str]]:
    """What is to be kept, and what cannot be had: the ERP has the document either way. Null is not kept."""
    values: dict[str, Value] = {}
    problems: list[str] = []
    measure = Measure(MAX_SAVED)
    for one in saves:
        try:
            value = one.evaluate(frame)
            if value is None or value is OMIT:
                continue
            measure.take(value)
            values[one.name] = value
        except RenderError as error:
            problems.append(str(error))
        except Wanted:
            problems.append(f"{one.mark}: nothing more is read once the ERP has it; name it in vars as well")
        except EvaluationError as error:
            problems.append(f"{one.mark}: {error.message}")
    return values, problems
