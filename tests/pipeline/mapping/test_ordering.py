"""`ordering`: what must stay in order with what."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.mapping import MappingInvalid


@pytest.mark.parametrize(
    ("members", "keys"),
    [
        ({"after": {"p": 1}}, (1,)),
        ({"after": {"p": None}}, ()),
        ({"after": {"id": 1}}, ()),
        ({"op": "update", "before": {"p": 1}, "after": {"p": 2}}, (1, 2)),
        ({"op": "update", "before": {"p": 2}, "after": {"p": 2}}, (2,)),
        ({"op": "update", "before": {"id": 7}, "after": {"p": 2}}, (2,)),
        ({"op": "delete", "before": {"p": 1}, "after": None}, (1,)),
        ({"op": "delete", "before": {"id": 1}, "after": None}, ()),
        ({"op": "truncate", "before": None, "after": None, "key": None}, ()),
        ({"op": "update", "after": {"id": 1}, "unchanged": ["p"]}, ()),
    ],
)
def test_what_must_stay_in_order(
    compiled: Callable[..., Any], make_input: Any, members: Any, keys: Any
) -> None:
    assert compiled("ordering: after.p").ordering_keys(make_input(**members)) == keys
    assert compiled("").ordering_keys(make_input(**members)) == ()


def test_ordering_may_be_any_expression_and_uses_params(
    compiled: Callable[..., Any], make_input: Any
) -> None:
    mapping = compiled("params: {n: {default: 2}}\nordering: (after.p // params.n) ~ '-' ~ route")
    assert mapping.ordering_keys(make_input(after={"p": 5})) == ("2-orders",)


@pytest.mark.parametrize(
    "text", ["ordering: vars.x\nvars: {x: 1}", "ordering: {a: 1}", "ordering: delivery.id", "ordering: 5"]
)
def test_ordering_is_asked_before_anything_else(compiled: Callable[..., Any], text: str) -> None:
    with pytest.raises(MappingInvalid):
        compiled(text)
