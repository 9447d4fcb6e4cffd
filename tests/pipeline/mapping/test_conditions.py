import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.mapping import MappingInvalid, Rendered, RenderError, Skipped, compile_mapping, parse_lookup


@pytest.fixture
def outcome(compiled: Callable[..., Any], make_input: Callable[..., Any]) -> Any:
    def run(text: str, **members: Any) -> Any:
        return compiled(text).render(make_input(**members))

    return run


CHANGED = "when: changed('status')"
BECAME = "when: became('status', 3)"
ROW = {"id": 1, "status": 3}


@pytest.mark.parametrize(
    ("when", "members", "wanted"),
    [
        (CHANGED, {"op": "insert", "after": ROW}, True),
        (BECAME, {"op": "insert", "after": ROW}, True),
        (BECAME, {"op": "insert", "after": {"id": 1, "status": 2}}, False),
        (CHANGED, {"op": "update", "before": {"id": 1, "status": 2}, "after": ROW}, True),
        (CHANGED, {"op": "update", "before": {"id": 1, "status": 3}, "after": ROW}, False),
        (BECAME, {"op": "update", "before": {"id": 1, "status": 3}, "after": ROW}, False),
        (BECAME, {"op": "update", "before": {"id": 1, "status": 2}, "after": ROW}, True),
        (BECAME, {"op": "update", "before": {"id": 1, "status": None}, "after": ROW}, True),
        (CHANGED, {"op": "update", "before": None, "identity": ["id", "status"], "after": ROW}, False),
        (CHANGED, {"op": "update", "before": {"id": 2}, "identity": ["id", "status"], "after": ROW}, False),
        ("when: changed('id')", {"op": "update", "before": None, "after": ROW}, False),
        (CHANGED, {"op": "update", "before": None, "after": {"id": 1}, "unchanged": ["status"]}, False),
        (BECAME, {"op": "update", "before": None, "after": {"id": 1}, "unchanged": ["status"]}, False),
        (BECAME, {"op": "update", "before": None, "after": {"id": 1, "status": 1}}, False),
        (CHANGED, {"op": "read", "after": ROW}, False),
        (BECAME, {"op": "read", "after": ROW}, False),
        (CHANGED, {"op": "delete", "before": ROW, "after": None}, False),
        ("when: true", {"after": ROW}, True),
        ("when: after.status in [2, 3] and not after.gone | default(false)", {"after": ROW}, True),
    ],
)
def test_changed_and_became(outcome: Callable[..., Any], when: str, members: Any, wanted: Any) -> None:
    assert isinstance(outcome(when, **members), Rendered) is wanted


@pytest.mark.parametrize(
    ("named", "row", "wanted"), [(True, ROW, True), (False, ROW, False), (True, {"status": 2}, False)]
)
def test_a_row_read_for_this_very_route_counts_as_new(
    compiled: Callable[..., Any], make_input: Callable[..., Any], named: Any, row: Any, wanted: Any
) -> None:
    given = replace(make_input(op="read", after=row), named=named)
    assert isinstance(compiled(BECAME).render(given), Rendered) is wanted


@pytest.mark.parametrize("when", [CHANGED, BECAME])
def test_what_the_identity_does_not_carry_is_an_error_with_its_cure(
    outcome: Callable[..., Any], when: str
) -> None:
    with pytest.raises(RenderError) as caught:
        outcome(when, op="update", before=None, after=ROW)
    assert caught.value.class_ == "before_unknown"
    assert (
        'CREATE UNIQUE INDEX CONCURRENTLY "work_orders_bridge_identity" ON "public"."work_orders" ("id", "status");'
        ' ALTER TABLE "public"."work_orders" REPLICA IDENTITY USING INDEX "work_orders_bridge_identity";'
    ) in caught.value.message


def test_a_column_that_is_not_there_is_missing(outcome: Callable[..., Any]) -> None:
    with pytest.raises(RenderError) as caught:
        outcome("when: became('statsu', 3)", after=ROW)
    assert caught.value.class_ == "missing"


@pytest.mark.parametrize(
    "condition", ["after.status", "after.name", "none", "1", "after.id and after.status"]
)
def test_a_condition_gives_true_or_false(outcome: Callable[..., Any], condition: str) -> None:
    with pytest.raises(RenderError) as caught:
        outcome(f"when: {condition}", after={"id": 1, "status": 0, "name": "x"})
    assert caught.value.class_ == "not_boolean"
    assert caught.value.expression == condition


