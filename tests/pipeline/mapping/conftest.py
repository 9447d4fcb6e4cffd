"""A mapping's smallest frame around what a test is about."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.mapping import NOTHING_KNOWN, Known, Lookup, Mapping, RenderError, RenderInput, compile_mapping

HEAD = "source: {table: public.work_orders, operations: [insert, update, delete, read]}\nconnector: rest\n"
REQUEST = "request:\n  method: POST\n  path: /orders\n"


def event(**members: Any) -> dict[str, Any]:
    after = members.get("after", {"id": 1})
    return {
        "v": 1,
        "id": "fracttal:0/16B3748:3",
        "op": "insert",
        "tenant": "4711",
        "source": {
            "name": "fracttal",
            "db": "fracttal",
            "schema": "public",
            "table": "work_orders",
            "lsn": "0/16B3700",
            "commit_lsn": "0/16B3748",
            "ordinal": 3,
            "xid": 754,
            "commit_ts": "2026-11-24T03:28:19.832462Z",
        },
        "key": {"id": 1},
        "before": None,
        "after": after,
        **members,
    }


def given(
    params: dict[str, Any] | None = None,
    timezone: str = "UTC",
    known: Known = NOTHING_KNOWN,
    **members: Any,
) -> RenderInput:
    return RenderInput(
        event=event(**members),
        tenant="acme",
        route="orders",
        params=params or {},
        delivery_id="fracttal:0/16B3748:3/acme/orders",
        timezone=timezone,
        known=known,
    )


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    return event


@pytest.fixture
def make_input() -> Callable[..., RenderInput]:
    return given


@pytest.fixture
def compiled() -> Callable[..., Mapping]:
    """A mapping of any keys; `request` is there unless it is given."""

    def build(text: str, lookups: dict[str, Lookup] | None = None) -> Mapping:
        request = "" if "\nrequest:" in f"\n{text}" else REQUEST
        return compile_mapping(HEAD + request + text, file="m.yaml", name="m", lookups=lookups)

    return build


@pytest.fixture
def body(compiled: Callable[..., Mapping]) -> Callable[..., Any]:
    """The body that a tree of YAML renders to."""

    def render(tree: str, lookups: dict[str, Lookup] | None = None, head: str = "", **members: Any) -> Any:
        indented = "".join(f"    {line}\n" for line in tree.strip("\n").splitlines())
        mapping = compiled(f"{REQUEST}  body:\n{indented}{head}", lookups)
        result = mapping.render(given(**members))
        return result.request.get("body", "left out")  # type: ignore[union-attr]

    return render


@pytest.fixture
def leaf(body: Callable[..., Any]) -> Callable[..., Any]:
    """The value that one leaf renders to."""

    def render(text: str, **members: Any) -> Any:
        return body(f"a: {json.dumps(text, ensure_ascii=False)}", **members).get("a", "left out")

    return render


@pytest.fixture
def failure(leaf: Callable[..., Any]) -> Callable[..., RenderError]:
    """How a leaf fails to render."""

    def fail(text: str, **members: Any) -> RenderError:
        with pytest.raises(RenderError) as caught:
            leaf(text, **members)
        return caught.value

    return fail
