"""`request` and `steps`: what is sent, one request after the other, each seeing the answers before it.

A mapping with one `request` is one step without a name.
"""

from dataclasses import dataclass

from connectors.protocol import Answer
from pipeline.mapping.delivery_names import delivery_names
from pipeline.mapping.errors import EvaluationError, RenderError
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.known import Known
from pipeline.mapping.payload import CheckPayload
from pipeline.mapping.requirement import Requirement
from pipeline.mapping.response import Save, save_values
from pipeline.mapping.results import Done, Rendered, Repeat
from pipeline.mapping.values import Frame, Measure, Value
from pipeline.yaml_tree import Mark

MAX_REQUEST = 4_000_000
STEPS = "steps"


@dataclass(frozen=True, slots=True)
class Find:
    """`repeat: {find: …}`: looks up whether a request that may have arrived has."""

    request: Evaluator
    found: Evaluator
    save: tuple[Save, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One request. answered: its `require` speaks of its own answer, so it is asked after it; else before it is sent."""

    name: str
    mark: Mark
    when: Evaluator | None
    request: Evaluator
    check: CheckPayload | None
    reads: bool
    repeat: Repeat
    find: Find | None
    require: Requirement | None
    answered: bool

    def rendered(self, frame: Frame, delivery_id: str, *, last: bool) -> Rendered:
        """Raises RenderError."""
        request = measured(self.request(frame), self.mark)
        if self.check is not None:
            self.check(request)
        return Rendered(
            request,
            step=self.name,
            delivery_id=delivery_id,
            reads=self.reads,
            repeat=self.repeat,
            last=last and not self.answered,
        )


@dataclass(frozen=True, slots=True)
class Course:
    """A mapping's steps in their order, and what is saved at the end."""

    steps: tuple[Step, ...]
    save: tuple[Save, ...]

    @property
    def last(self) -> Step:
        return self.steps[-1]

    def next(self, frame: Frame, known: Known, delivery_id: str) -> Rendered | Done | None:
        """What is to be sent next; None: nothing is, and nothing was. Puts `steps` into the frame."""
        first = self.steps[0]
        if not (
            first.name or known.answers or known.unsure
        ):  # the most of all: one request, about to be sent
            return first.rendered(frame, delivery_id, last=not self.save)
        answers = frame[STEPS] = {}
        heard = _Heard()
        for step in self.steps:
            turn = _Turn(step, *_own(frame, step, delivery_id))
            answer = known.answers.get(step.name)
            if answer is None and turn.is_skipped():
                answers[step.name] = SKIPPED
                continue
            found = False
            if answer is None and step.find is not None and step.name in known.unsure:
                answer = known.finds.get(step.name)
                if answer is None:
                    return turn.lookup(step.find)
                found = heard.is_found(step.find, turn.frame, answer)
            if answer is None or not (found or step.name in known.answers):
                return step.rendered(turn.frame, turn.delivery_id, last=step is self.last and not self.save)
            answers[step.name] = {**answer_names(answer), "found": found}
            if step.require is not None and step.answered:
                step.require.hold(turn.frame)
            heard.last, heard.last_found = answer, found
        return heard.done(self.save, frame)


def _own(frame: Frame, step: Step, delivery_id: str) -> tuple[Frame, str]:
    """A step's frame and Idempotency-Key: those of the delivery, with the step's name where it has one."""
    if not step.name:
        return frame, delivery_id
    own = f"{delivery_id}/{step.name}"
    return {**frame, "delivery": delivery_names(own, with_uuid="uuid" in frame["delivery"])}, own


@dataclass(frozen=True, slots=True)
class _Turn:
    """One step, as far as it has no answer yet."""

    step: Step
    frame: Frame
    delivery_id: str

    def is_skipped(self) -> bool:
        """Raises RenderError where what it requires before it is sent does not hold."""
        step = self.step
        if step.when is not None and not step.when(self.frame):
            return True
        if step.require is not None and not step.answered:
            step.require.hold(self.frame)
        return False

    def lookup(self, find: Find) -> Rendered:
        request = measured(find.request(self.frame), self.step.mark)
        return Rendered(
            request,
            step=self.step.name,
            kind="find",
            delivery_id=self.delivery_id,
            reads=True,
            repeat="find",
            last=False,
        )


class _Heard:
    """What the steps' answers came to so far."""

    def __init__(self) -> None:
        self.last: Answer | None = None
        self.last_found = False
        self._values: dict[str, Value] = {}
        self._problems: list[str] = []

    def is_found(self, find: Find, frame: Frame, answer: Answer) -> bool:
        """What the lookup's answer says; what it saves counts only then."""
        looked_up = {**frame, **answer_names(answer)}
        if not find.found(looked_up):
            return False
        self._save(find.save, looked_up)
        return True

    def done(self, save: tuple[Save, ...], frame: Frame) -> Done | None:
        if self.last is None:
            return None
        if not self.last_found:
            self._save(save, {**frame, **answer_names(self.last)})
        return Done(self._values, tuple(self._problems), found=self.last_found)

    def _save(self, save: tuple[Save, ...], frame: Frame) -> None:
        values, problems = save_values(save, frame)
        self._values |= values
        self._problems += problems


SKIPPED: Value = {"status": None, "headers": {}, "body": None, "found": False}
"""What `steps.<name>` is of a step that was skipped."""


def answer_names(answer: Answer) -> dict[str, Value]:
    """`status`, `headers` (names in lower case) and `body` of an answer."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return {"status": answer.status, "headers": headers, "body": answer.body}


def measured(request: dict[str, Value], mark: Mark) -> dict[str, Value]:
    """The request, where it is no larger than one may be. Raises RenderError."""
    try:
        Measure(MAX_REQUEST).take(request)
    except EvaluationError as error:
        raise RenderError(error.class_, error.message, mark) from None
    return request
