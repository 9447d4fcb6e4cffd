from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from pipeline.mapping import Known, MappingInvalid

NASTY = r"Argolla de 5/8\ con lado plano { PPC.TH.AR2.346 }"


@pytest.mark.parametrize(
    "value",
    [
        NASTY,
        "39.373.782/0019-79",
        "1e5",
        "true",
        "null",
        "{{ 1 + 1 }}",
        "{% raw %}",
        '"quoted" \' {"a": 1} 😀 \x00\x1f\u2028',
        12345678901234567890123,
        Decimal("1273.10"),
        True,
        None,
        [1, {"items": []}],
    ],
)
def test_one_expression_keeps_its_value_and_is_not_parsed_again(leaf: Callable[..., Any], value: Any) -> None:
    found = leaf("{{ after.x }}", after={"x": value})
    assert found == value
    assert type(found) is type(value)
    assert str(found) == str(value)


def test_a_leaf_is_trimmed_and_its_value_is_not(leaf: Callable[..., Any]) -> None:
    assert leaf("  {{ after.x }}  ", after={"x": " a "}) == " a "
    assert leaf("  plain  ") == "plain"
    assert leaf("{{ ' ' }}") == " "


def test_a_longer_text_writes_values_out(leaf: Callable[..., Any]) -> None:
    after = {
        "i": 7,
        "d": Decimal("1E+3"),
        "f": Decimal("1.10"),
        "b": True,
        "s": NASTY,
        "tiny": Decimal("1E-7"),
    }
    text = "{{ after.i }}|{{ after.d }}|{{ after.f }}|{{ after.b }}|{{ after.s }}|{{ after.tiny }}"
    assert leaf(text, after=after) == f"7|1000|1.10|true|{NASTY}|0.0000001"


@pytest.mark.parametrize(("value", "class_"), [(None, "null"), ([1], "value"), ({"a": 1}, "value")])
def test_null_lists_and_objects_cannot_stand_in_a_text(
    failure: Callable[..., Any], value: Any, class_: str
) -> None:
    error = failure("x {{ after.x }}", after={"x": value})
    assert error.class_ == class_
    assert "write" in str(error)


def test_columns_called_like_methods_are_columns(leaf: Callable[..., Any]) -> None:
    after = {"items": 1, "keys": 2, "values": 3, "get": 4}
    assert leaf("{{ [after.items, after.keys, after.values, after.get, after['items']] }}", after=after) == [
        1,
        2,
        3,
        4,
        1,
    ]


def test_a_missing_column_names_file_line_column_expression_and_the_nearest(
    failure: Callable[..., Any],
) -> None:
    error = failure("{{ after.descripton | cut(4) }}", after={"description": "x"})
    assert (error.class_, error.file, error.line, error.column) == ("missing", "m.yaml", 7, 8)
    assert error.expression == "{{ after.descripton | cut(4) }}"
    assert "did you mean 'description'?" in error.message


def test_an_unknown_name_is_found_without_an_event(leaf: Callable[..., Any]) -> None:
    with pytest.raises(MappingInvalid) as caught:
        leaf("{{ aftr.x }}")
    assert "unknown name 'aftr'; did you mean 'after'?" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{{ after.rows | map(attribute='a') | list }}",
        "{{ after.rows | selectattr('a', 'eq', 1) | list }}",
        "{{ after.rows | rejectattr('a') | list }}",
        "{{ after.rows | sum(attribute='a') }}",
        "{{ after.rows | join(',', attribute='a') }}",
        "{{ after.rows | sort(attribute='a') }}",
        "{{ after.rows | groupby('a') }}",
        "{{ after.rows | unique(attribute='a') }}",
        "{{ after.rows | index_by('a') }}",
        "{{ after.rows | max(attribute='a') }}",
    ],
)
def test_a_missing_member_hides_in_no_filter(failure: Callable[..., Any], text: str) -> None:
    assert failure(text, after={"rows": [{"a": 1}, {"b": 2}]}).class_ == "missing"


def test_default_covers_missing_and_null(leaf: Callable[..., Any]) -> None:
    after = {"null": None, "empty": "", "zero": 0}
    assert leaf("{{ after.nothing | default('x') }}", after=after) == "x"
    assert leaf("{{ after.null | default('x') }}", after=after) == "x"
    assert leaf("{{ after.null.deeper | default('x') }}", after=after) == "x"
    assert leaf("{{ after.empty | default('x') }}", after=after) == ""
    assert leaf("{{ after.empty | default('x', true) }}", after=after) == "x"
    assert leaf("{{ after.zero | default(1) }}", after=after) == 0
    assert leaf("{{ [] | first | default('none') }}") == "none"


def test_omit_leaves_the_key_or_element_out(body: Callable[..., Any]) -> None:
    tree = """
a: "{{ after.x | default(omit) }}"
b: ["{{ omit }}", 1]
c: "{{ [1, omit] }}"
"""
    assert body(tree) == {"b": [1], "c": [1]}


def test_a_body_that_is_omitted_is_no_null_body(
    compiled: Callable[..., Any], make_input: Callable[..., Any]
) -> None:
    request = 'request: {method: POST, path: /x, body: "{{ omit }}"}'
    assert compiled(request).render(make_input()).request == {"method": "POST", "path": "/x"}


def test_unchanged_columns_are_an_error_of_their_own(
    failure: Callable[..., Any], leaf: Callable[..., Any]
) -> None:
    known = Known(unreadable="the row is gone")
    members = {"op": "update", "after": {"id": 1}, "unchanged": ["photo"], "known": known}
    for text in ("{{ after.photo }}", "{{ after.photo | default('') }}", "{{ after['photo'] }}", "{{ event.after.photo }}",
                 "{{ after }}", "{{ after | tojson }}", "{{ event.after | length }}"):  # fmt: skip
        error = failure(text, **members)
        assert error.class_ == "unchanged_column", text
        assert "'photo'" in error.message
        assert "the row is gone" in error.message
    assert leaf("{{ after is not none and after.id == 1 }}", **members) is True
    assert leaf("{{ event.unchanged }}", **members) == ["photo"]


def test_null_rows_say_which_operation_it_was(failure: Callable[..., Any]) -> None:
    error = failure("{{ after.id }}", op="delete", after=None, before={"id": 1})
    assert "after is null on delete" in error.message
    assert "before is null on this insert" in failure("{{ before.id }}").message


def test_the_context(leaf: Callable[..., Any]) -> None:
    assert leaf("{{ [op, tenant, route, key.id, event.tenant, source.table, delivery.id] }}") == [
        "insert", "acme", "orders", 1, "4711", "work_orders", "fracttal:0/16B3748:3/acme/orders",
    ]  # fmt: skip
    wanted = uuid5(NAMESPACE_URL, "fracttal-bridge:fracttal:0/16B3748:3/acme/orders")
    assert leaf("{{ delivery.uuid }}") == str(wanted)


def test_statements_in_texts(leaf: Callable[..., Any]) -> None:
    text = "{% for x in after.l %}{% if not loop.first %}, {% endif %}{{ x }}{% endfor %}{% set y = 2 %}; {{ y }}"
    assert leaf(text, after={"l": [1, 2, 3]}) == "1, 2, 3; 2"
    assert (
        leaf("{% if after.x is none %}none{% elif after.x > 1 %}many{% else %}one{% endif %}", after={"x": 5})
        == "many"
    )
