"""Cases: what a mapping has to make of given events, written beside it as `<name>.cases.yaml`.

    timezone: America/Santiago              # these three hold for every case, which may override them
    params: {plant: CL01}
    lookups:
      cost_centers: |
        code;sap
        A;0001
    complete: true                          # they notice whatever is taken out of the mapping: `completeness`
    cases:
      - name: a closed order is requested
        event: {op: insert, after: {id: 1, status: 3}}
        enrich: {parts: [{code: A}]}        # and what else `facts` has
        expect: {request: {method: POST, path: /orders, body: {id: 1}}}

`expect` has `request` (the whole of it), or `requests` (of steps, in their order), `skipped` (source, when, skip_if,
steps), `error` (a class), and, with an `answer` or `answers`, `outcome` (delivered, retry,
throttled, unavailable, uncertain, rejected) and `save`. `reads`
says by what an enrichment is read: {parts: {id_work_order: 7}}.
"""

from collections.abc import Mapping as Members
from dataclasses import dataclass, replace

from connectors.protocol import Answer
from pipeline.mapping.case_facts import KEYS as FACTS
from pipeline.mapping.case_facts import Facts, members, read_answer, read_facts
from pipeline.mapping.values import Value
from pipeline.yaml_tree import MappingNode, Mark, Node, load

_SHARED = ("timezone", "params", "lookups")
_ALONE = ("skipped", "error")
EXPECTED = ("request", "requests", *_ALONE, "outcome", "save", "reads")
_SKIPS = ("source", "when", "skip_if", "steps")
_OUTCOMES = ("delivered", "retry", "throttled", "unavailable", "uncertain", "rejected")


@dataclass(frozen=True, slots=True)
class Case:
    """One case as written; the event may leave out what does not matter. expected: by its key."""

    name: str
    mark: Mark
    event: dict[str, Value]
    params: dict[str, Value]
    timezone: str
    lookups: Members[str, str]
    expected: Members[str, Value]
    facts: Facts


def read_cases(text: str, file: str) -> list[Case]:
    """The cases of a file.

    Raises:
        YamlError: an unknown or missing key, or a value of the wrong kind.
    """
    root = load(text, file).as_mapping()
    root.check_keys((*_SHARED, "complete", "cases"))
    return [_case(node.as_mapping(), root) for node in root.require("cases").as_sequence()]


def says_complete(text: str, file: str) -> bool:
    """Whether they promise to notice whatever is taken out of the mapping. Raises YamlError."""
    node = load(text, file).as_mapping().get("complete")
    return node is not None and node.as_bool()


def _case(node: MappingNode, root: MappingNode) -> Case:
    node.check_keys((*_SHARED, *FACTS, "name", "event", "answer", "expect"))
    expected = _expected(node.require("expect").as_mapping())
    shared = {key: node.get(key) or root.get(key) for key in _SHARED}
    facts = read_facts(node)
    if (answer := node.get("answer")) is not None:
        facts = replace(facts, answers={**facts.answers, "request": read_answer(answer)})
    _check_answers(node, facts.answers, expected)
    return Case(
        name=node.require("name").as_text(),
        mark=node.mark,
        event=members(node.require("event").as_mapping()),
        params=members(shared["params"]),
        timezone=shared["timezone"].as_text() if shared["timezone"] else "UTC",
        lookups={key: value for key, value in members(shared["lookups"]).items() if isinstance(value, str)},
        expected=expected,
        facts=facts,
    )


def _expected(expect: MappingNode) -> dict[str, Value]:
    expect.check_keys(EXPECTED)
    keys = expect.keys()
    alone = [key for key in keys if key in _ALONE]
    if not keys or (alone and {*keys} - {"reads"} != {alone[0]}) or {"request", "requests"} <= {*keys}:
        raise expect.error(
            f"expect one of {', '.join(EXPECTED)}; outcome, save and reads stand beside requests"
        )
    return {entry.key: _value(entry.key, entry.value) for entry in expect}


def _value(key: str, node: Node) -> Value:
    if key in ("request", "requests", "save", "reads"):
        return node.as_mapping().plain()
    choices = {"skipped": _SKIPS, "outcome": _OUTCOMES}.get(key)
    if choices and node.as_text() not in choices:
        raise node.error(f"expect.{key} is one of {', '.join(choices)}")
    return node.as_text()


def _check_answers(node: MappingNode, answers: Members[str, Answer], expected: Members[str, Value]) -> None:
    of_answers = {"outcome", "save"} & expected.keys()
    if (of_answers and not answers) or (node.get("answer") is not None and not of_answers):
        raise node.error("`answer` and `expect: {outcome: …}` (or save) stand together")
