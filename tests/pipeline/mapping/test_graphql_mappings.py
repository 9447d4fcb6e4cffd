"""Mappings of the kind `graphql`: what is wrong with the document is found before the first event."""

import re

import pytest

from pipeline.mapping import MappingInvalid, MappingText, compile_mapping
from pipeline.mapping.cases import read_cases, run_cases

MAPPING = """
source: {table: public.orders}
connector: graphql
request:
  query: |
    mutation Create($input: In!) {# a comment behind a brace is no template
      create(input: $input) { id }
    }
  variables: {input: {n: "{{ after.n }}", list: {$for: p in after.parts, code: "{{ p.code }}"}}}
repeat: idempotency_key
"""
CASES = """
cases:
  - name: a
    event: {after: {id: 1, n: 1.50, parts: [{code: A}]}}
    expect:
      request:
        query: |-
          mutation Create($input: In!) {# a comment behind a brace is no template
            create(input: $input) { id }
          }
        variables: {input: {n: 1.50, list: [{code: A}]}}
"""


def problems(mapping: str, cases: str) -> list[str]:
    written = read_cases(cases, "m.cases.yaml")
    return [result.problem for result in run_cases(MappingText("m.yaml", mapping), written, {})]


def test_the_document_stands_as_it_is_written_and_values_are_variables() -> None:
    assert problems(MAPPING, CASES) == [""]


@pytest.mark.parametrize(
    ("written", "instead", "says"),
    [
        ("input: $input)", "input: {n: {{ after.n }} })", r"stands as it is written.*variables: {id: "),
        ("{ id }\n", "{ id\n", "its line 3, column 2: expected a field"),
        ("mutation", "mutaton", "line 1, column 1: expected query, mutation or {"),
        ("  query: |\n", "  quer: |\n", "did you mean 'query'"),
        ("  query: |\n", "  operation_name: |\n", "the request needs 'query' or 'document_id'"),
        ("  variables:", "  path: graphql\n  variables:", "must be a text that begins with /"),
        ("  variables:", "  headers: {Authorization: x}\n  variables:", "is set by the connection"),
    ],
)
def test_what_is_wrong_is_found_when_it_is_compiled(written: str, instead: str, says: str) -> None:
    assert written in MAPPING
    with pytest.raises(MappingInvalid) as caught:
        compile_mapping(MAPPING.replace(written, instead, 1), file="m.yaml", name="m")
    assert re.search(says, str(caught.value))
    assert len([one for one in caught.value.findings if "query" in one.message]) <= 2


def test_a_case_finds_what_the_connector_cannot_send() -> None:
    other = MAPPING.replace("variables: {input:", "variables: {inputs:")
    [problem] = problems(other, CASES)
    assert "request.variables.input is missing, and the query declares it as $input: In!" in problem
    expected = CASES[: CASES.index("    expect:")] + "    expect: {error: request}\n"
    assert problems(other, expected) == [""]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("{data: {create: {id: 1}}}", "delivered"),
        ("{errors: [{message: no, extensions: {code: BAD_USER_INPUT}}]}", "rejected"),
        ("{errors: [{message: no, extensions: {code: THROTTLED}}]}", "throttled"),
        ("{data: {create: {id: 1}}, errors: [{message: no, path: [create, vendor]}]}", "uncertain"),
    ],
)
def test_cases_judge_an_answer_as_a_connection_does(answer: str, outcome: str) -> None:
    event = "event: {after: {id: 1, n: 1.50, parts: [{code: A}]}}"
    case = f"cases: [{{name: a, {event}, answer: {{status: 200, body: {answer}}}, expect: {{outcome: {outcome}}}}}]"
    assert problems(MAPPING, case) == [""]
