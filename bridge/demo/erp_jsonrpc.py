"""A small ERP that speaks JSON-RPC 2.0 (jsonrpc.org/specification), with bearer auth; an Idempotency-Key is remembered.

`orders.create` takes an object of an order's values and gives its number; anything else is no method of it. Errors are
answered with HTTP 200.
"""

from typing import Any

from bridge.demo.erp_server import Call, ErpServer, Reply

TOKEN = "jsonrpc-erp-demo-token"  # noqa: S105  the simulator's own, for this machine alone


class JsonRpcErp(ErpServer):
    """documents: orders by number."""

    def __init__(self, token: str = TOKEN) -> None:
        super().__init__(f"Bearer {token}")
        self.documents: dict[str, Any] = {}
        self._remembered: dict[str, str] = {}

    def handle(self, call: Call) -> Reply:
        asked = call.body
        if not isinstance(asked, dict) or asked.get("jsonrpc") != "2.0" or call.method != "POST":
            return _error(None, -32600, "Invalid Request")
        if asked.get("method") != "orders.create":
            return _error(asked.get("id"), -32601, "Method not found")
        if not isinstance(asked.get("params"), dict):
            return _error(asked.get("id"), -32602, "Invalid params")
        return Reply(200, {"jsonrpc": "2.0", "result": self._create(call), "id": asked.get("id")})

    def _create(self, call: Call) -> str:
        key = call.idempotency_key
        if key and key in self._remembered:
            return self._remembered[key]
        number = f"OR-{len(self.documents) + 1:06}"
        self.documents[number] = call.body["params"]
        self._remembered[key] = number
        self.record("created", "orders", number, call)
        return number


def _error(call_id: Any, code: int, message: str) -> Reply:
    return Reply(200, {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": call_id})
