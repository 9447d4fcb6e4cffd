"""What could be taken out of a mapping without its cases noticing."""

import pytest

from pipeline.mapping import MappingText
from pipeline.mapping.cases import read_cases, run_cases
from pipeline.mapping.completeness import unnoticed
from pipeline.mapping.written_cases import says_complete
from pipeline.yaml_tree import YamlError

MAPPING = """
source: {table: public.orders, operations: [insert, delete]}
params: {plant: {default: CL01}}
when: op == 'delete' or after.status == 3
enrich:
  parts: {table: public.parts, where: {id_order: "{{ key.id }}"}, many: true}
vars: {gone: "{{ op == 'delete' }}"}
skip_if: vars.gone
require: after.code is not none
connector: rest
request:
  method: POST
  path: "/orders/{{ key.id }}"
  query: {$expand: all}
  body:
    text: "{{ after.text | cut(3) }}"
    kind: "{{ 'a' if after.big else 'b' }}"
    plant: "{{ params.plant }}"
    note: {$if: after.note is not none, $value: "{{ after.note }}", $else: none}
    lines:
      - {kind: head}
      - {$for: part in parts | sort(attribute='code'), code: "{{ part.code }}"}
repeat:
  find:
    request: {method: GET, path: "/orders/{{ key.id }}"}
    found: body.there == true
    save: {number: "{{ body.number }}"}
response:
  ok: body.code == 'DONE'
  retry: body.code == 'BUSY'
  save: {number: "{{ body.number }}"}
"""
ROW = "{id: 1, status: 3, text: abcd, big: true, code: A, note: x}"
CASES = f"""
complete: true
cases:
  - name: sent
    event: {{op: insert, after: {ROW}}}
    enrich: {{parts: [{{code: B}}, {{code: A}}]}}
    answers: {{request: {{status: 200, body: {{number: 7}}}}}}
    expect:
      reads: {{parts: {{id_order: 1}}}}
      save: {{number: 7}}
      request: &sent
        method: POST
        path: /orders/1
        query: {{$expand: all}}
        body: {{text: abc, kind: a, plant: CL01, note: x, lines: [{{kind: head}}, {{code: A}}, {{code: B}}]}}
  - name: small, without a note
    event: {{op: insert, after: {{id: 1, status: 3, text: abc, big: false, code: A, note: null}}}}
    enrich: {{parts: []}}
    expect:
      request:
        method: POST
        path: /orders/1
        query: {{$expand: all}}
        body: {{text: abc, kind: b, plant: CL01, note: none, lines: [{{kind: head}}]}}
  - name: open
    event: {{op: insert, after: {{id: 1, status: 2}}}}
    expect: {{skipped: when}}
  - name: changed
    event: {{op: update, before: {{id: 1}}, after: {{id: 1, status: 3}}}}
    expect: {{skipped: source}}
  - name: gone
    event: {{op: delete, key: {{id: 1}}, before: {{id: 1}}}}
    enrich: {{parts: []}}
    expect: {{skipped: skip_if}}
  - name: without a code
    event: {{op: insert, after: {{id: 1, status: 3, text: a, code: null}}}}
    enrich: {{parts: []}}
    expect: {{error: rejected}}
  - name: is there
    event: {{op: insert, after: {ROW}}}
    enrich: {{parts: []}}
    unsure: true
    answers: {{find: {{status: 200, body: {{there: true, number: 8}}}}}}
    expect:
      requests: {{find: {{method: GET, path: /orders/1}}}}
      outcome: delivered
      save: {{number: 8}}
  - name: is not
    event: {{op: insert, after: {{id: 1, status: 3, text: abc, big: false, code: A, note: null}}}}
    enrich: {{parts: []}}
    unsure: true
    answers: {{find: {{status: 200, body: {{there: false}}}}}}
    expect:
      requests:
        find: {{method: GET, path: /orders/1}}
        request:
          method: POST
          path: /orders/1
          query: {{$expand: all}}
          body: {{text: abc, kind: b, plant: CL01, note: none, lines: [{{kind: head}}]}}
  - name: done before
    event: {{op: insert, after: {ROW}}}
    enrich: {{parts: []}}
    answer: {{status: 400, body: {{code: DONE}}}}
    expect: {{outcome: delivered}}
  - name: busy
    event: {{op: insert, after: {ROW}}}
    enrich: {{parts: []}}
    answer: {{status: 400, body: {{code: BUSY}}}}
    expect: {{outcome: retry}}
  - name: refused
    event: {{op: insert, after: {ROW}}}
    enrich: {{parts: []}}
    answer: {{status: 400, body: {{code: NO}}}}
    expect: {{outcome: rejected}}
""".replace("&sent", "")


def found(mapping: str = MAPPING, cases: str = CASES) -> list[str]:
    text, written = MappingText("m.yaml", mapping), read_cases(cases, "m.cases.yaml")
    assert [result.problem for result in run_cases(text, written, {}) if result.problem] == []
    return [finding.message for finding in unnoticed(text, written, {}) if finding]


