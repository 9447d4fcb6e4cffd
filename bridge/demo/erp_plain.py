"""A small REST ERP: POST creates, PUT creates or replaces, DELETE deletes; an Idempotency-Key is remembered.

`POST /api/{collection}`, `PUT` and `DELETE /api/{collection}/{key}`; every `cut_every`th document is booked and its answer lost.
"""

from typing import Any

from bridge.demo.erp_server import Call, ErpServer, Reply

TOKEN = "plain-erp-demo-token"  # noqa: S105  the simulator's own, for this machine alone


class PlainErp(ErpServer):
    """documents: by collection and key, as last written."""

    def __init__(self, token: str = TOKEN, cut_every: int = 0) -> None:
        super().__init__(f"Bearer {token}")
        self.documents: dict[tuple[str, str], Any] = {}
        self._remembered: dict[str, Reply] = {}
        self._cut_every = cut_every
        self._cut_at = 0

    def handle(self, call: Call) -> Reply:
        if call.idempotency_key in self._remembered:
            known = self._remembered[call.idempotency_key]
            return Reply(known.status, known.body, {"Idempotent-Replayed": "true"})
        reply = self._book(call)
        if reply.status < 300 and call.idempotency_key:
            self._remembered[call.idempotency_key] = reply
        return reply

    def _book(self, call: Call) -> Reply:
        match call.method, call.segments:
            case "POST", ["api", collection]:
                key = f"{collection[:2].upper()}-{len(self.documents) + 1:06}"
            case "PUT", ["api", collection, key]:
                pass
            case "DELETE", ["api", collection, key]:
                return self._delete(collection, key, call)
            case _:
                return Reply(404, {"message": f"no such resource: {call.method} {call.path}"})
        if not isinstance(call.body, dict):
            return Reply(422, {"message": "the body must be a JSON object"})
        known = self.documents.get((collection, key))
        if known != call.body:
            self.documents[collection, key] = call.body
            self.record("created" if known is None else "updated", collection, key, call)
        return Reply(201 if known is None else 200, {"id": key})

    def _delete(self, collection: str, key: str, call: Call) -> Reply:
        if self.documents.pop((collection, key), None) is not None:
            self.record("deleted", collection, key, call)
        return Reply(204)

    def cuts(self, call: Call, reply: Reply) -> bool:
        """Every `cut_every`th effect, once."""
        _ = call, reply
        done = len(self.effects)
        if not self._cut_every or done % self._cut_every or done == self._cut_at:
            return False
        self._cut_at = done
        return True