@pytest.mark.parametrize("condition", ['"{{ after.x }}"', "1 +", "[true]"])
def test_a_condition_is_a_bare_expression(compiled: Callable[..., Any], condition: str) -> None:
    with pytest.raises(MappingInvalid):
        compiled(f"when: {condition}")


@pytest.mark.parametrize(
    "text",
    ["when:", "require: null", "response: {ok: }", "request: {method: POST, path: /x, body: {a: {$if: }}}"],
)
def test_a_condition_that_was_forgotten_is_no_condition_that_holds(
    compiled: Callable[..., Any], text: str
) -> None:
    with pytest.raises(MappingInvalid, match="is empty; write a condition"):
        compiled(text)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("after.a && after.b", "write `and`"),
        ("after.a || after.b", "write `or`"),
        ("after.a = 1", "write =="),
        ("after.a === 'b ? c'", "write =="),
        ("after.a ? true : false", "a if condition else b"),
        ("!after.a", "write `not`"),
        ("nil == 1", "write null"),
    ],
)
def test_what_other_languages_write_is_answered_with_what_this_one_does(
    compiled: Callable[..., Any], condition: str, says: str
) -> None:
    with pytest.raises(MappingInvalid, match=says):
        compiled(f"when: {json.dumps(condition)}")


def test_order_is_when_vars_skip_if_require_request(outcome: Callable[..., Any]) -> None:
    text = """
when: after.n > 0
vars:
  a: "{{ after.n * 2 }}"
  b: {n: "{{ vars.a + 1 }}", l: [{$for: "x in range(vars.a)", $value: "{{ x }}"}]}
skip_if: vars.b.n > 7
require: vars.b.l | length > 2
request: {method: POST, path: /x, body: "{{ vars.b }}"}
"""
    assert outcome(text, after={"n": 0}) == Skipped("when")
    assert outcome(text, after={"n": 4}) == Skipped("skip_if")
    assert outcome(text, after={"n": 2}).request["body"] == {"n": 5, "l": [0, 1, 2, 3]}
    with pytest.raises(RenderError) as caught:
        outcome(text, after={"n": 1})
    assert caught.value.class_ == "rejected"
    assert caught.value.line == 9


def test_when_cannot_use_vars_and_vars_only_those_above(compiled: Callable[..., Any]) -> None:
    for text in ("when: vars.a == 1\nvars: {a: 1}", 'vars: {a: "{{ vars.b }}", b: 1}'):
        with pytest.raises(MappingInvalid, match="in the vars above"):
            compiled(text)


def test_other_events_are_skipped_by_source(
    outcome: Callable[..., Any], make_event: Callable[..., Any]
) -> None:
    assert outcome("", op="truncate") == Skipped("source")
    assert outcome("", tenant=None) == Skipped("source")
    other = make_event()["source"] | {"table": "items"}
    assert outcome("", source=other) == Skipped("source")


def test_tenant_any_takes_events_of_no_tenant(make_input: Callable[..., Any]) -> None:
    text = "source: {table: public.work_orders, tenant: any}\nconnector: rest\nrequest: {method: GET, path: /x}\n"
    mapping = compile_mapping(text, file="m.yaml", name="m")
    assert mapping.source.tenant_any
    assert mapping.source.operations == {"insert", "update"}
    assert isinstance(mapping.render(make_input(tenant=None)), Rendered)


def test_a_mapping_may_be_for_a_topic_of_the_outbox(make_input: Callable[..., Any]) -> None:
    text = (
        "source: {table: outbox.work-order.closed, operations: [message]}\nconnector: rest\n"
        'request: {method: POST, path: /x, body: {id: "{{ key }}", cost: "{{ after.cost }}"}}\n'
    )
    mapping = compile_mapping(text, file="m.yaml", name="m")
    message = make_input(op="message", key="A-1", after={"cost": 5}, before=None)
    message.event["source"] |= {"schema": "outbox", "table": "work-order.closed"}
    rendered = mapping.render(message)
    assert isinstance(rendered, Rendered)
    assert rendered.request["body"] == {"id": "A-1", "cost": 5}
    message.event["source"]["table"] = "work-order"
    assert mapping.render(message) == Skipped("source")


@pytest.mark.parametrize("table", ["work_orders", "db.public.work_orders", ".t", "outbox.", ""])
def test_a_source_is_a_schema_and_a_table(table: str) -> None:
    text = f"source: {{table: '{table}'}}\nconnector: rest\nrequest: {{method: GET, path: /x}}\n"
    with pytest.raises(MappingInvalid, match=r"source.table is written schema\.table"):
        compile_mapping(text, file="m.yaml", name="m")


