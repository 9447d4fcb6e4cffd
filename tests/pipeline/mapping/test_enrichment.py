"""`enrich` and columns that came unchanged: what is asked for, when, and what is made of the answer."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from pipeline.mapping import (
    ColumnsRead,
    Known,
    MappingInvalid,
    Needs,
    Rendered,
    RenderError,
    RowsRead,
    Skipped,
)

BODY = 'request: {method: POST, path: /x, body: "{{ [a, b, c] }}"}\n'
CHAIN = """
enrich:
  a: {table: public.a, where: {id: "{{ after.a }}"}}
  b: {table: public.b, where: {id: "{{ a.b | default(null) }}", kind: 1}, many: true, order_by: [at desc, id]}
  c: {table: public.c, where: {ids: "{{ after.list }}"}, many: true, columns: [id, name], limit: 2}
"""


@pytest.fixture
def render(compiled: Callable[..., Any], make_input: Callable[..., Any]) -> Callable[..., Any]:
    def of(text: str, **members: Any) -> Any:
        return compiled(text).render(make_input(**members))

    return of


AFTER = {"a": 7, "list": [1, None, "x"]}
A = RowsRead("a", "public.a", (("id", 7),))
B = RowsRead(
    "b",
    "public.b",
    (("id", 3), ("kind", 1)),
    many=True,
    order_by=(("at", True), ("id", False)),
    limit=1000,
)
C = RowsRead("c", "public.c", (("ids", [1, "x"]),), many=True, columns=("id", "name"), limit=2)


def test_what_does_not_depend_on_one_another_is_asked_for_at_once(render: Callable[..., Any]) -> None:
    assert render(BODY + CHAIN, after=AFTER) == Needs((A, C))
    a = {"a": [{"id": 7, "b": 3}]}
    assert render(BODY + CHAIN, after=AFTER, known=Known(rows=a)) == Needs((B, C))
    known = Known(rows={**a, "b": [{"id": 1}], "c": []})
    assert render(BODY + CHAIN, after=AFTER, known=known).request["body"] == [
        {"id": 7, "b": 3},
        [{"id": 1}],
        [],
    ]


def test_a_null_finds_nothing_and_is_not_asked_for(render: Callable[..., Any]) -> None:
    got = render(BODY + CHAIN, after={"a": None, "list": [None]})
    assert got.request["body"] == [None, [], []]


def test_the_row_that_is_not_there_is_null(render: Callable[..., Any]) -> None:
    known = Known(rows={"a": [], "c": []})
    assert render(BODY + CHAIN, after=AFTER, known=known).request["body"] == [None, [], []]


def test_more_rows_than_the_limit_are_an_error(render: Callable[..., Any]) -> None:
    known = Known(rows={"a": [], "c": [{"id": 1}, {"id": 2}, {"id": 3}]})
    with pytest.raises(RenderError) as caught:
        render(BODY + CHAIN, after=AFTER, known=known)
    assert (caught.value.class_, caught.value.line) == ("limit", 8)
    assert "more than 2 rows of public.c" in caught.value.message


def test_nothing_is_read_for_an_event_that_is_skipped(render: Callable[..., Any]) -> None:
    assert render(BODY + CHAIN + "when: after.a == 8", after=AFTER) == Skipped("when")


@pytest.mark.parametrize("value", ["{{ after }}", "{{ omit }}", "{{ [after.list] }}"])
def test_a_column_is_compared_with_values_alone(render: Callable[..., Any], value: str) -> None:
    with pytest.raises(RenderError, match=r"where\.id"):
        render(f'enrich: {{a: {{table: public.a, where: {{id: "{value}"}}}}}}', after=AFTER)


def test_a_decimal_keeps_its_digits(render: Callable[..., Any]) -> None:
    (read,) = render(
        'enrich: {a: {table: public.a, where: {id: "{{ after.c }}"}}}', after={"c": Decimal("1.10")}
    ).reads
    assert repr(read.where) == "(('id', Decimal('1.10')),)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("enrich: {a: {where: {id: 1}}}", "'table' is missing"),
        ("enrich: {a: {table: assets, where: {id: 1}}}", "schema.table"),
        ("enrich: {a: {table: public.assets}}", "'where' is missing"),
        ("enrich: {a: {table: public.assets, where: {}}}", "the whole table"),
        ("enrich: {a: {table: a.b, where: {id: 1}, limit: 5}}", "belongs to many"),
        ("enrich: {a: {table: a.b, where: {id: 1}, many: true, limit: 100000}}", "up to 10000"),
        ("enrich: {a: {table: a.b, where: {id: 1}, order_by: id sideways}}", "column desc"),
        ("enrich: {a: {table: a.b, where: {id: 1}, whre: 1}}", "did you mean 'where'?"),
        ("enrich: {after: {table: a.b, where: {id: 1}}}", "already means something"),
        ("enrich: {steps: {table: a.b, where: {id: 1}}}", "already means something"),
        ("enrich: {a-b: {table: a.b, where: {id: 1}}}", "is no name"),
        ('enrich: {a: {table: a.b, where: {id: "{{ b.x }}"}}, b: {table: a.b, where: {id: 1}}}', "name 'b'"),
        ("enrich: {a: {table: a.b, where: {id: 1}}}\nwhen: a.x == 1", "unknown name 'a'"),
        ("enrich: {a: {table: a.b, where: {id: 1}}}\nordering: a.x", "unknown name 'a'"),
        ("enrich: [a]", "takes a mapping"),
    ],
)
def test_what_cannot_be_read_is_found_before_any_event(
    compiled: Callable[..., Any], text: str, says: str
) -> None:
    with pytest.raises(MappingInvalid) as caught:
        compiled(text)
    assert says in str(caught.value)


# ── Columns that came unchanged ──────────────────────────────────────────────────────────────────────────────────

UNCHANGED: dict[str, Any] = {
    "op": "update",
    "before": None,
    "after": {"id": 1},
    "unchanged": ["photo", "doc", "other"],
}
READ = Needs((ColumnsRead("public.work_orders", {"id": 1}, ("doc", "photo")),))
PHOTO = (
    'request: {method: POST, path: /x, body: {p: "{{ after.photo }}", d: "{{ after.doc | default(1) }}"}}\n'
)


def test_one_read_brings_every_column_that_the_mapping_names(render: Callable[..., Any]) -> None:
    assert render(PHOTO, **UNCHANGED) == READ
    known = Known(columns={"photo": "x", "doc": None})
    assert render(PHOTO, **UNCHANGED, known=known).request["body"] == {"p": "x", "d": 1}


def test_a_condition_may_need_it_too(render: Callable[..., Any]) -> None:
    assert render("when: after.photo is none", **UNCHANGED).reads[0].columns == ("photo",)
    assert render("when: after.photo is none", **UNCHANGED, known=Known(columns={"photo": "x"})) == Skipped(
        "when"
    )


def test_the_whole_row_is_completed_first(render: Callable[..., Any]) -> None:
    whole = 'request: {method: POST, path: /x, body: "{{ after }}"}'
    assert render(whole, **UNCHANGED).reads[0].columns == ("doc", "other", "photo")
    known = Known(columns={"photo": 1, "doc": 2, "other": 3})
    assert render(whole, **UNCHANGED, known=known).request["body"] == {
        "id": 1,
        "photo": 1,
        "doc": 2,
        "other": 3,
    }


def test_what_was_read_is_still_no_change(render: Callable[..., Any]) -> None:
    known = Known(columns={"photo": "x"})
    for when in ("changed('photo')", "became('photo', 'x')"):
        assert render(f"when: {when}", **UNCHANGED, known=known) == Skipped("when")
    assert isinstance(render("when: event.unchanged | length == 3", **UNCHANGED, known=known), Rendered)


@pytest.mark.parametrize(
    ("members", "known", "says"),
    [({"key": None}, Known(), "has no key"), ({}, Known(unreadable="the row is gone"), "the row is gone")],
)
def test_what_cannot_be_read_is_an_error(
    render: Callable[..., Any], members: dict[str, Any], known: Known, says: str
) -> None:
    with pytest.raises(RenderError, match=says) as caught:
        render(PHOTO, **{**UNCHANGED, **members}, known=known)
    assert caught.value.class_ == "unchanged_column"
    assert caught.value.expression == "{{ after.photo }}"
