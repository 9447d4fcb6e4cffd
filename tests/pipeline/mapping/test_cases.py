from typing import Any

import pytest

from pipeline.mapping import MappingText
from pipeline.mapping.cases import read_cases, run_cases
from pipeline.yaml_tree import YamlError

MAPPING = """
source: {table: public.work_orders}
when: after.status == 3
params: {plant: {default: CL01}}
connector: rest
request:
  method: POST
  path: "/orders/{{ key.id }}"
  body: {plant: "{{ params.plant }}", cc: "{{ after.cc | lookup('centers') }}", at: "{{ after.at | local }}"}
response: {retry: status == 400}
"""
SHARED = """
timezone: America/Santiago
params: {plant: CL02}
lookups: {centers: "a;b\\nA;1\\n"}
cases:
"""


def problems(cases: str, mapping: Any = MAPPING) -> Any:
    return [
        result.problem
        for result in run_cases(
            MappingText("m.yaml", mapping), read_cases(SHARED + cases, "m.cases.yaml"), {}
        )
    ]


GOOD = """
  - name: a
    event: {after: {id: 1, status: 3, cc: A, at: "2026-11-24T03:00:00Z"}}
    expect: {request: {method: POST, path: /orders/1, body: {plant: CL02, cc: "1", at: "2026-11-24T00:00:00-03:00"}}}
  - name: b
    event: {after: {id: 1, status: 2}}
    expect: {skipped: when}
  - name: c
    event: {after: {id: 1, status: 3, cc: X, at: null}}
    expect: {error: lookup}
  - name: d
    event: {op: delete, before: {id: 1}, after: null}
    expect: {skipped: source}
  - name: e
    event: {after: {id: 1, status: 3}}
    answer: {status: 400}
    expect: {outcome: retry}
"""


def test_a_case_that_says_what_is_read_may_end_otherwise() -> None:
    case = """
  - name: a
    event: {after: {id: 1, status: 3, cc: X, at: null}}
    expect: {reads: {parts: {id: 1}}, request: {method: POST, path: /}}
"""
    [problem] = problems(case)
    assert problem.startswith("expected reads {'parts': {'id': 1}}, got error lookup")


def test_cases_that_hold() -> None:
    assert problems(GOOD) == [""] * 5


@pytest.mark.parametrize(
    ("written", "wrong", "says"),
    [
        ('cc: "1"', 'cc: "2"', 'request.body.cc: expected "2", got "1"'),
        ('cc: "1"', "cc: 1", 'request.body.cc: expected 1, got "1"'),
        ('cc: "1", ', "", 'request.body.cc is not expected, got "1"'),
        ('cc: "1"', 'cc: "1", more: 1', "request.body.more is missing"),
        ("skipped: when", "skipped: skip_if", 'expected "skip_if", got "when"'),
        ("error: lookup", "error: missing", "expected error missing, got error lookup"),
        ("error: lookup", "skipped: when", "expected skipped when, got error lookup"),
        ("outcome: retry", "outcome: delivered", "expected outcome delivered, got outcome retry"),
    ],
)
def test_a_case_that_does_not_hold_says_where(written: str, wrong: str, says: str) -> None:
    found = [problem for problem in problems(GOOD.replace(written, wrong)) if problem]
    assert len(found) == 1
    assert says in found[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("  - {name: a, evnt: {}, expect: {error: x}}", "did you mean 'event'?"),
        ("  - {name: a, event: {}, expect: {reqest: x}}", "did you mean 'request'?"),
        ("  - {name: a, event: {}, expect: {}}", "expect one of"),
        ("  - {name: a, event: {}, expect: {skipped: never}}", "one of source, when, skip_if"),
        ("  - {name: a, expect: {error: x}}", "'event' is missing"),
        ("  - {name: a, event: {}, answer: {status: 200}, expect: {error: x}}", "stand together"),
        ("  - {name: a, event: {}, expect: {outcome: retry}}", "stand together"),
    ],
)
def test_a_cases_file_that_is_wrong_says_where(text: str, says: str) -> None:
    with pytest.raises(YamlError) as caught:
        read_cases(SHARED + text, "m.cases.yaml")
    assert says in caught.value.message
    assert caught.value.line == 6
