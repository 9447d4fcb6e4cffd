"""`response: {ok, retry, reject}`: what the mapping knows better than the connector about an answer."""

from dataclasses import dataclass, replace

from connectors.protocol import Delivered, Outcome, Rejected, RetryLater
from pipeline.mapping.errors import RenderError
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.leaves import Reader
from pipeline.mapping.scope import ANSWER_NAMES
from pipeline.mapping.values import Frame
from pipeline.yaml_tree import MappingNode

RULES = ("ok", "retry", "reject")


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
        headers = {name.lower(): value for name, value in answer.headers.items()}
        frame = {**frame, "status": answer.status, "headers": headers, "body": answer.body}
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
    except RenderError:
        return None


def _retried(outcome: Outcome, message: str) -> RetryLater:
    if isinstance(outcome, RetryLater):
        return outcome
    return RetryLater(message, outcome.answer, getattr(outcome, "after", None), getattr(outcome, "code", ""))


def _rejected(outcome: Outcome, message: str) -> Rejected:
    if isinstance(outcome, Rejected):
        return replace(outcome, message=outcome.message)
    return Rejected(message, outcome.answer, getattr(outcome, "code", ""))


def compile_rules(node: MappingNode | None, reader: Reader) -> Rules:
    """The mapping's `response`."""
    if node is None:
        return Rules()
    for error in node.unknown_keys(RULES, {"save": "not built yet"}):
        reader.refuse(error.mark, error.message)
    used, reader.scope.used = reader.scope.used, set()
    with reader.scope.inside(*ANSWER_NAMES):
        rules = {key: _rule(node, key, reader) for key in RULES}
    needs_vars = "vars" in reader.scope.used
    reader.scope.used |= used
    return Rules(**rules, needs_vars=needs_vars)


def _rule(node: MappingNode, key: str, reader: Reader) -> Evaluator | None:
    entry = node.entry(key)
    return None if entry is None else reader.condition_of(entry, f"response.{key}")