def without(name: str) -> str:
    """The cases without the one of that name."""
    before, _, rest = CASES.partition(f"  - name: {name}\n")
    assert rest, name
    _, marker, behind = rest.partition("  - name: ")
    return before + marker + behind


def test_cases_that_notice_everything() -> None:
    assert found() == []


NEEDED = {
    "sent": ["request.body.lines[1].$for: no case notices when `| sort(attribute='code')` is left out"],
    "open": ["when: no case notices when `when` is always true"],
    "gone": [
        "source.operations[1]: no case notices when element 2 is left out",
        "skip_if: no case notices when `skip_if` is always false",
    ],
    "without a code": ["require: no case notices when `require` is always true"],
    "is there": [
        "repeat.find.found: no case notices when `found` is always false",
        "repeat.find.save.number: no case notices when `number` is left out",
    ],
    "is not": ["repeat.find.found: no case notices when `found` is always true"],
    "done before": ["response.ok: no case notices when `ok` is left out"],
    "busy": ["response.retry: no case notices when `retry` is left out"],
    "refused": ["response.retry: no case notices when `retry` holds for every answer"],
    "changed": ["source: no case notices when `operations` leaves none out"],
}


@pytest.mark.parametrize("name", NEEDED)
def test_without_a_case_something_is_noticed_by_none(name: str) -> None:
    assert {*NEEDED[name]} <= {*found(cases=without(name))}


@pytest.mark.parametrize(
    ("written", "instead", "says"),
    [
        (
            "{kind: head}",
            "{kind: head, more: '{{ params.more | default(omit) }}'}",
            "lines[0].more: no case notices",
        ),
        ("cut(3) }}", "cut(3) | string }}", "request.body.text: no case notices when `| string` is left out"),
        (
            "  text:",
            "  other: '{{ params.other | default(omit) }}'\n    text:",
            "request.body.other: no case",
        ),
        (
            "plant: {default: CL01}",
            "plant: {default: CL01}, more: {default: x}",
            "params.more.default: no case",
        ),
    ],
)
def test_a_part_that_no_case_needs(written: str, instead: str, says: str) -> None:
    mapping = MAPPING.replace(written, instead, 1).replace("params: {", "params: {more: {}, other: {}, ", 1)
    mapping = mapping.replace(
        "{more: {}, other: {}, plant: {default: CL01}, more:", "{other: {}, plant: {default: CL01}, more:"
    )
    assert any(says in message for message in found(mapping)), found(mapping)


def test_steps() -> None:
    mapping = """
source: {table: public.orders}
connector: rest
steps:
  find: {reads: true, request: {method: GET, path: "/orders/{{ key.id }}"}, require: steps.find.status < 300}
  create:
    when: steps.find.body.there == false
    request: {method: POST, path: /orders, body: {id: "{{ key.id }}"}}
"""
    cases = """
cases:
  - name: created
    event: {after: {id: 1}}
    answers: {find: {status: 200, body: {there: false}}, create: {status: 201}}
    expect:
      requests: {find: {method: GET, path: /orders/1}, create: {method: POST, path: /orders, body: {id: 1}}}
      outcome: delivered
  - {name: gone, event: {op: delete, after: null}, expect: {skipped: source}}
"""
    [finding] = found(mapping, cases)
    assert "nothing is said of `repeat` for the step 'create'" in finding
    said = mapping.replace("    request: {method: POST", "    repeat: unsafe\n    request: {method: POST")
    assert found(said, cases) == [
        "steps.find.require: no case notices when `require` is always true",
        "steps.create.when: no case notices when `when` is always true",
    ]
    by_all = found(f"{mapping}repeat: unsafe\n", cases)
    assert by_all[0] == "steps.find.reads: no case notices when `reads` is left out"


def test_what_is_not_said_of_repeats() -> None:
    mapping = "source: {table: public.orders}\nconnector: rest\nrequest: {method: POST, path: /x}\n"
    cases = """
cases:
  - {name: a, event: {after: {id: 1}}, expect: {request: {method: POST, path: /x}}}
  - {name: b, event: {op: delete, after: null}, expect: {skipped: source}}
"""
    assert found(mapping, cases) == ["nothing is said of `repeat`; write it, `unsafe` too"]
    assert found(mapping + "repeat: unsafe\n", cases) == []


def test_a_mapping_of_very_many_parts_is_not_looked_at_part_by_part() -> None:
    body = ", ".join(f"f{n}: '{{{{ after.f | default(omit) }}}}'" for n in range(300))
    mapping = f"source: {{table: public.o}}\nconnector: rest\nrequest: {{method: POST, path: /, body: {{{body}}}}}\nrepeat: unsafe"
    cases = read_cases("cases: [{name: a, event: {op: delete, after: null}, expect: {skipped: source}}]", "c")
    [only] = unnoticed(MappingText("m", mapping), cases, {})
    assert only
    assert "more than 500 parts" in only.message


def test_a_cases_file_says_whether_it_is_complete() -> None:
    assert says_complete(CASES, "c")
    assert not says_complete("cases: []", "c")
    with pytest.raises(YamlError):
        says_complete("complete: 7\ncases: []", "c")
