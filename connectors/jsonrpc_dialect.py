"""How a call is written in each dialect of JSON-RPC. Pure.

| dialect | for | a call is |
|---|---|---|
| `2.0` | JSON-RPC 2.0 (jsonrpc.org/specification) | `{jsonrpc, method, params, id}` to base_url |
| `odoo` | Odoo 19 and later, JSON-2 (External JSON-2 API) | named arguments to `/json/2/{model}/{method}` |
| `odoo_legacy` | Odoo before that (External RPC API) | `execute_kw` of the service `object`, to `/jsonrpc` |
| `tryton` | Tryton 8 (trytond.protocols) | `{id, method, params}` to `/{database}/rpc/` |

In both of Odoo's a method is written `res.partner.load` and takes named arguments, so one mapping serves both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

from connectors.http_request import json_payload, plain_number
from connectors.protocol import RequestInvalid

Dialect = Literal["2.0", "odoo", "odoo_legacy", "tryton"]
DIALECTS: tuple[Dialect, ...] = ("2.0", "odoo", "odoo_legacy", "tryton")
NEED_DATABASE = frozenset({"odoo_legacy", "tryton"})
ODOO_TARGET = "/jsonrpc"
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Written:
    """target: below base_url; headers: what the dialect adds; content: the payload, without any credential."""

    target: str
    headers: Mapping[str, str]
    content: bytes


def written(dialect: Dialect, database: str, call: tuple[str, Any, str]) -> Written:
    """call: method, params, id. Raises RequestInvalid."""
    method, params, call_id = call
    match dialect:
        case "2.0":
            return Written("", {}, _payload(_standard(method, params, call_id)))
        case "odoo":
            model, name = odoo_method(method)
            headers = {"X-Odoo-Database": database} if database else {}
            target = f"/json/2/{quote(model, safe='')}/{quote(name, safe='')}"
            return Written(target, headers, _payload(_named(params)))
        case "odoo_legacy":
            return Written(ODOO_TARGET, {}, _payload([*odoo_method(method), *_arguments(method, params)]))
        case "tryton":
            return Written(tryton_target(database), {}, _payload(_tryton(method, params, call_id)))


def tryton_target(database: str) -> str:
    return f"/{quote(database, safe='')}/rpc/"


def odoo_method(method: str) -> tuple[str, str]:
    """`res.partner.load` is `load` of the model `res.partner`. Raises RequestInvalid."""
    model, point, name = method.rpartition(".")
    if not point or not model or not name:
        raise RequestInvalid(f"request.method is MODEL.METHOD, as in res.partner.load, not {method!r}")
    return model, name


def odoo_call(credentials: bytes, content: bytes, call_id: str) -> bytes:
    """The whole call of `odoo_legacy`. credentials: database, user's id and password as JSON, without brackets."""
    return b"".join((
        b'{"jsonrpc":"2.0","method":"call","params":{"service":"object","method":"execute_kw","args":[',
        credentials,
        b",",
        content[1:],
        b'},"id":',
        json_payload(call_id),
        b"}",
    ))  # fmt: skip


def _standard(method: str, params: Any, call_id: str) -> dict[str, Any]:
    if not isinstance(params, Mapping | list | None):
        raise RequestInvalid(f"request.params is a list or an object, not {type(params).__name__}")
    given = {} if params is None else {"params": params}
    return {"jsonrpc": "2.0", "method": method, **given, "id": call_id}


def _tryton(method: str, params: Any, call_id: str) -> dict[str, Any]:
    """These three members and no other: Tryton answers in the form of JSON-RPC to nothing else."""
    if not isinstance(params, list):
        raise RequestInvalid(f"request.params is a list, the context last, not {type(params).__name__}")
    return {"id": call_id, "method": method, "params": _tryton_value(params)}


def _tryton_value(value: Any, depth: int = _DEEPEST) -> Any:
    """A decimal as Tryton spells it: it would read a JSON number with a point as a binary one."""
    if depth == 0:
        raise RequestInvalid("request.params is nested too deeply")
    match value:
        case Decimal() if value.is_finite():
            return {"__class__": "Decimal", "decimal": plain_number("request.params", value)}
        case Mapping():
            return {key: _tryton_value(each, depth - 1) for key, each in value.items()}
        case list():
            return [_tryton_value(each, depth - 1) for each in value]
        case _:
            return value


def _named(params: Any) -> Mapping[str, Any]:
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise RequestInvalid(
            f"request.params is an object: Odoo takes named arguments, not {type(params).__name__}"
        )
    return params


def _arguments(method: str, params: Any) -> tuple[list[Any], Mapping[str, Any]]:
    """args and kwargs of execute_kw: `ids` comes first where there are any; `create` wants its values by place."""
    if isinstance(params, list):
        return params, {}
    named = dict(_named(params))
    first = [named.pop("ids")] if "ids" in named else []
    if method.endswith(".create") and "vals_list" in named:
        first.append(named.pop("vals_list"))
    return first, named


def _payload(value: Any) -> bytes:
    try:
        return json_payload(value)
    except RequestInvalid as error:
        raise RequestInvalid(str(error).replace("request.body", "request.params", 1)) from None
