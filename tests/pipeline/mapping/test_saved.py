"""`saved` and `wait_for`: what other deliveries left behind."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.mapping import Known, Needs, Rendered, RenderError, SavedRead, Waits


@pytest.fixture
def value(compiled: Callable[..., Any], make_input: Callable[..., Any]) -> Callable[..., Any]:
    def of(expression: str, known: Known | None = None, **after: Any) -> Any:
        text = 'request: {method: POST, path: /x, body: {v: "{{ ' + expression + ' }}"}}'
        result = compiled(text).render(make_input(after=after, known=known or Known()))
        return result.request["body"]["v"] if isinstance(result, Rendered) else result

    return of


def test_what_another_delivery_saved(value: Callable[..., Any]) -> None:
    needs = value("saved('vendors', after.id, 'vendor')", id=5)
    assert isinstance(needs, Needs)
    (read,) = needs.reads
    assert isinstance(read, SavedRead)
    assert (read.route, read.key, read.name) == ("vendors", '["5"]', "vendor")
    assert value("saved('vendors', {'id': 5}, 'vendor')", Known(saved={read.id: "V"})) == "V"
    assert (
        value("saved('vendors', after.id, 'vendor') | default('none')", Known(saved={read.id: None}), id=5)
        == "none"
    )
    assert value("saved('vendors', after.id, 'vendor')", id=None) is None


def test_what_is_not_there_yet_is_waited_for(value: Callable[..., Any]) -> None:
    expression = "wait_for('vendors', after.id, 'vendor') | default('none')"
    (read,) = value(expression, id=5).reads
    waits = value(expression, Known(saved={read.id: None}), id=5)
    assert isinstance(waits, Waits)
    assert (waits.file, waits.line, waits.expression) == ("m.yaml", 3, "{{ " + expression + " }}")
    assert "has saved no 'vendor' for the key [\"5\"] yet" in waits.message
    assert value(expression, Known(saved={read.id: "V"}), id=5) == "V"
    assert isinstance(value("wait_for(after.x)", x=None), Waits)
    assert value("wait_for(after.x)", x=0) == 0


@pytest.mark.parametrize(
    ("expression", "class_"),
    [
        ("wait_for('r', null, 'x')", "null"),
        ("saved('r', [1], 'x')", "value"),
        ("saved('r', true, 'x')", "value"),
        ("saved(null, 1, 'x')", "null"),
    ],
)
def test_a_key_that_nothing_has_is_an_error(value: Callable[..., Any], expression: str, class_: str) -> None:
    with pytest.raises(RenderError) as caught:
        value(expression)
    assert caught.value.class_ == class_


def test_which_routes_a_mapping_asks(compiled: Callable[..., Any]) -> None:
    mapping = compiled("when: saved('a', 1, 'x') is none or wait_for('b', 1, 'x') == 1")
    assert mapping.routes_read == {"a", "b"}
