"""Runs the cases of a mapping (how they are written: `written_cases`), and says where one does not hold."""

from collections.abc import Mapping as Members
from dataclasses import dataclass, field, replace

from connectors.protocol import (
    Delivered,
    Outcome,
    Rejected,
    RequestInvalid,
    RetryLater,
    Throttled,
    Unavailable,
    Uncertain,
)
from connectors.registry import check_request
from pipeline.mapping.case_facts import NotGiven, label_of, rows_of
from pipeline.mapping.compile import compile_stored
from pipeline.mapping.difference import first_difference
from pipeline.mapping.errors import WAIT_FOR, RenderError
from pipeline.mapping.known import Known, RowsRead
from pipeline.mapping.lookups import Lookup, parse_lookup
from pipeline.mapping.render import Mapping, RenderInput
from pipeline.mapping.results import Done, Skipped, Waits
from pipeline.mapping.values import Value
from pipeline.mapping.walk import Walk, judgement, walk
from pipeline.mapping.written_cases import Case, read_cases
from pipeline.mapping_text import MappingText

__all__ = ["Case", "CaseResult", "read_cases", "run_cases"]

_WORDS = {
    Delivered: "delivered",
    RetryLater: "retry",
    Throttled: "throttled",
    Unavailable: "unavailable",
    Uncertain: "uncertain",
    Rejected: "rejected",
}
_SAID = "\0said"
"""What an error said, beside its class."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case went: `problem` is empty where it holds."""

    case: Case
    problem: str = field(default="")


def run_cases(text: MappingText, cases: list[Case], lookups: Members[str, Lookup]) -> list[CaseResult]:
    """Run each case against the mapping; the cases' lookups go before the tenant's.

    Raises:
        MappingInvalid: the mapping does not compile with a case's lookups.
        YamlError: a case's lookup is no CSV.
    """
    results = []
    for case in cases:
        mapping = compile_stored(text, text.file, {**lookups, **lookups_of(case)})
        results.append(CaseResult(case, problem_of(mapping, case)))
    return results


def lookups_of(case: Case) -> dict[str, Lookup]:
    """The case's own. Raises YamlError."""
    return {
        name: parse_lookup(table, f"{case.mark.file} (lookups.{name})", name)
        for name, table in case.lookups.items()
    }


def problem_of(mapping: Mapping, case: Case) -> str:
    """Where the case does not hold; empty where it does."""
    try:
        got = _got(mapping, case)
    except RenderError as error:
        got = {"error": error.class_, _SAID: str(error)}
    except NotGiven as missing:
        return str(missing)
    for key, expected in case.expected.items():
        if key == "reads" and key in got:
            problem = first_difference(expected, {name: got[key].get(name) for name in expected}, key)
        elif key in ("error", "outcome") and got.get(key) == expected:
            continue
        elif key in got and key not in ("error", "outcome"):
            problem = first_difference(expected, got[key], key)
        else:
            problem = f"expected {_wanted(key, expected)}, got {_instead(got)}"
        if problem:
            return problem
    return ""


def _got(mapping: Mapping, case: Case) -> dict[str, Value]:
    """What the event comes to, under the keys of `expect`."""
    given = input_of(case, mapping.source.table)
    only_judged = not {"request", "requests", "reads"} & case.expected.keys()
    if "request" in case.facts.answers and only_judged:
        return _judged(mapping, case, given)
    found = walk(mapping, given, case.facts)
    try:
        for each in found.requests:
            check_request(mapping.connector, each.request)
    except RequestInvalid as error:
        return {"error": "request", _SAID: str(error)}
    got: dict[str, Value] = {
        "reads": {read.name: dict(read.where) for read in found.reads if isinstance(read, RowsRead)}
    }
    if found.requests:
        requests = {label_of(each): each.request for each in found.requests}
        got["requests"] = requests
        if len(requests) == 1:
            got["request"] = found.requests[0].request
    return got | _ended(found)


def _ended(found: Walk) -> dict[str, Value]:
    match found.end:
        case Skipped(by=by):
            return {"skipped": by}
        case Waits(message=message):
            return {"error": WAIT_FOR, _SAID: message}
        case Done(save=save):
            return {"outcome": "delivered", "save": save}
    return {} if found.outcome is None else {"outcome": _word(found.outcome)}


def _judged(mapping: Mapping, case: Case, given: RenderInput) -> dict[str, Value]:
    """What an answer to the only request comes to, whatever the request is."""
    answer = case.facts.answers["request"]
    known = Known(rows={name: rows_of(value) for name, value in case.facts.enrich.items()})
    outcome = mapping.classify(judgement(mapping.connector, answer, {}), replace(given, known=known))
    got: dict[str, Value] = {"outcome": _word(outcome)}
    if "save" in case.expected and isinstance(outcome, Delivered):
        found = walk(mapping, given, case.facts)
        got |= _ended(found)
    return got


def _word(outcome: Outcome) -> str:
    return _WORDS[type(outcome)]


def _wanted(key: str, value: Value) -> str:
    if key in ("request", "requests", "save"):
        return "a request" if key == "request" else key
    return f"{key} {value}"


def _instead(got: Members[str, Value]) -> str:
    for key in ("error", "skipped", "outcome"):
        if key in got:
            return f"{key} {got[key]}" + (f": {got[_SAID]}" if _SAID in got else "")
    return ", ".join(f"{key} {value}" for key, value in got.items() if key != "reads")


def input_of(case: Case, table: str) -> RenderInput:
    """The case as the mapping gets it, with what its event leaves out."""
    return RenderInput(
        event=completed(case.event, table, "case"),
        tenant="case",
        route="case",
        params=case.params,
        delivery_id="case",
        timezone=case.timezone,
    )


def completed(event: dict[str, Value], table: str, name: str) -> dict[str, Value]:
    """An event of `table` with what was left out. name: of its source, and its tenant's key."""
    schema, _, relation = table.partition(".")
    after = event.get("after")
    whole = {
        "v": 1,
        "id": f"{name}:0/1:1",
        "op": "update" if event.get("before") else "insert",
        "tenant": name,
        "key": {"id": after["id"]} if isinstance(after, dict) and "id" in after else None,
        "before": None,
        "after": None,
        **event,
    }
    source: dict[str, Value] = {"name": name, "db": name, "schema": schema, "table": relation}
    source |= {"lsn": "0/1", "commit_lsn": "0/1", "ordinal": 1, "xid": 1, "commit_ts": "2026-01-02T03:04:05Z"}
    return {**whole, "source": {**source, **(event.get("source") or {})}}
