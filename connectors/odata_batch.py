"""Several requests that an OData server carries out as one, all or none: one change set in one `$batch`. Pure.

As `multipart/mixed` (OData 2, 2.2; OData 4.01, 11.7.7), or, where the request's Content-Type is `application/json`, as a JSON
batch (OData JSON Format 4.01, 19). Each request has a Content-ID, or id, which is its place from 1 on; the ones behind it
name what it creates as `$1`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.http_request import (
    READING,
    header_texts,
    json_payload,
    method_token,
    path_target,
    query_target,
    query_texts,
    with_usual,
)
from connectors.multipart_form import free_boundary
from connectors.protocol import Leaf, Prepared, RequestInvalid, RequestKey, RequestShape

REQUEST = RequestShape({
    "method": RequestKey(Leaf.TEXT, required=True, check=method_token),
    "path": RequestKey(Leaf.PATH, required=True),
    "query": RequestKey(Leaf.QUERY),
    "headers": RequestKey(Leaf.HEADER, check=header_texts),
    "body": RequestKey(Leaf.TREE),
})  # fmt: skip
_REFERENCE = re.compile(r"/?\$(\d+)(?:[/(?]|$)")
_GROUP = "changes"


@dataclass(frozen=True, slots=True)
class BatchPrepared(Prepared):
    """requests: how many. one: the server was asked by a header to take the batch as one transaction, and answers 2xx to
    what it undoes when a later one fails.
    """

    requests: int = 0
    one: bool = False


@dataclass(frozen=True, slots=True)
class _Change:
    method: str
    target: str
    headers: Mapping[str, str]
    body: Any
    has_body: bool

    @property
    def content(self) -> bytes:
        return json_payload(self.body) if self.has_body else b""


@dataclass(frozen=True, slots=True)
class Batch:
    """shown: the JSON value, or the text."""

    content_type: str
    accept: str
    shown: Any
    content: bytes


def check_batch(requests: Any) -> None:
    """Raises RequestInvalid."""
    _changes(requests)


def json_batch(requests: Any, *, one: bool) -> Batch:
    """one: the batch is one transaction anyway. Raises RequestInvalid."""
    members = []
    for number, change in enumerate(_changes(requests), 1):
        member: dict[str, Any] = {"id": str(number)}
        if not one:
            member["atomicityGroup"] = _GROUP
        member |= {"method": change.method, "url": change.target}
        if (named := _REFERENCE.match(change.target)) is not None:
            member["dependsOn"] = [named[1]]
        if change.headers:
            member["headers"] = dict(change.headers)
        members.append(member | ({"body": change.body} if change.has_body else {}))
    shown = {"requests": members}
    return Batch("application/json", "application/json", shown, json_payload(shown))


def multipart_batch(requests: Any, idempotency_key: str) -> Batch:
    """Raises RequestInvalid."""
    changes = _changes(requests)
    contents = [change.content for change in changes]
    batch = free_boundary("batch", idempotency_key, contents)
    inner = free_boundary("changes", idempotency_key, contents)
    lines = [f"--{batch}", f"Content-Type: multipart/mixed; boundary={inner}", ""]
    for number, (change, content) in enumerate(zip(changes, contents, strict=True), 1):
        lines += [
            f"--{inner}",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: {number}",
            "",
            f"{change.method} {change.target} HTTP/1.1",
            *(f"{name}: {value}" for name, value in change.headers.items()),
            *([f"Content-Length: {len(content)}"] if content else []),
            "",
            content.decode(),
        ]
    lines += [f"--{inner}--", f"--{batch}--", ""]
    text = "\r\n".join(lines)
    return Batch(f"multipart/mixed; boundary={batch}", "multipart/mixed", text, text.encode())


def _changes(requests: Any) -> list[_Change]:
    if not isinstance(requests, list) or not requests:
        raise RequestInvalid("request.batch must be a list of requests, and holds one at least")
    return [_change(request, f"request.batch[{place}]") for place, request in enumerate(requests)]


def _change(request: Any, where: str) -> _Change:
    if not isinstance(request, Mapping):
        raise RequestInvalid(f"{where} must be a request, with a method and a path")
    if unknown := sorted(set(request) - set(REQUEST.keys)):
        raise RequestInvalid(f"{where}.{unknown[0]}: a request in a batch has {', '.join(REQUEST.keys)}")
    try:
        method = method_token(request.get("method"))
        target = _target(request.get("path")) + query_target(query_texts(request.get("query")))
        given = header_texts(request.get("headers"))
    except RequestInvalid as error:
        raise RequestInvalid(f"{where}: {error}") from None
    if method in READING:
        raise RequestInvalid(f"{where}: a batch is one change set, in which nothing is read by {method}")
    usual = {"Accept": "application/json"}
    usual |= {"Content-Type": "application/json"} if "body" in request else {}
    return _Change(method, target, with_usual(given, usual), request.get("body"), "body" in request)


def _target(path: Any) -> str:
    """Below the folder of `$batch`, as `Vendors('7')` and `$1/Items` are, or the whole path."""
    if isinstance(path, str) and path and not path.startswith("/"):
        return path_target(f"/{path}")[1:]
    return path_target(path)
