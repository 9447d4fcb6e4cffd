from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from pipeline.mapping import MappingInvalid, RenderError


@pytest.fixture
def request_of(compiled: Callable[..., Any], make_input: Callable[..., Any]) -> Any:
    def render(text: str, **after: Any) -> Any:
        return compiled("request:\n  method: POST\n" + text).render(make_input(after=after)).request

    return render


@pytest.mark.parametrize(
    ("path", "value", "sent"),
    [
        ("/v/eid:{{ after.c }}", "39.373.782/0019-79", "/v/eid:39.373.782%2F0019-79"),
        ("/v('{{ after.c }}')", "a b'ñ?#%", "/v('a%20b%27%C3%B1%3F%23%25')"),
        ("/v/{{ after.c }}/x", 7, "/v/7/x"),
        ("/v/{{ after.c }}", Decimal("1E+3"), "/v/1000"),
        ("/v/{{ after.c }}", True, "/v/true"),
        ("{{ after.c }}", "/a/b", "%2Fa%2Fb"),
        ("/v/{% if after.c %}x{% endif %}", "..", "/v/x"),
        ("/v/{{ after.c }}", "😀", "/v/%F0%9F%98%80"),
        ("/v/{{ after.c }}", "...", "/v/..."),
        ("/v%20w/{{ after.c }}", "x", "/v%20w/x"),
    ],
)
def test_values_in_a_path_are_encoded_and_its_text_is_not(
    request_of: Callable[..., Any], path: str, value: Any, sent: str
) -> None:
    assert request_of(f'  path: "{path}"\n', c=value)["path"] == sent


@pytest.mark.parametrize("value", [".", "..", None, "", [1], {"a": 1}])
def test_values_that_would_lead_elsewhere_are_refused(request_of: Callable[..., Any], value: Any) -> None:
    with pytest.raises(RenderError) as caught:
        request_of('  path: "/v/{{ after.c }}"\n', c=value)
    assert caught.value.class_ in ("path", "value")
    assert caught.value.line == 5


@pytest.mark.parametrize("path", ["/a/../b", "/a/./b", "/a/%2e%2E/b", "/a/.%2e"])
def test_dot_segments_are_refused(request_of: Callable[..., Any], path: str) -> None:
    with pytest.raises(MappingInvalid) as caught:
        request_of(f'  path: "{path}"\n')
    assert caught.value.findings[0].mark.line == 5


def test_dot_segments_that_values_make_are_refused(request_of: Callable[..., Any]) -> None:
    with pytest.raises(RenderError) as caught:
        request_of('  path: "/a/.{{ after.c }}/b"\n', c=".")
    assert caught.value.class_ == "path"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("  path: orders\n", 5, "begins with /"),
        ('  path: "orders/{{ after.c }}"\n', 5, "begins with /"),
        ("  path: /orders?expand=all\n", 5, "request.query"),
        ('  path: "/orders?id={{ after.c }}"\n', 5, "request.query"),
        ('  path: "{{ after.c }}/orders?all=1"\n', 5, "request.query"),
        ("  path: /100%\n", 5, "%25"),
        ("  path: /x\n  headers:\n    Authorization: x\n", 7, "set by the connection"),
        ('  path: /x\n  headers:\n    X A: "{{ after.c }}"\n', 7, "not a header name"),
        ("  path: /x\n  headers:\n    X-A: ñ\n", 7, "ASCII"),
    ],
)
def test_what_no_event_can_put_right_is_found_before_the_first(
    request_of: Callable[..., Any], text: str, line: int, says: str
) -> None:
    with pytest.raises(MappingInvalid) as caught:
        request_of(text, c="x")
    (finding,) = caught.value.findings
    assert finding.mark.line == line
    assert says in finding.message


def test_queries_and_headers_are_texts_without_nulls(request_of: Callable[..., Any]) -> None:
    text = """
  path: /x
  query:
    $filter: "code eq '{{ after.c | odata }}'"
    $top: 5
    none: "{{ after.n }}"
    flag: "{{ true }}"
    many: ["{{ after.c }}", 2, null]
    sometimes: {$if: after.n is not none, $value: 1}
  headers: {X-Code: "{{ after.c }}", X-None: "{{ after.n }}", X-Cost: "{{ 1.50 }}"}
"""
    request = request_of(text, c="O'H", n=None)
    assert request["query"] == {
        "$filter": "code eq 'O''H'",
        "$top": "5",
        "flag": "true",
        "many": ["O'H", "2"],
    }
    assert request["headers"] == {"X-Code": "O'H", "X-Cost": "1.50"}


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "a\nb", "a\rb", "a\0b", "Ñandú", "a\tb"])
@pytest.mark.parametrize("header", ["{{ after.c }}", "x {{ after.c }}"])
def test_line_breaks_and_letters_outside_ascii_in_headers_are_errors_where_the_header_stands(
    request_of: Callable[..., Any], header: str, value: Any
) -> None:
    with pytest.raises(RenderError) as caught:
        request_of(f'  path: /x\n  headers:\n    X-A: "{header}"\n', c=value)
    assert (caught.value.class_, caught.value.line, caught.value.expression) == ("header", 7, header)


def test_objects_in_queries_are_errors(request_of: Callable[..., Any]) -> None:
    with pytest.raises(RenderError, match="query 'a'"):
        request_of("  path: /x\n  query: {a: {b: 1}}\n")
    with pytest.raises(RenderError, match="takes an object"):
        request_of("  path: /x\n  query: [1]\n")


def test_method_may_be_computed(compiled: Callable[..., Any], make_input: Callable[..., Any]) -> None:
    text = "request: {method: \"{{ 'DELETE' if op == 'delete' else 'PUT' }}\", path: /x}"
    assert compiled(text).render(make_input(op="delete", after=None)).request["method"] == "DELETE"
    with pytest.raises(MappingInvalid, match="path takes a text"):
        compiled("request: {method: GET, path: [x]}")
