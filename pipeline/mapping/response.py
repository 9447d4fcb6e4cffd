"""`response: {ok, retry, reject, save}`: what the mapping knows better than the connector about an answer."""

from dataclasses import dataclass, replace

from connectors.protocol import Delivered, Outcome, Rejected, RetryLater
from pipeline.mapping.errors import EvaluationError, RenderError, Wanted
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.leaves import Reader
from pipeline.mapping.scope import ANSWER_NAMES
from pipeline.mapping.structure import compile_tree
from pipeline.mapping.values import OMIT, Frame, Measure, Value
from pipeline.yaml_tree import MappingNode, Mark

RULES = ("ok", "retry", "reject")
MAX_SAVED = 64_000
"""What one delivery may save, about, in characters of JSON: it is looked up by other deliveries."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules there are, as conditions over `status`, `headers` (names in lower case), `body` and the event."""

    ok: Evaluator | None = None
    retry: Evaluator | None = None
    reject: Evaluator | None = None
    needs_vars: bool = False

    @property
    def any(self) -> bool:
        return bool(self.ok or self.retry or self.reject)

    def classify(self, outcome: Outcome, frame: Frame) -> Outcome:
        """The first of ok, retry, reject that holds decides; `ok` that is false undoes "delivered".

        A rule that has no value for this answer (`body.error.code` of a body without an error) does not hold,
        and says nothing about the answer either: the connector's word stands.
        """
        answer = outcome.answer
        if answer is None:
            return outcome
        ok = _holds(self.ok, frame)
        if ok:
            return Delivered(answer)
        message = outcome.message or f"the ERP answered {answer.status}"
        if _holds(self.retry, frame):
            return _retried(outcome, message)
        if _holds(self.reject, frame):
            return _rejected(outcome, f"{message} (by the mapping's response.reject)")
        if ok is False and isinstance(outcome, Delivered):
            return _rejected(outcome, f"{message}, and the mapping's response.ok does not hold")
        return outcome


def _holds(rule: Evaluator | None, frame: Frame) -> bool | None:
    if rule is None:
        return None
    try:
        return bool(rule(frame))
    except (RenderError, Wanted):
        return None


def _retried(outcome: Outcome, message: str) -> RetryLater:
    if isinstance(outcome, RetryLater):
        return outcome
    return RetryLater(message, outcome.answer, getattr(outcome, "after", None), getattr(outcome, "code", ""))


def _rejected(outcome: Outcome, message: str) -> Rejected:
    if isinstance(outcome, Rejected):
        return replace(outcome, message=outcome.message)
    return Rejected(message, outcome.answer, getattr(outcome, "code", ""))


def compile_rules(node: MappingNode | None, reader: Reader, steps: tuple[str, ...]) -> Rules:
    """The mapping's `response`; steps: the names that `step` may have, where there are steps."""
    if node is None:
        return Rules()
    for error in node.unknown_keys((*RULES, "save")):
        reader.refuse(error.mark, error.message)
    names = (*ANSWER_NAMES, "step") if steps else ANSWER_NAMES
    with reader.scope.noting() as used, reader.scope.inside(*names):
        rules = {key: _rule(node, key, reader) for key in RULES}
    return Rules(**rules, needs_vars="vars" in used)


def _rule(node: MappingNode, key: str, reader: Reader) -> Evaluator | None:
    entry = node.entry(key)
    return None if entry is None else reader.condition_of(entry, f"response.{key}")


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
