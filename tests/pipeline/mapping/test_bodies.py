"""Bodies that are no JSON, and the schema that a body must fulfil."""

import csv
import io
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.rest import prepare
from pipeline.mapping import (
    MappingInvalid,
    MappingText,
    Rendered,
    RenderError,
    RenderInput,
    compile_mapping,
    compile_stored,
)

HEAD = "source: {table: public.t}\nconnector: rest\n"


def rendered(text: str, **after: Any) -> Any:
    event = {
        "id": "e",
        "op": "insert",
        "tenant": "1",
        "source": {"schema": "public", "table": "t"},
        "after": after,
    }
    result = compile_mapping(HEAD + text, file="m.yaml", name="m").render(
        RenderInput(event, "t", "r", {}, "d")
    )
    assert isinstance(result, Rendered)
    return result.request


# ── XML ──────────────────────────────────────────────────────────────────────────────────────────────────────────

XML = """
request:
  method: POST
  path: /x
  xml:
    order:
      "@id": "{{ after.id }}"
      note: "{{ after.note }}"
      end: {$if: after.note is none, $value: "{{ nil }}"}
      line: {$for: p in after.lines, code: "{{ p }}"}
"""


def test_null_is_left_out_and_nil_is_written() -> None:
    assert rendered(XML, id=1, note=None, lines=["<", "&"])["xml"] == {
        "order": {"@id": 1, "end": {"@xsi:nil": "true"}, "line": [{"code": "<"}, {"code": "&"}]}
    }
    assert rendered(XML, id=Decimal("1.50"), note="x", lines=[])["xml"] == {
        "order": {"@id": Decimal("1.50"), "note": "x", "line": []}
    }


def test_what_xml_cannot_carry_is_an_error_with_its_place_and_remedy() -> None:
    with pytest.raises(
        RenderError, match=r"request.xml.order.note holds the character U\+000B.*regex_replace"
    ) as caught:
        rendered(XML, id=1, note="a\x0bb", lines=[])
    assert (caught.value.class_, caught.value.line) == ("xml", 7)
    clean = XML.replace(
        "after.note }}", r"after.note | regex_replace('[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f]', ' ') }}"
    )
    assert rendered(clean, id=1, note="a\x0bb", lines=[])["xml"]["order"]["note"] == "a b"


@pytest.mark.parametrize(
    "tree", ["{a: 1, b: 2}", "{a: [1, 2]}", '{"a b": 1}', "{a: {b: {$merge: \"{{ {'x y': 1} }}\"}}}"]
)
def test_a_tree_that_is_no_document_is_an_error(tree: str) -> None:
    with pytest.raises(RenderError) as caught:
        rendered(f"request: {{method: POST, path: /x, xml: {tree}}}")
    assert caught.value.class_ == "xml"


@pytest.mark.parametrize("where", ['body: {a: "{{ nil }}"}', 'text: "{{ nil }}"', 'query: {a: "{{ nil }}"}'])
def test_nil_is_for_xml_alone(where: str) -> None:
    with pytest.raises(MappingInvalid, match="write null"):
        rendered(f"request: {{method: POST, path: /x, {where}}}")


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))
)
def test_the_filter_xml_makes_text_of_markup(value: str) -> None:
    text = rendered(
        "request: {method: POST, path: /x, text: '<a b=\"{{ after.v | xml }}\">{{ after.v | xml }}</a>'}",
        v=value,
    )["text"]
    element = ET.fromstring(text)
    assert (element.text or "", element.attrib["b"]) == (value, value)


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────

CSV = "request: {method: POST, path: /x, text: \"{{ after.f | csv('SEPARATOR') }}|\"}"
FIELDS = (
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_characters="\0"))
)


@given(st.lists(FIELDS, min_size=1, max_size=4), st.sampled_from(",;|"))
def test_a_row_of_csv_reads_back(fields: list[Any], separator: str) -> None:
    text = rendered(CSV.replace("SEPARATOR", separator), f=fields)["text"].removesuffix("|")
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    written = [
        "" if field is None else str(field).lower() if isinstance(field, bool) else str(field)
        for field in fields
    ]
    assert rows == ([written] if written != [""] else [])


