"""What ERPs' integrations stumble over, each in the whole language: rows, steps, saved values, bodies."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from connectors.protocol import Answer
from connectors.rest import prepare
from eventbus.event import decode_event, encode_json
from pipeline.mapping import (
    Done,
    Known,
    MappingInvalid,
    Needs,
    Rendered,
    RenderError,
    RenderInput,
    RowsRead,
    compile_mapping,
    parse_lookup,
)

HEAD = "source: {table: public.t}\nconnector: rest\n"
NASTY = [
    '5/8\\ "a" {x} {{ y }} {% z %} $1 %41',
    "\x00\x1f\x7f\u2028",
    "😀 Ñandú",
    "'; DROP TABLE",
    "NO",
    "1e5",
]


def event(after: Any) -> dict[str, Any]:
    payload = {
        "id": "f:0/1:1", "op": "insert", "tenant": "1", "key": {"id": 1}, "before": None, "after": after,
        "source": {"schema": "public", "table": "t", "name": "f"},
    }  # fmt: skip
    return decode_event(encode_json(payload))


def given(after: Any, **known: Any) -> RenderInput:
    return RenderInput(
        event(after), "acme", "r", {}, "f:0/1:1/acme/r", "America/Santiago", known=Known(**known)
    )


def rendered(text: str, after: Any, **known: Any) -> Any:
    result = compile_mapping(HEAD + text, file="m.yaml", name="m").render(given(after, **known))
    assert isinstance(result, Rendered), result
    return result.request


NAMES = (
    "items",
    "keys",
    "values",
    "get",
    "pop",
    "copy",
    "update",
    "count",
    "index",
    "format",
    "split",
    "title",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_methods_are_columns_wherever_a_row_stands(name: str) -> None:
    text = f"""
enrich: {{{name}: {{table: public.r, where: {{id: "{{{{ after.{name} }}}}"}}, many: true}}}}
vars: {{{name}: "{{{{ {name} | map(attribute='{name}') | list }}}}"}}
request:
  method: POST
  path: "/{{{{ after.{name} }}}}"
  body:
    vars: "{{{{ vars.{name} }}}}"
    first: "{{{{ {name}[0].{name} }}}}"
    loop: {{$for: row in {name}, {name}: "{{{{ row.{name} }}}}"}}
    index: "{{{{ {name} | index_by('{name}') }}}}"
"""
    body = rendered(text, {name: 7}, rows={name: [{name: "x"}]})["body"]
    assert body == {"vars": ["x"], "first": "x", "loop": [{name: "x"}], "index": {"x": {name: "x"}}}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_methods_are_members_of_answers(name: str) -> None:
    text = f"""
steps:
  a: {{request: {{method: GET, path: /a}}}}
  b: {{request: {{method: POST, path: /b, body: "{{{{ steps.a.body.{name} }}}}"}}}}
response: {{save: {{{name}: "{{{{ body.{name} }}}}"}}}}
"""
    answer = Answer(200, {}, {name: [1]})
    assert rendered(text, {}, answers={"a": answer})["body"] == [1]
    end = compile_mapping(HEAD + text, file="m", name="m").render(
        given({}, answers={"a": answer, "b": answer})
    )
    assert end == Done({name: [1]})


def test_a_decimal_keeps_its_digits_from_any_source_to_the_wire() -> None:
    text = """
enrich: {r: {table: public.r, where: {id: 1}}}
steps:
  a: {request: {method: GET, path: /a}}
  b:
    request:
      method: POST
      path: /b
      body: ["{{ after.n }}", "{{ r.n }}", "{{ steps.a.body.n }}", "{{ after.n + r.n }}", "{{ after.n * 1.0 }}"]
