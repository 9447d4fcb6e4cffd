"""The conformance rows of the kind `jsonrpc`: JSON-RPC 2.0, and both of Odoo's interfaces."""

from dataclasses import replace
from typing import Any

from bridge.conformance import KEY, PASSWORD, Kind, Said
from bridge.demo.erp_jsonrpc import JsonRpcErp
from bridge.demo.erp_odoo import DATABASE, USERNAME, OdooErp
from bridge.demo.erp_server import Reply

_DIALECT = "how a call is written is the connection's affair, and a preview has none"
JSONRPC = Kind(
    "jsonrpc",
    lambda: JsonRpcErp(PASSWORD),
    lambda text: {"method": "orders.create", "params": {"text": text}},
    rejected=Said(
        Reply(200, {"jsonrpc": "2.0", "error": {"code": -32602, "message": "no such\nplant"}, "id": KEY}),
        "-32602",
        "no such plant",
    ),
    throttled=Said(Reply(429, {"message": "slow down"}, {"Retry-After": "7"}), after=7.0),
    unavailable=Said(Reply(503, None, {"Retry-After": "9"}), after=9.0),
    read_back=lambda effect: effect.body["params"]["text"],
    echoes=lambda text: [
        Reply(
            200, {"jsonrpc": "2.0", "error": {"code": 1, "message": text, "data": {"debug": text}}, "id": KEY}
        )
    ],
    large="Uncertain",
)


def _partner(text: str) -> dict[str, Any]:
    params = {"fields": ["id", "name"], "data": [["acme.partner_5", text]]}
    return {"method": "res.partner.load", "params": params}


_ODOO_NO = {"name": "odoo.exceptions.ValidationError", "message": "no such\nplant", "debug": "Traceback"}
ODOO = replace(
    JSONRPC,
    simulator=lambda: OdooErp(PASSWORD),
    request=_partner,
    rejected=Said(Reply(422, _ODOO_NO), "odoo.exceptions.ValidationError", "no such plant"),
    options={"dialect": "odoo", "database": DATABASE},
    read_back=lambda effect: effect.body["data"][0][1],
    echoes=lambda text: [Reply(500, {**_ODOO_NO, "debug": text})],
    skips={
        "a_request_is_prepared_without_a_connection": _DIALECT,
        "a_token_that_ends_is_renewed_once": "its request is an upsert, so what is sent again has no effect",
    },
)
ODOO_LEGACY = replace(
    ODOO,
    rejected=Said(
        Reply(200, {"jsonrpc": "2.0", "error": {"code": 0, "message": "Odoo", "data": _ODOO_NO}, "id": KEY}),
        "odoo.exceptions.ValidationError",
        "no such plant",
    ),
    auth={"type": "login", "username": USERNAME, "password": PASSWORD},
    options={"dialect": "odoo_legacy", "database": DATABASE},
    read_back=lambda effect: effect.body["params"]["args"][6]["data"][0][1],
    counts=lambda call: call.body["params"]["service"] == "object",
    skips={
        "a_request_is_prepared_without_a_connection": _DIALECT,
        "a_token_that_ends_is_renewed_once": "it logs in, and has no token: test_jsonrpc_wire.py",
    },
)
