from collections.abc import Callable
from typing import Any

import pytest

from pipeline.mapping import MappingInvalid, RenderError

PARTS = [{"code": "A", "qty": 2, "type": 1}, {"code": "B", "qty": 0, "type": 1}]


def test_for_makes_a_list_of_its_siblings(body: Callable[..., Any]) -> None:
    tree = """
items:
  $for: part in after.parts
  position: "{{ loop.index * 10 }}"
  code: "{{ part.code }}"
"""
    assert body(tree, after={"parts": PARTS}) == {
        "items": [{"position": 10, "code": "A"}, {"position": 20, "code": "B"}]
    }


def test_if_is_evaluated_for_each_element_and_else_stands_in(body: Callable[..., Any]) -> None:
    tree = """
some: {$for: part in after.parts, $if: part.qty > 0, $value: "{{ part.code }}"}
all: {$for: part in after.parts, $if: part.qty > 0, $value: "{{ part.code }}", $else: none left}
last: {$for: part in after.parts, $if: loop.last, code: "{{ part.code }}"}
"""
    assert body(tree, after={"parts": PARTS}) == {
        "some": ["A"], "all": ["A", "none left"], "last": [{"code": "B"}],
    }  # fmt: skip


def test_inside_a_list_for_splices(body: Callable[..., Any]) -> None:
    tree = """
- first
- {$for: part in after.parts, $value: "{{ part.code }}"}
- {$if: after.parts | length > 5, a: 1}
- [nested]
"""
    assert body(tree, after={"parts": PARTS}) == ["first", "A", "B", ["nested"]]


@pytest.mark.parametrize("key", ['"{{ part.code }}"', "part.code"])
def test_key_makes_an_object(body: Callable[..., Any], key: str) -> None:
    tree = f"by_code: {{$for: part in after.parts, $key: {key}, qty: '{{{{ part.qty }}}}'}}"
    assert body(tree, after={"parts": PARTS}) == {"by_code": {"A": {"qty": 2}, "B": {"qty": 0}}}


def test_if_without_else_leaves_the_key_out(body: Callable[..., Any]) -> None:
    tree = """
a: {$if: after.x, b: 1}
c: {$if: not after.x, b: 1, $else: "{{ after.x }}"}
d: {$if: after.x, $value: [1]}
"""
    assert body(tree, after={"x": False}) == {"c": {"b": 1}}
    assert body(tree, after={"x": True}) == {"a": {"b": 1}, "c": True, "d": [1]}


@pytest.mark.parametrize(
    "merge", ['"{{ after.more }}"', "after.more", "[after.more, {z: 3}]", "{x: 1, y: '{{ 2 }}'}"]
)
def test_merge_adds_keys(body: Callable[..., Any], merge: str) -> None:
    found = body(f"a: 0\n$merge: {merge}", after={"more": {"x": 1, "y": 2}})
    assert found == {"a": 0, "x": 1, "y": 2} | ({"z": 3} if "z" in merge else {})


def test_a_key_that_is_there_twice_is_an_error(body: Callable[..., Any]) -> None:
    with pytest.raises(RenderError) as caught:
        body("a: 0\n$merge: after", after={"a": 1})
    assert caught.value.class_ == "duplicate_key"
    assert (caught.value.line, caught.value.expression) == (8, "after")
    with pytest.raises(RenderError, match="'A' twice"):
        body("{$for: 'x in [1, 2]', $key: \"{{ 'A' }}\", $value: 1}")


def test_loops_nest_and_each_has_its_own_loop(body: Callable[..., Any]) -> None:
    tree = """
$for: order in after.orders
n: "{{ loop.index }}"
lines:
  $for: line in order.lines
  of: "{{ order.id }}-{{ loop.index }}"
  line: "{{ line }}"
after: "{{ loop.last }}"
"""
    assert body(tree, after={"orders": [{"id": "x", "lines": [7, 8]}, {"id": "y", "lines": []}]}) == [
        {"n": 1, "lines": [{"of": "x-1", "line": 7}, {"of": "x-2", "line": 8}], "after": False},
        {"n": 2, "lines": [], "after": True},
    ]


def test_reserved_keys_are_written_with_two_dollars_and_others_are_literal(body: Callable[..., Any]) -> None:
    tree = '{$$for: 1, $$if: "{{ 2 }}", $filter: 3, $$top: 4, "{{ key }}": 5}'
    assert body(tree) == {"$for": 1, "$if": 2, "$filter": 3, "$$top": 4, "{{ key }}": 5}


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ("a: {$for: part of after.parts, b: 1}", "name in list"),
        ("a: {$for: [1], b: 1}", "name in list"),
        ("a: {$for: after in after.parts, b: 1}", "already means something"),
        ("a: {$for: x in after.l, b: {$for: x in x, c: 1}}", "already means something"),
        ('a: {$for: "x in {{ after.l }}", b: 1}', "without {{ }}"),
        ('a: {$if: "{{ after.x }}", b: 1}', "without {{ }}"),
        ("a: {$value: 1}", "$value belongs to"),
        ("a: {$if: true, $value: 1, b: 2}", "$value is the whole value"),
        ("a: {$else: 1, b: 2}", "$else needs an $if"),
        ("a: {$key: x, b: 2}", "$key needs a $for"),
        ("a: {$for: x in after.l, b: 1}\nc: '{{ x }}'", "unknown name 'x'"),
    ],
)
def test_structure_that_cannot_work(body: Callable[..., Any], tree: str, says: str) -> None:
    with pytest.raises(MappingInvalid) as caught:
        body(tree)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("value", "says"), [(None, "default([])"), ({"a": 1}, "| items"), ("text", "over a list")]
)
def test_a_loop_goes_over_lists_alone(body: Callable[..., Any], value: Any, says: str) -> None:
    with pytest.raises(RenderError) as caught:
        body("a: {$for: x in after.l, b: 1}", after={"l": value})
    assert says in str(caught.value)
    assert caught.value.line == 7


def test_columns_called_items_are_looped_over(body: Callable[..., Any]) -> None:
    assert body("a: {$for: x in after.items, $value: '{{ x }}'}", after={"items": [1]}) == {"a": [1]}