"""
    number = Decimal("1273.10")
    answer = Answer(200, {}, {"n": Decimal("0.30")})
    request = rendered(text, {"n": number}, rows={"r": [{"n": Decimal("1E+2")}]}, answers={"a": answer})
    assert prepare(request, "k").content == b"[1273.10,1E+2,0.30,1373.10,1273.100]"


def test_a_number_beyond_double_precision_stays_whole() -> None:
    text = 'request: {method: POST, path: "/{{ after.n }}", body: {n: "{{ after.n }}", t: "n={{ after.n }}"}}'
    request = rendered(text, {"n": 2**53 + 1})
    assert prepare(request, "k").content == b'{"n":9007199254740993,"t":"n=9007199254740993"}'
    assert request["path"] == "/9007199254740993"


@pytest.mark.parametrize(
    "expression",
    ["map(attribute='b') | list", "map(attribute='b') | join(',')", "sum(attribute='b')", "sort(attribute='b')",
     "groupby('b')", "index_by('b')", "selectattr('b') | list", "unique(attribute='b') | list", "max(attribute='b')"],
)  # fmt: skip
def test_what_is_missing_in_one_row_hides_nowhere(expression: str) -> None:
    text = f"""
enrich: {{rows: {{table: public.r, where: {{id: 1}}, many: true}}}}
request: {{method: POST, path: /x, body: {{a: "{{{{ rows | {expression} }}}}"}}}}
"""
    with pytest.raises(RenderError) as caught:
        rendered(text, {}, rows={"rows": [{"b": 1}, {"a": 1}]})
    assert (caught.value.class_, caught.value.line) == ("missing", 5)
    assert "'b'" in caught.value.message


@pytest.mark.parametrize("value", NASTY)
def test_whatever_a_description_holds_it_is_text(value: str) -> None:
    text = """
enrich: {r: {table: public.r, where: {name: "{{ after.v }}"}}}
request:
  method: POST
  path: "/x/{{ after.v }}/y"
  query: {q: "{{ after.v }}"}
  body: {whole: "{{ after.v }}", part: "<{{ after.v }}>", row: "{{ r.v }}", "{{ key }}": 1}
"""
    mapping = compile_mapping(HEAD + text, file="m.yaml", name="m")
    needs = mapping.render(given({"v": value}))
    assert isinstance(needs, Needs)
    (read,) = needs.reads
    assert isinstance(read, RowsRead)
    assert read.where == (("name", value),)
    request = rendered(text, {"v": value}, rows={"r": [{"v": value}]})
    body = {"whole": value, "part": f"<{value}>", "row": value, "{{ key }}": 1}
    assert request["body"] == body
    assert request["path"].count("/") == 3
    assert decode_event(prepare(request, "k").content) == body


@pytest.mark.parametrize(
    ("written", "gives"),
    [
        ("NO", "NO"), ("yes", "yes"), ("on", "on"), ("0123", 123), ('"0123"', "0123"), ("12:30:45", "12:30:45"),
        ("2026-11-24", "2026-11-24"), ("1.10", Decimal("1.10")), ("0o17", 15), ("~", None), ("1_000", "1_000"),
    ],
)  # fmt: skip
def test_yaml_is_that_of_1_2_in_every_section(written: str, gives: Any) -> None:
    text = f"""
params: {{p: {{default: {written}}}}}
vars: {{v: {written}}}
request: {{method: POST, path: /x, body: [{written}, "{{{{ vars.v }}}}", "{{{{ params.p }}}}"]}}
"""
    body = rendered(text, {})["body"]
    assert [repr(each) for each in body] == [repr(gives)] * 3


@pytest.mark.parametrize("section", ["vars", "enrich", "steps", "params"])
def test_a_name_stands_once(section: str) -> None:
    with pytest.raises(MappingInvalid, match="already in line 3"):
        compile_mapping(HEAD + f"{section}: {{a: 1, a: 2}}", file="m.yaml", name="m")


def test_a_crosswalk_is_text_on_both_sides() -> None:
    table = parse_lookup("\ufeffours;theirs;n\n0123;NO;1.10\n7;0456;12:30:45\n", "l.csv", "l")
    text = "request: {method: POST, path: /x, body: \"{{ after.codes | map('lookup', 'l', after.column) | list }}\"}"
    for column, values in (("theirs", ["NO", "0456"]), ("n", ["1.10", "12:30:45"])):
        fixed = text.replace("after.column", f"'{column}'")
        mapping = compile_mapping(HEAD + fixed, file="m.yaml", name="m", lookups={"l": table})
        result = mapping.render(given({"codes": ["0123", 7]}))
        assert isinstance(result, Rendered)
        assert result.request["body"] == values


@pytest.mark.parametrize(
    ("expression", "gives"),
    [
        ("after.cost | decimal(2, ',')", "1273,10"),
        ("after.cost | decimal(0)", "1273"),
        ("after.at | local | date_format('%d/%m/%Y')", "24/11/2026"),
        ("after.at | local | date_format('%Y%m%d %H:%M')", "20261124 00:28"),
        ("after.neg | decimal(2, ',')", "-0,50"),
        ("after.big | decimal(2)", "1000000000000000000000.00"),
    ],
)
def test_the_locale_of_an_erp(expression: str, gives: str) -> None:
    after = {
        "cost": Decimal("1273.1"), "neg": Decimal("-0.5"), "big": Decimal("1E+21"), "at": "2026-11-24T03:28:19.83Z",
    }  # fmt: skip
    text = f'request: {{method: POST, path: /x, body: "{{{{ {expression} }}}}"}}'
    assert rendered(text, after)["body"] == gives


@pytest.mark.parametrize("value", [None, "", ".", ".."])
def test_a_step_addresses_nothing_else_than_it_reads(value: Any) -> None:
    text = """
