"""A prepared request as people read it, of whatever kind. Pure."""

from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any

import msgspec

from connectors.http_request import query_target
from eventbus.event import encode_json

_HTTP = {"method", "path", "body"}
_SHOWN = _HTTP | {"step", "connector", "query", "headers"}


def request_text(request: Mapping[str, Any]) -> str:
    """request: as Prepared.to_json gives it, or a step of several; its members are the kind's own.

    One with a method, a path and a body reads like HTTP: request line, headers, body.
    """
    if request.keys() >= _HTTP:
        return "\n".join(_http(request))
    parts = {name: value for name, value in request.items() if name not in {"step", "connector"}}
    return "\n".join([str(request["connector"]), *(_part(*part) for part in parts.items())])


def _http(request: Mapping[str, Any]) -> Iterator[str]:
    yield f"{request['method']} {request['path']}{query_target(request.get('query') or {})}"
    yield from (f"{name}: {value}" for name, value in (request.get("headers") or {}).items())
    others = {name: value for name, value in request.items() if name not in _SHOWN}
    yield from (_part(*part) for part in others.items())
    body = request.get("body")
    if body is not None:
        yield ""
        yield body if isinstance(body, str) else _json(body)


def _part(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else _json(value)
    if "\n" not in text and not (isinstance(value, Mapping | list) and value):
        return f"{name}: {text}"
    return f"{name}:\n{indent(text.rstrip(), '  ')}"


def _json(value: object) -> str:
    """Over several lines, each number in its own digits."""
    return msgspec.json.format(encode_json(value), indent=2).decode()
