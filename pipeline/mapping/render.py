"""A compiled mapping: a pure function from an event to a request, and from an answer to its meaning."""

from dataclasses import dataclass, field, fields, replace

from connectors.classification import is_stale
from connectors.protocol import Delivered, Outcome, Rejected, RetryLater
from pipeline.mapping.access import UNREAD, Unread
from pipeline.mapping.changes import NAMED
from pipeline.mapping.delivery_names import delivery_names
from pipeline.mapping.enrichment import fill
from pipeline.mapping.errors import WAIT_FOR, RenderError, Wanted
from pipeline.mapping.filters import ZONE
from pipeline.mapping.known import NOTHING_KNOWN, Known
from pipeline.mapping.leaves import BUDGET, MEASURE
from pipeline.mapping.mapping_facts import MappingFacts
from pipeline.mapping.program import Program
from pipeline.mapping.results import Done, Needs, Rendered, Result, Skipped, Waits
from pipeline.mapping.saved import KNOWN
from pipeline.mapping.steps import MAX_REQUEST, STEPS, answer_names
from pipeline.mapping.values import OMIT, Frame, Measure, Value, equal

MAX_LOOP_TURNS = 100_000


@dataclass(frozen=True, slots=True)
class RenderInput:
    """All that a rendering depends on. `timezone` is an IANA name; `delivery_id` the Idempotency-Key.

    named: a backfill was asked for this route: whatever its operations, the row counts as new. known: see
    `pipeline.mapping.known`. payload: the event's JSON as it came, where that is at hand.
    """

    event: dict[str, Value]
    tenant: str
    route: str
    params: dict[str, Value]
    delivery_id: str
    timezone: str = "UTC"
    named: bool = False
    known: Known = NOTHING_KNOWN
    payload: bytes = field(default=b"", repr=False)


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
        try:
            return self._next(given)
        except Wanted as wanted:
            return Needs(wanted.reads)
        except RenderError as error:
            if error.class_ == WAIT_FOR:
                return Waits(error.message, error.file, error.line, error.expression)
            if error.class_ != "rejected" and self.program.course.last.name in given.known.answers:
                return Done(problems=(str(error),))
            raise

    def _next(self, given: RenderInput) -> Result:
        program, known = self.program, given.known
        if not self.source.takes(given.event, any_operation=given.named):
            return Skipped("source")
        frame = self._frame(given)
        # what was begun is ended, whatever the conditions say by now
        begun = bool(known.answers)
        if program.when is not None and not begun and not program.when(frame):
            return Skipped("when")
        if program.enrich:
            fill(program.enrich, frame, known)
        self._compute_vars(frame)
        if not begun:
            if program.skip_if is not None and program.skip_if(frame):
                return Skipped("skip_if")
            if program.require is not None:
                program.require.hold(frame)
        return program.course.next(frame, known, given.delivery_id) or Skipped("steps")

    def ordering_keys(self, given: RenderInput) -> tuple[Value, ...]:
        """What must stay in order with what, besides the event's own key: the values of `ordering` for the row before
        and the row now, once where they are the same; none where there is no `ordering`, or it has no value.
        """
        if self.program.ordering is None:
            return ()
        event = given.event
        before, after = event.get("before"), event.get("after")
        now = after if isinstance(after, dict) else {}
        rows: list[Value] = [{**now, **before}] if isinstance(before, dict) else []
        if after is not None or not rows:
            rows.append(after)
        keys: list[Value] = []
        for row in rows:
            value = self._ordering(replace(given, event={**event, "after": row}))
            if value is not None and not any(equal(value, key) for key in keys):
                keys.append(value)
        return tuple(keys)

    def _ordering(self, given: RenderInput) -> Value:
        assert self.program.ordering is not None
        try:
            value = self.program.ordering(self._frame(given))
        except (RenderError, Wanted):
            return None
        return None if value is OMIT else value

    def classify(self, outcome: Outcome, given: RenderInput, rendered: Rendered | None = None) -> Outcome:
        """What an answer to `rendered` means, where the mapping says something else than the connector.

        For a lookup, Delivered says that its answer is one: whether the request was found, the next rendering tells.
        """
        if rendered is not None and (rendered.reads or rendered.kind == "find") and _tells_absence(outcome):
            return Delivered(outcome.answer)
        if rendered is not None and self._reads_again(outcome, given):
            message = f"{outcome.message} (what was read has changed; it is read again)"
            outcome = RetryLater(message, outcome.answer, code=getattr(outcome, "code", ""))
        rules = self.program.response
        if not rules.any or outcome.answer is None or (rendered is not None and rendered.kind == "find"):
            return outcome
        step = "" if rendered is None else rendered.step
        try:
            frame = self._frame(given)
            fill(self.program.enrich, frame, given.known)
            if rules.needs_vars:
                self._compute_vars(frame)
        except (RenderError, Wanted):
            return outcome
        answers = {name: answer_names(answer) for name, answer in given.known.answers.items()}
        heard = answer_names(outcome.answer)
        frame |= {**heard, "step": step, STEPS: {**answers, step: heard}}
        return rules.classify(outcome, frame)

    def _reads_again(self, outcome: Outcome, given: RenderInput) -> bool:
        """Whether a step was refused since what the ones before it read is out of date."""
        if not isinstance(outcome, Rejected) or outcome.answer is None or not is_stale(outcome.answer):
            return False
        return any(step.reads and step.name in given.known.answers for step in self.program.course.steps)

    def _frame(self, given: RenderInput) -> Frame:
        event = given.event
        frame = {
            "event": event,
            "after": event.get("after"),
            "before": event.get("before"),
            "key": event.get("key"),
            "op": event.get("op"),
            "source": event.get("source"),
            "tenant": given.tenant,
            "route": given.route,
            "params": {**self.program.defaults, **given.params},
            "vars": {},
            "delivery": delivery_names(given.delivery_id, with_uuid=self.program.needs_uuid),
            ZONE: given.timezone,
            NAMED: given.named,
            KNOWN: given.known,
            BUDGET: [MAX_LOOP_TURNS],
            MEASURE: Measure(2 * MAX_REQUEST),
        }
        if isinstance(event.get("unchanged"), list):
            self._complete(frame, given)
        return frame

    def _complete(self, frame: Frame, given: RenderInput) -> None:
        """The row with the columns that were read since, and what it still lacks."""
        event, known = given.event, given.known
        if isinstance(event.get("after"), dict) and known.columns:
            read = {name: value for name, value in known.columns.items() if name in event["unchanged"]}
            frame["after"] = {**event["after"], **read}
            frame["event"] = {**event, "after": frame["after"]}
        columns = frozenset(map(str, event["unchanged"])) - known.columns.keys()
        if columns:
            used = self.program.columns
            frame[UNREAD] = Unread(columns, columns if used is None else columns & used, known.unreadable)

    def _compute_vars(self, frame: Frame) -> None:
        computed = frame["vars"]
        for name, evaluate in self.program.vars:
            value = evaluate(frame)
            computed[name] = None if value is OMIT else value


def _tells_absence(outcome: Outcome) -> bool:
    """What a request that only reads asked for is not there: an answer like any other."""
    return (
        isinstance(outcome, Rejected) and outcome.answer is not None and outcome.answer.status in (404, 410)
    )
