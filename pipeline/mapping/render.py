"""A compiled mapping: a pure function from an event to a request, and from an answer to its meaning."""

from dataclasses import dataclass, field, fields
from uuid import NAMESPACE_URL, uuid5

from connectors.protocol import Delivered, Outcome, Rejected
from pipeline.mapping.changes import NAMED
from pipeline.mapping.errors import EvaluationError, RenderError
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.filters import ZONE
from pipeline.mapping.known import NOTHING_KNOWN, Known
from pipeline.mapping.leaves import BUDGET, MEASURE
from pipeline.mapping.mapping_facts import MappingFacts
from pipeline.mapping.response import Rules
from pipeline.mapping.results import Rendered, Result, Skipped
from pipeline.mapping.values import OMIT, Frame, Measure, Value
from pipeline.yaml_tree import Mark

MAX_LOOP_TURNS = 100_000
MAX_REQUEST = 4_000_000


@dataclass(frozen=True, slots=True)
class RenderInput:
    """All that a rendering depends on. `timezone` is an IANA name; `delivery_id` the Idempotency-Key.

    named: a backfill was asked for this route: whatever its operations, the row counts as new. known: see
    `pipeline.mapping.known`.
    """

    event: dict[str, Value]
    tenant: str
    route: str
    params: dict[str, Value]
    delivery_id: str
    timezone: str = "UTC"
    named: bool = False
    known: Known = NOTHING_KNOWN


@dataclass(frozen=True, slots=True)
class Program:
    """A mapping's expressions, in the order in which they are evaluated."""

    when: Evaluator | None
    vars: tuple[tuple[str, Evaluator], ...]
    skip_if: Evaluator | None
    require: tuple[Evaluator, Mark, str] | None
    request: Evaluator
    response: Rules
    needs_uuid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping(MappingFacts):
    """One mapping, ready to use."""

    program: Program = field(repr=False)

    @property
    def facts(self) -> MappingFacts:
        """What may be told of it elsewhere than where it is compiled."""
        return MappingFacts(**{one.name: getattr(self, one.name) for one in fields(MappingFacts)})

    def render(self, given: RenderInput) -> Result:
        """The next thing to do about an event: see `pipeline.mapping.known`.

        Raises:
            RenderError: the event cannot be rendered; class `rejected` where `require` is false.
        """
        program = self.program
        if not self.source.takes(given.event, any_operation=given.named):
            return Skipped("source")
        frame = self._frame(given)
        if program.when is not None and not program.when(frame):
            return Skipped("when")
        self._compute_vars(frame)
        if program.skip_if is not None and program.skip_if(frame):
            return Skipped("skip_if")
        if program.require is not None and not program.require[0](frame):
            _, mark, written = program.require
            raise RenderError(
                "rejected", "the mapping's `require` does not hold for this event", mark, written
            )
        request = self._measured(program.request(frame))
        return Rendered(request, delivery_id=given.delivery_id, repeat=self.repeat)

    def classify(self, outcome: Outcome, given: RenderInput, rendered: Rendered | None = None) -> Outcome:
        """What an answer to `rendered` means, where the mapping says something else than the connector.

        For a lookup, Delivered says that its answer is one: whether the request was found, the next rendering tells.
        """
        if rendered is not None and (rendered.reads or rendered.kind == "find") and _tells_absence(outcome):
            return Delivered(outcome.answer)
        rules = self.program.response
        if not rules.any:
            return outcome
        frame = self._frame(given)
        if rules.needs_vars:
            try:
                self._compute_vars(frame)
            except RenderError:
                return outcome
        return rules.classify(outcome, frame)

    def _frame(self, given: RenderInput) -> Frame:
        event = given.event
        delivery = {"id": given.delivery_id}
        if self.program.needs_uuid:
            delivery["uuid"] = delivery_uuid(given.delivery_id)
        defaults = {name: spec.default for name, spec in self.params_spec.items() if not spec.required}
        return {
            "event": event,
            "after": event.get("after"),
            "before": event.get("before"),
            "key": event.get("key"),
            "op": event.get("op"),
            "source": event.get("source"),
            "tenant": given.tenant,
            "route": given.route,
            "params": {**defaults, **given.params},
            "vars": {},
            "delivery": delivery,
            ZONE: given.timezone,
            NAMED: given.named,
            BUDGET: [MAX_LOOP_TURNS],
            MEASURE: Measure(2 * MAX_REQUEST),
        }

    def _compute_vars(self, frame: Frame) -> None:
        computed = frame["vars"]
        for name, evaluate in self.program.vars:
            value = evaluate(frame)
            computed[name] = None if value is OMIT else value

    def _measured(self, request: dict[str, Value]) -> dict[str, Value]:
        try:
            Measure(MAX_REQUEST).take(request)
        except EvaluationError as error:
            raise RenderError(error.class_, error.message, Mark(self.file, 1, 1)) from None
        return request


def _tells_absence(outcome: Outcome) -> bool:
    """What a request that only reads asked for is not there: an answer like any other."""
    return (
        isinstance(outcome, Rejected) and outcome.answer is not None and outcome.answer.status in (404, 410)
    )


def delivery_uuid(delivery_id: str) -> str:
    """The delivery's UUIDv5 (RFC 9562), for ERPs that want a UUID as the idempotency key."""
    return str(uuid5(NAMESPACE_URL, f"fracttal-bridge:{delivery_id}"))