def test_the_locale_of_the_erp() -> None:
    text = """
request:
  method: POST
  path: /x
  text: "{{ [after.cost | decimal(2, ','), after.day | date_format('%d/%m/%Y'), after.note, after.name] | csv(';') }}"
"""
    after = {"cost": Decimal("1273.1"), "day": "2026-11-24", "note": None, "name": 'a;"b"\\{}'}
    assert rendered(text, **after)["text"] == '1273,10;24/11/2026;;"a;""b""\\{}"'


def test_blanks_at_the_ends_of_a_field_are_quoted() -> None:
    assert rendered(CSV.replace("SEPARATOR", ","), f=[" a", "b ", "c d"])["text"] == '" a","b ",c d|'


@pytest.mark.parametrize("filter_", ["csv('ab')", "csv(1)", "csv('\"')"])
def test_what_does_not_separate_is_refused(filter_: str) -> None:
    with pytest.raises(RenderError, match="separates"):
        rendered(CSV.replace("csv('SEPARATOR')", filter_.replace('"', '\\"')), f="x")


def test_null_in_a_text_is_an_error() -> None:
    with pytest.raises(RenderError, match="null cannot stand"):
        rendered('request: {method: POST, path: /x, text: "{{ after.v }}"}', v=None)


BATCH = """request:
  method: POST
  path: /srv/$batch
  batch:
    - method: POST
      path: "V('{{ after.key }}')"
      query: {a: "{{ after.none }}", $b: 1}
      headers: {X: "{{ after.none }}", Y: "{{ after.key }}"}
      body: {n: "{{ after.none }}"}
    - {$for: each in after.list, $if: each > 1, method: DELETE, path: "V({{ each }})"}
    - $if: after.list != []
      $value: {method: DELETE, path: yes}
      $else: {method: DELETE, path: "no/{{ after.key }}"}
"""


def test_the_requests_of_a_batch_are_rendered_as_any_request() -> None:
    request = rendered(BATCH, key="a/b", none=None, list=[1, 2, 3])
    assert request["batch"] == [
        {
            "method": "POST",
            "path": "V('a%2Fb')",
            "query": {"$b": "1"},
            "headers": {"Y": "a/b"},
            "body": {"n": None},
        },
        {"method": "DELETE", "path": "V(2)"},
        {"method": "DELETE", "path": "V(3)"},
        {"method": "DELETE", "path": "yes"},
    ]
    last = rendered(BATCH, key="a/b", none=None, list=[])["batch"][-1]
    assert last == {"method": "DELETE", "path": "no/a%2Fb"}
    with pytest.raises(RenderError, match="would address something else") as caught:
        rendered(BATCH, key=None, none=None, list=[])
    assert caught.value.class_ == "path"
    with pytest.raises(RenderError, match="line break cannot stand in a header") as caught:
        rendered(BATCH, key="a\r\nb", none=None, list=[])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BATCH.replace("body:", "form:"), "unknown key 'form'"),
        (BATCH.replace("path: \"V('", "path: {a: b}  # "), "path takes a text"),
        (BATCH + "  body: {}\n", "a request holds one of"),
    ],
)
def test_a_batch_that_cannot_be_is_found_before_any_event(text: str, says: str) -> None:
    with pytest.raises(MappingInvalid, match=says):
        compile_mapping(HEAD + text, file="m.yaml", name="m")


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ("batch: []", "holds one at least"),
        ("batch: [{method: GET, path: V}]", "nothing is read by GET"),
        ("batch: [{method: POST, path: '{{ after.key }}', query: {a: {b: 1}}}]", "cannot stand in a text"),
        ("multipart: {a: {text: x, filname: y}}", "'filname'"),
        ("multipart: {a: {base64: '{{ after.key }}'}}", "is no base64"),
    ],
)
def test_what_the_connector_cannot_send_is_an_error_of_the_rendering(payload: str, says: str) -> None:
    with pytest.raises(RenderError, match=says) as caught:
        rendered(f"request: {{method: POST, path: /srv/$batch, {payload}}}", key="k!")
    assert caught.value.class_ == "value"


