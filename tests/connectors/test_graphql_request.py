"""What a mapping's request becomes, and what is refused before anything is sent."""

import json
from decimal import Decimal
from typing import Any

import pytest

from connectors import registry
from connectors.graphql import prepare
from connectors.protocol import ConnectionSettings, Prepared, RequestInvalid, SettingsInvalid

CREATE = "mutation Create($input: In!, $note: String, $n: Int! = 1) { create(input: $input, note: $note, n: $n) { id } }"
TWO = "mutation A($x: Int) { a(x: $x) } mutation B { b }"


def body(prepared: Prepared) -> Any:
    return json.loads(prepared.content, parse_float=Decimal)


def test_the_request_as_graphql_over_http_has_it() -> None:
    prepared = prepare(
        {"query": CREATE, "variables": {"input": {"cost": Decimal("1273.10")}}}, "event/acme/orders"
    )
    assert body(prepared) == {"query": CREATE, "variables": {"input": {"cost": Decimal("1273.10")}}}
    assert prepared.to_json() == {
        "connector": "graphql",
        "query": CREATE,
        "variables": {"input": {"cost": Decimal("1273.10")}},
        "operation_name": None,
        "headers": {
            "Accept": "application/graphql-response+json, application/json",
            "Idempotency-Key": "event/acme/orders",
            "User-Agent": "fracttal-bridge",
            "Content-Type": "application/json",
        },
        "path": "",
    }


def test_of_several_operations_one_is_named_and_no_variables_are_none() -> None:
    prepared = prepare({"query": TWO, "operation_name": "B", "headers": {"idempotency-key": "mine"}}, "k")
    assert body(prepared) == {"query": TWO, "operationName": "B"}
    assert prepared.parts["headers"]["idempotency-key"] == "mine"
    assert "Idempotency-Key" not in prepared.parts["headers"]


def test_a_document_is_known_by_its_id() -> None:
    prepared = prepare({"document_id": "sha256:7dba", "variables": {"a": None}, "path": "/v2"}, "k")
    assert body(prepared) == {"documentId": "sha256:7dba", "variables": {"a": None}}
    assert prepared.parts["path"] == "/v2"
    checked = prepare({"document_id": "x", "query": CREATE, "variables": {"input": 1}}, "k")
    assert body(checked) == {"documentId": "x", "variables": {"input": 1}}


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"query": CREATE, "variables": {}}, "variables.input is missing, and the query declares it as .input: In!"),
        ({"query": CREATE, "variables": {"input": None}}, "variables.input is null"),
        ({"query": CREATE, "variables": {"input": 1, "n": None}}, "variables.n is null.*leave it out"),
        ({"query": CREATE, "variables": {"input": 1, "nota": 1}}, "variables.nota is not declared.*input, note, n"),
        ({"query": CREATE, "variables": [1]}, "variables must be names and values, this is list"),
        ({"query": TWO}, "holds A, B; write which one as operation_name"),
        ({"query": TWO, "operation_name": "C"}, "no operation 'C'"),
        ({"query": TWO, "operation_name": "B", "variables": {"x": 1}}, "variables.x is not declared.*none"),
        ({"query": "{ a"}, "its line 1, column 4"),
        ({"query": 7}, "query must be a text"),
        ({}, "query is missing"),
        ({"document_id": ""}, "document_id must be a text"),
        ({"query": "{ a }", "body": {}}, "request.body: graphql knows only query"),
        ({"query": "{ a }", "path": "v2"}, "begins with /"),
        ({"query": "{ a }", "headers": {"Authorization": "x"}}, "set by the connection"),
        ({"document_id": "x", "variables": {"a": object()}}, "variables is no JSON value"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_said(request_: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestInvalid, match=says):
        prepare(request_, "k")


@pytest.mark.parametrize(
    ("options", "key"),
    [({"persisted_queries": "yes"}, "persisted_queries"), ({"csrf": True}, "csrf")],
)
def test_options_that_are_none(options: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        registry.check_settings("graphql", ConnectionSettings("https://erp.example/graphql", options=options))
    assert caught.value.key == key
