"""Cases: what a mapping has to make of given events, written beside it as `<name>.cases.yaml`.

    timezone: America/Santiago              # these three hold for every case, which may override them
    params: {plant: CL01}
    lookups:
      cost_centers: |
        code;sap
        A;0001
    cases:
      - name: a closed order is requested
        event: {op: insert, after: {id: 1, status: 3}}
        expect: {request: {method: POST, path: /orders, body: {id: 1}}}

`expect` is one of `request` (the whole of it), `skipped` (source, when, skip_if), `error` (a class) and, with an
`answer: {status, headers, body}`, `outcome` (delivered, retry, rejected).
"""

from collections.abc import Mapping as Members
from dataclasses import dataclass, field

from connectors.protocol import Answer, Delivered, Outcome, Rejected, RetryLater
from pipeline.mapping.compile import compile_mapping
from pipeline.mapping.difference import first_difference
from pipeline.mapping.errors import RenderError
from pipeline.mapping.lookups import Lookup, parse_lookup
from pipeline.mapping.render import Mapping, RenderInput
from pipeline.mapping.results import Rendered, Skipped
from pipeline.mapping.values import Value
from pipeline.yaml_tree import MappingNode, Mark, Node, load

_SHARED = ("timezone", "params", "lookups")
_EXPECTED = ("request", "skipped", "error", "outcome")
_SKIPS = ("source", "when", "skip_if")
_OUTCOMES = ("delivered", "retry", "rejected")


@dataclass(frozen=True, slots=True)
class Case:
    """One case as written; the event may leave out what does not matter."""

    name: str
    mark: Mark
    event: dict[str, Value]
    params: dict[str, Value]
    timezone: str
    lookups: Members[str, str]
    expected: str
    value: Value
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case went: `problem` is empty where it holds."""

    case: Case
    problem: str = field(default="")


def read_cases(text: str, file: str) -> list[Case]:
    """The cases of a file.

    Raises:
        YamlError: an unknown or missing key, or a value of the wrong kind.
    """
    root = load(text, file).as_mapping()
    root.check_keys((*_SHARED, "cases"))
    return [_case(node.as_mapping(), root) for node in root.require("cases").as_sequence()]


def run_cases(text: str, file: str, cases: list[Case], lookups: Members[str, Lookup]) -> list[CaseResult]:
    """Run each case against the mapping's text; the cases' lookups go before the tenant's.

    Raises:
        MappingInvalid: the mapping does not compile with a case's lookups.
        YamlError: a case's lookup is no CSV.
    """
    results = []
    for case in cases:
        own = {
            name: parse_lookup(table, f"{case.mark.file} (lookups.{name})", name)
            for name, table in case.lookups.items()
        }
        mapping = compile_mapping(text, file=file, name=file, lookups={**lookups, **own})
        results.append(CaseResult(case, _problem(mapping, case)))
    return results


def _case(node: MappingNode, root: MappingNode) -> Case:
    node.check_keys((*_SHARED, "name", "event", "answer", "expect"))
    expect = node.require("expect").as_mapping()
    expect.check_keys(_EXPECTED)
    if len(expect) != 1:
        raise expect.error(f"expect one of {', '.join(_EXPECTED)}")
    entry = expect.entries[0]
    shared = {key: node.get(key) or root.get(key) for key in _SHARED}
    event = node.require("event").as_mapping()
    return Case(
        name=node.require("name").as_text(),
        mark=node.mark,
        event=_members(event),
        params=_members(shared["params"]),
        timezone=shared["timezone"].as_text() if shared["timezone"] else "UTC",
        lookups={key: value for key, value in _members(shared["lookups"]).items() if isinstance(value, str)},
        expected=entry.key,
        value=_expected(entry.key, entry.value),
        answer=_answer(node, entry.key),
    )


def _members(node: Node | None) -> dict[str, Value]:
    return {} if node is None else {entry.key: entry.value.plain() for entry in node.as_mapping()}


def _expected(key: str, node: Node) -> Value:
    if key == "request":
        return node.as_mapping().plain()
    choices = {"skipped": _SKIPS, "outcome": _OUTCOMES}.get(key)
    if choices and node.as_text() not in choices:
        raise node.error(f"expect.{key} is one of {', '.join(choices)}")
    return node.as_text()


def _answer(node: MappingNode, expected: str) -> Answer | None:
    answer = node.get("answer")
    if (answer is None) is (expected == "outcome"):
        raise node.error("`answer` and `expect: {outcome: …}` stand together")
    if answer is None:
        return None
    section = answer.as_mapping()
    section.check_keys(("status", "headers", "body"))
    body = section.get("body")
    return Answer(
        section.require("status").as_int(100, 599),
        _members(section.get("headers")),
        None if body is None else body.plain(),
    )


def _problem(mapping: Mapping, case: Case) -> str:
    given = RenderInput(
        event=_completed(case.event, mapping.source.table),
        tenant="case",
        route="case",
        params=case.params,
        delivery_id="case",
        timezone=case.timezone,
    )
    if case.answer is not None:
        outcome = mapping.classify(_by_status(case.answer), given)
        word = {Delivered: "delivered", RetryLater: "retry", Rejected: "rejected"}[type(outcome)]
        return "" if word == case.value else f"expected outcome {case.value}, got {word}"
    try:
        result = mapping.render(given)
    except RenderError as error:
        if (case.expected, case.value) == ("error", error.class_):
            return ""
        return f"expected {_wanted(case)}, got error {error.class_}: {error}"
    assert isinstance(result, Rendered | Skipped)
    got, value = ("skipped", result.by) if isinstance(result, Skipped) else ("request", result.request)
    if got != case.expected:
        return f"expected {_wanted(case)}, got {got} {value}"
    return first_difference(case.value, value, "request" if got == "request" else got)


def _wanted(case: Case) -> str:
    return "a request" if case.expected == "request" else f"{case.expected} {case.value}"


def _by_status(answer: Answer) -> Outcome:
    """What a status alone would mean: the connectors know better, the mapping's rules best."""
    return Delivered(answer) if answer.status < 300 else Rejected(f"status {answer.status}", answer)


def _completed(event: dict[str, Value], table: str) -> dict[str, Value]:
    schema, _, name = table.partition(".")
    after = event.get("after")
    completed = {
        "v": 1,
        "id": "case:0/1:1",
        "op": "update" if event.get("before") else "insert",
        "tenant": "case",
        "key": {"id": after["id"]} if isinstance(after, dict) and "id" in after else None,
        "before": None,
        "after": None,
        **event,
    }
    source: dict[str, Value] = {"name": "case", "db": "case", "schema": schema, "table": name}
    source |= {"lsn": "0/1", "commit_lsn": "0/1", "ordinal": 1, "xid": 1, "commit_ts": "2026-01-02T03:04:05Z"}
    return {**completed, "source": {**source, **(event.get("source") or {})}}