def test_a_path_is_never_left_out() -> None:
    with pytest.raises(
        RenderError, match="omit stands for a whole leaf; it cannot stand in a text or a path"
    ):
        rendered("request: {method: POST, path: '{{ after.path | default(omit) }}', body: {}}", path=None)


def test_a_form_leaves_nulls_out() -> None:
    form = rendered(
        'request: {method: POST, path: /x, form: {a: "{{ after.v }}", b: "{{ after.n }}", c: [1, 2]}}',
        v=None,
        n=Decimal("1E+2"),
    )["form"]
    assert form == {"b": "100", "c": ["1", "2"]}
    assert prepare({"method": "POST", "path": "/x", "form": form}, "k").content == b"b=100&c=1&c=2"


# ── JSON Schema ──────────────────────────────────────────────────────────────────────────────────────────────────

BODY = 'request: {method: POST, path: /x, body: {cost: "{{ after.cost }}", name: "{{ after.name }}"}}\n'
SCHEMA = '{"properties": {"cost": {"type": "integer"}, "name": {"maxLength": 3}}}'


def test_a_schema_is_a_file_beside_the_mapping() -> None:
    text = MappingText("m.yaml", HEAD + BODY + "schema: order.json\n", files={"order.json": SCHEMA})
    mapping = compile_stored(text, "m")
    event: dict[str, Any] = {
        "id": "e",
        "op": "insert",
        "tenant": "1",
        "source": {"schema": "public", "table": "t"},
    }
    ok = RenderInput({**event, "after": {"cost": Decimal("2.0"), "name": "abc"}}, "t", "r", {}, "d")
    assert isinstance(mapping.render(ok), Rendered)
    bad = RenderInput({**event, "after": {"cost": Decimal("2.5"), "name": "abc"}}, "t", "r", {}, "d")
    with pytest.raises(RenderError, match=r"body/cost does not fulfil the schema \(type\)") as caught:
        mapping.render(bad)
    assert (caught.value.class_, caught.value.line) == ("schema", 4)
    other = MappingText("m.yaml", text.text, files={"order.json": SCHEMA + " "})
    assert compile_stored(other, "m").version != mapping.version


def test_a_base_names_files_beside_itself() -> None:
    base = MappingText("base/b.yaml", HEAD + BODY + "schema: order.json\n", files={"order.json": SCHEMA})
    over = MappingText("m.yaml", "extends: b", (base,), {"order.json": "false"})
    event = {"id": "e", "op": "insert", "tenant": "1", "source": {"schema": "public", "table": "t"}}
    given = RenderInput({**event, "after": {"cost": 1, "name": "abc"}}, "t", "r", {}, "d")
    assert isinstance(compile_stored(over, "m").render(given), Rendered)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("nope.json", "not at hand"),
        ("{type: nonsense}", "at /type"),
        ("{$ref: 'https://example.com/x'}", "leads nowhere"),
        ("[1]", "not at hand"),
        ("{$schema: 5}", r"at /\$schema"),
        ("{$dynamicRef: '#nope'}", "leads nowhere"),
    ],
)
def test_a_schema_that_is_none_is_found_before_any_event(schema: str, says: str) -> None:
    with pytest.raises(MappingInvalid, match=says):
        compile_mapping(f"{HEAD}{BODY}schema: {schema}\n", file="m.yaml", name="m")


@pytest.mark.parametrize(
    "schema", ["{$ref: '#'}", "{$defs: {a: {allOf: [{$ref: '#/$defs/a'}]}}, $ref: '#/$defs/a'}"]
)
def test_a_schema_that_asks_for_itself_is_fulfilled_by_nothing(schema: str) -> None:
    with pytest.raises(RenderError, match="refers to itself") as caught:
        rendered(f"request: {{method: POST, path: /x, body: 1}}\nschema: {schema}\n")
    assert caught.value.class_ == "schema"


def test_each_step_has_a_schema_of_its_own(compiled: Callable[..., Any]) -> None:
    text = "steps: {a: {request: {method: POST, path: /x, form: {a: 1}}, schema: {required: [b]}}}"
    with pytest.raises(RenderError, match=r"form does not fulfil the schema \(required\): 'b'"):
        rendered(text)
