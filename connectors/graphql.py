"""The kind `graphql`: one operation, sent as GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/).

The document stands as it is written; values go through `variables`. Connection option `persisted_queries`: `apq` sends
the document's hash instead, and the document once where the server does not know it (Apollo's automatic persisted
queries); `document_id` sends `sha256:HASH` alone, for servers that know their documents (the specification's appendix A).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.graphql_document import Operation, read_document
from connectors.http_request import header_texts, json_payload, path_target, with_usual
from connectors.http_settings import check_http_settings
from connectors.protocol import (
    Answer,
    ConnectionSettings,
    Connector,
    Leaf,
    Outcome,
    Prepared,
    RequestInvalid,
    RequestKey,
    RequestShape,
    SettingsInvalid,
)

PERSISTED = ("apq", "document_id")
_CURE = 'a value goes in through variables: write $id in the query, and variables: {id: "{{ after.id }}"} beside it'


def _document(text: Any) -> str:
    if not isinstance(text, str):
        raise RequestInvalid(f"request.query must be a text, not {type(text).__name__}")
    read_document(text)
    return text


SHAPE = RequestShape({
    "query": RequestKey(Leaf.TEXT, check=_document, literal=_CURE),
    "document_id": RequestKey(Leaf.TEXT),
    "variables": RequestKey(Leaf.TREE),
    "operation_name": RequestKey(Leaf.TEXT),
    "headers": RequestKey(Leaf.HEADER, check=header_texts),
    "path": RequestKey(Leaf.PATH, check=path_target),
}, payload=("variables",), one_of=("query", "document_id"))  # fmt: skip


def prepare(request: Mapping[str, Any], idempotency_key: str) -> Prepared:
    """parts: query, variables, operation_name, headers, path, and document_id where there is one.

    A mapping's own Idempotency-Key wins. Raises RequestInvalid.
    """
    SHAPE.check_keys("graphql", request)
    query, document_id = request.get("query"), _text("document_id", request.get("document_id"))
    name, variables = _text("operation_name", request.get("operation_name")), request.get("variables")
    if variables is not None and not isinstance(variables, Mapping):
        raise RequestInvalid(
            f"request.variables must be names and values, this is {type(variables).__name__}"
        )
    if query is None and document_id is None:
        raise RequestInvalid("request.query is missing; write the document, or the document_id of one")
    if query is not None:
        _check_variables(read_document(_document(query)).operation(name), variables or {})
    parts = {
        "query": query,
        "variables": variables or {},
        "operation_name": name,
        "headers": _headers(request.get("headers"), idempotency_key),
        "path": path_target(request["path"]) if request.get("path") else "",
    }
    if document_id is not None:
        parts["document_id"] = document_id
        return Prepared("graphql", parts, content(parts, {"documentId": document_id}))
    return Prepared("graphql", parts, content(parts, {"query": query}))


def content(parts: Mapping[str, Any], document: Mapping[str, Any]) -> bytes:
    """The request's body. document: the members that say which one is meant. Raises RequestInvalid."""
    members = dict(document)
    if parts["variables"]:
        members["variables"] = parts["variables"]
    if parts["operation_name"] is not None:
        members["operationName"] = parts["operation_name"]
    try:
        return json_payload(members)
    except RequestInvalid as error:
        raise RequestInvalid(str(error).replace("request.body", "request.variables")) from None


def _text(key: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise RequestInvalid(f"request.{key} must be a text, this is {value!r}")
    return value


def _check_variables(operation: Operation, variables: Mapping[str, Any]) -> None:
    """Servers take what is not declared without a word, and say less of what is missing."""
    for name, type_ in operation.variables.items():
        if name in operation.needed and variables.get(name) is None:
            raise RequestInvalid(
                f"request.variables.{name} is {'null' if name in variables else 'missing'}, and the query declares it as ${name}: {type_}"
            )
        if type_.endswith("!") and name in variables and variables[name] is None:
            raise RequestInvalid(
                f"request.variables.{name} is null, and the query declares it as ${name}: {type_}; leave it out (omit) for its default"
            )
    unknown = [name for name in variables if name not in operation.variables]
    if unknown:
        known = ", ".join(operation.variables) or "none"
        raise RequestInvalid(
            f"request.variables.{unknown[0]} is not declared by the query; declared: {known}"
        )


def _headers(given: Any, idempotency_key: str) -> dict[str, str]:
    usual = {
        "Accept": "application/graphql-response+json, application/json",
        **header_texts({"Idempotency-Key": idempotency_key}),
        "User-Agent": "fracttal-bridge",
        "Content-Type": "application/json",
    }
    return with_usual(header_texts(given), usual)


def judge(request: Mapping[str, Any], answer: Answer) -> Outcome:
    """What a connection would make of the answer, but for how long to wait. request: {} where nobody knows it."""
    from connectors.graphql_classification import classify_response  # noqa: PLC0415 — who only prepares has no use for it

    return classify_response(answer, changes=changes(request), now=datetime.fromtimestamp(0, UTC))


def changes(request: Mapping[str, Any]) -> bool:
    """Whether it may change something: an operation whose document is not at hand may."""
    query = request.get("query")
    return query is None or read_document(query).operation(request.get("operation_name")).changes


def check_settings(settings: ConnectionSettings) -> None:
    """Pure; secrets may be unresolved. Raises SettingsInvalid."""
    check_http_settings(settings, ("persisted_queries",))
    if settings.options.get("persisted_queries", PERSISTED[0]) not in PERSISTED:
        raise SettingsInvalid("persisted_queries", f"is one of {', '.join(PERSISTED)}, or left out")


def open_connector(settings: ConnectionSettings) -> Connector:
    """Connects to nothing yet. Raises SettingsInvalid."""
    # who only compiles mappings and renders needs no HTTP client (`pipeline.jail.child`)
    from connectors.graphql_connector import GraphqlConnector  # noqa: PLC0415

    check_settings(settings)
    return GraphqlConnector(settings)