def test_params(compiled: Callable[..., Any], make_input: Callable[..., Any]) -> None:
    text = """
params:
  plant: {required: true, description: the plant}
  unit: {default: EA}
  group:
request: {method: POST, path: /x, body: ["{{ params.plant }}", "{{ params.unit }}", "{{ params.group }}"]}
"""
    mapping = compiled(text)
    assert mapping.render(make_input(params={"plant": "CL01"})).request["body"] == ["CL01", "EA", None]
    assert mapping.check_params({"plant": "CL01", "unit": "KG"}) == []
    assert mapping.check_params({"plnt": 1}) == [
        "unknown param 'plnt' of mapping m; did you mean 'plant'?",
        "mapping m requires the param 'plant'",
    ]
    with pytest.raises(RenderError, match="the route gives no param 'plant'"):
        mapping.render(make_input())


def test_the_version_changes_with_the_text_and_the_lookups_used(compiled: Callable[..., Any]) -> None:
    text = "vars: {a: \"{{ 'x' | lookup('t') }}\"}"
    one, two = parse_lookup("a,b\nx,1\n", "t.csv", "t"), parse_lookup("a,b\nx,2\n", "t.csv", "t")
    versions = {
        compiled(text, {"t": one}).version,
        compiled(text, {"t": two}).version,
        compiled(text + "\n", {"t": one}).version,
    }
    assert len(versions) == 3
    assert compiled(text, {"t": one, "unused": two}).version == compiled(text, {"t": one}).version


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extends: x", "'x' is not at hand here"),
        ("enrich: {a: {}}", "'table' is missing"),
        ("steps: {}", "steps needs a step"),
        ("repeat: {find: {}}", "find needs 'request'"),
        ("repeat: {find: {request: {method: GET, path: /x}, found: true, svae: {}}}", "did you mean 'save'?"),
        ("repeat: upsrt", "did you mean 'upsert'?"),
        ("wen: true", "did you mean 'when'?"),
        ("response: {svae: {}}", "did you mean 'save'?"),
        ("request: {method: POST, path: /x, form: {}, body: {}}", "this has form already"),
        ("request: {method: POST, pth: /x}", "did you mean 'path'?"),
        ("request: {method: POST}", "needs 'path'"),
        ("params: {a-b: {}}", "no name"),
        ("params: {a: {required: true, default: 1}}", "never used"),
        ("params: {a: {requird: true}}", "did you mean 'required'?"),
    ],
)
def test_keys_that_are_unknown_or_missing(compiled: Callable[..., Any], text: str, says: str) -> None:
    with pytest.raises(MappingInvalid) as caught:
        compiled(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("connector: rest\nrequest: {method: GET, path: /x}", "'source' is missing"),
        ("source: {table: work_orders}\nconnector: rest\nrequest: {method: GET, path: /x}", "schema.table"),
        (
            "source: {table: a.b, operations: [isert]}\nconnector: rest\nrequest: {method: GET, path: /x}",
            "'insert'",
        ),
        ("source: {table: a.b, tenant: all}\nconnector: rest\nrequest: {method: GET, path: /x}", "`any`"),
        ("source: {table: a.b}\nrequest: {method: GET, path: /x}", "'connector' is missing"),
        ("source: {table: a.b}\nconnector: resd\nrequest: {}", "'rest'"),
        ("source: {table: a.b}\nconnector: rest", "'request' is missing"),
        ("- a", "expected a mapping"),
        ("", "expected a mapping"),
    ],
)
def test_a_mapping_needs_its_parts(text: str, says: str) -> None:
    with pytest.raises(MappingInvalid) as caught:
        compile_mapping(text, file="m.yaml", name="m")
    assert says in str(caught.value)


def test_what_is_probably_not_meant_is_a_warning(compiled: Callable[..., Any]) -> None:
    text = """
params: {used: {}, unused: {}}
vars: {v: "{{ params.used }}"}
request: {method: POST, path: /x, body: {plant: 0123, code: "0123", $fro: 1, $filter: 2, $$if: 3, "{{ x }}": 4}}
"""
    assert [finding.message for finding in compiled(text).warnings] == [
        "nothing uses params.unused",
        "nothing uses vars.v",
        '0123 is the number 123; a code is text: write "0123"',
        "$fro is sent as it stands; did you mean '$for'?",
        "keys are sent as they stand; write $for with $key for a key that is computed",
    ]
