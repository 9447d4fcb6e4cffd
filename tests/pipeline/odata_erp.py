"""An OData 2 service as SAP Gateway serves one: CSRF tokens, ETags, deep inserts, and change sets in a `$batch`."""

import copy
from typing import Any
from urllib.parse import parse_qs, unquote

from bridge.demo.erp_server import Call, ErpServer, Reply
from tests.pipeline.change_set import Change, carried_out

SERVICE = "/sap/opu/odata/sap/ZSHOP_SRV"
BROKEN = Reply(400, {"error": {"code": "ZBAD/001", "message": {"lang": "en", "value": "No such plant"}}})
LOCKED = Reply(400, {"error": {"code": "56/393", "message": {"lang": "en", "value": "Blocked by user X"}}})


class ODataErp(ErpServer):
    """entities: by set and key. locked: codes that find a lock, once. uses: changes that a session lives for."""

    def __init__(self, uses: int = 100) -> None:
        super().__init__()
        self.entities: dict[tuple[str, str], dict[str, Any]] = {}
        self.locked: set[int] = set()
        self._versions: dict[tuple[str, str], int] = {}
        self._uses = uses
        self._session = 0
        self._left = 0

    def touch(self, name: str, key: str) -> None:
        """As if somebody else had written it."""
        self._versions[name, key] = self._versions.get((name, key), 0) + 1

    def handle(self, call: Call) -> Reply:
        if call.method == "GET":
            return self._fetched(call)
        if call.headers.get("x-csrf-token") != f"token-{self._session}" or self._left == 0:
            return Reply(403, "CSRF token validation failed", {"x-csrf-token": "Required"})
        if f"SESSION={self._session}" not in call.headers.get("cookie", ""):
            return Reply(403, "no session", {"x-csrf-token": "Required"})
        self._left -= 1
        if call.path.endswith("/$batch"):
            return self._batch(call)
        return self._change(call, call.method, call.path.removeprefix(SERVICE + "/"), call.headers, call.body)

    def _fetched(self, call: Call) -> Reply:
        if call.headers.get("x-csrf-token", "").lower() == "fetch":
            self._session, self._left = self._session + 1, self._uses
            cookies = [f"SESSION={self._session}; path=/", "sap-usercontext=sap-client=100"]
            return Reply(200, {}, {"x-csrf-token": f"token-{self._session}"}, cookies)
        name, key = _address(call.path.removeprefix(SERVICE + "/"))
        if key is None:
            [column, _, value] = parse_qs(call.query)["$filter"][0].split(" ")
            rows = [
                self._shown(at) for at, row in self.entities.items() if row.get(column) == value.strip("'")
            ]
            return Reply(200, {"d": {"results": rows}})
        if (name, key) not in self.entities:
            return Reply(404, {"error": {"code": "404"}})
        return Reply(200, {"d": self._shown((name, key))}, {"ETag": self._etag((name, key))})

    def _shown(self, at: tuple[str, str]) -> dict[str, Any]:
        return {**self.entities[at], "Key": at[1], "__metadata": {"etag": self._etag(at)}}

    def _etag(self, at: tuple[str, str]) -> str:
        return f'W/"{self._versions[at]}"'

    def _change(self, call: Call, method: str, target: str, headers: Any, body: Any) -> Reply:
        name, key = _address(target)
        if method == "POST":
            if "Plant" in body and body["Plant"] != "CL01":
                return BROKEN
            if body.get("Code") in self.locked:
                self.locked.discard(body["Code"])
                return LOCKED
            key = f"{name[:1]}-{len(self.entities) + 1}"
            self.entities[name, key] = body
            self.touch(name, key)
            self.record("created", name, key, call)
            return Reply(201, {"d": self._shown((name, key))}, {"ETag": self._etag((name, key))})
        assert key is not None
        if "if-match" not in headers:
            return Reply(428, {"error": {"code": "428"}})
        if headers["if-match"] != self._etag((name, key)):
            return Reply(412, {"error": {"code": "412", "message": {"value": "Precondition failed"}}})
        self.entities[name, key] |= body
        self.touch(name, key)
        self.record("updated", name, key, call)
        return Reply(204)

    def _batch(self, call: Call) -> Reply:
        before, effects = copy.deepcopy((self.entities, self._versions)), list(self.effects)
        created: dict[str, str] = {}

        def do(change: Change) -> Reply:
            target, body = change.target, change.body
            if target.startswith("$"):
                number, _, navigation = target[1:].partition("/")
                target, body = navigation.removeprefix("To"), {**body, "Parent": created[number]}
            reply = self._change(call, change.method, target, change.headers, body)
            if reply.status == 201:
                created[change.content_id] = reply.body["d"]["Key"]
            return reply

        def undo() -> None:
            (self.entities, self._versions), self.effects[:] = before, effects

        return carried_out(call, do, undo)


def _address(target: str) -> tuple[str, str | None]:
    name, _, key = unquote(target).partition("(")
    return name, key.strip("')") if key else None