steps:
  a: {request: {method: GET, path: /a}}
  b: {request: {method: DELETE, path: "/v/{{ steps.a.body.id }}"}}
"""
    with pytest.raises(RenderError) as caught:
        rendered(text, {}, answers={"a": Answer(200, {}, {"id": value})})
    assert caught.value.class_ == "path"


def test_a_slash_in_a_key_is_one_segment_of_a_step_too() -> None:
    text = 'steps: {a: {request: {method: GET, path: "/v/eid:{{ after.code }}/x"}}}'
    assert rendered(text, {"code": "39.373.782/0019-79"})["path"] == "/v/eid:39.373.782%2F0019-79/x"


def test_warnings_of_what_is_read_for_nothing_and_of_markup(compiled: Callable[..., Any]) -> None:
    text = """
enrich: {r: {table: a.b, where: {id: 1}}, s: {table: a.b, where: {id: "{{ t }}"}}}
request: {method: POST, path: /x, text: "<a>{{ key.id | xml }}{% if op == 'x' %}{{ op }}{% endif %}</a>"}
"""
    warnings = compiled(text.replace("{{ t }}", "1")).warnings
    assert [finding.message.partition(":")[0] for finding in warnings] == [
        "nothing uses enrich.r, and it is read for every event",
        "nothing uses enrich.s, and it is read for every event",
        "a value in XML that is written as text",
    ]


def test_warnings_of_forgotten_braces_and_of_a_date_without_letters(compiled: Callable[..., Any]) -> None:
    text = """
enrich: {r: {table: a.b, where: {id: after.id_r}}}
request:
  method: POST
  path: /x
  body:
    a: after.name | upper
    b: "{{ after.day | date_format('dd/mm/yyyy') }} {{ after.day | date_format('%d') }}"
    c: {$if: after.id, $value: "{{ after.day | date_format(after.form) }}"}
    d: after.words and a dot.
    e: {$for: x in after.list, $value: "{{ x }}"}
    r: "{{ r.name }}"
"""
    assert [finding.message for finding in compiled(text).warnings] == [
        "this is the text 'after.id_r'; for the value write \"{{ after.id_r }}\"",
        "this is the text 'after.name | upper'; for the value write \"{{ after.name | upper }}\"",
        "every date becomes the text 'dd/mm/yyyy'; write strftime's letters, as in '%d/%m/%Y'",
    ]


@pytest.mark.parametrize(
    ("ok", "warned"),
    [
        ("status == 409", True),
        ("body.code == 'DUPLICATE' and status == 409", True),
        ("status >= 300 and body.a", True),
        ("status > 298", False),
        ("status > 299", True),
        ("status < 300 or status == 409", False),
        ("status == 201", False),
        ("body.error.code == 'DUPLICATE'", False),
    ],
)
def test_a_warning_of_an_ok_that_undoes_every_success(
    compiled: Callable[..., Any],
    ok: str,
    warned: bool,  # noqa: FBT001
) -> None:
    text = f'response: {{ok: "{ok}"}}\nrequest: {{method: POST, path: /x}}\n'
    said = [finding.message for finding in compiled(text).warnings]
    assert [message.partition(",")[0] for message in said] == (
        ["`ok` that is false makes a rejection of a success"] if warned else []
    )
