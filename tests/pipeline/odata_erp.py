"""An OData 2 service as SAP Gateway serves one: CSRF tokens, ETags, deep inserts, and change sets in a `$batch`.

Read and written by the standard library's parsers, so that what the connector writes is read by somebody else.
"""

import copy
import json
from email import message_from_string
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, unquote

from bridge.demo.erp_server import Call, ErpServer, Reply

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
        whole = message_from_string(f"Content-Type: {call.headers['content-type']}\n\n{call.body}")
        [changes] = [part for part in whole.walk() if part.get_content_type() == "multipart/mixed"][1:]
        before = copy.deepcopy((self.entities, self._versions)), len(self.effects)
        replies: list[str] = []
        created: dict[str, str] = {}
        for part in changes.get_payload():
            assert isinstance(part, Message)
            line, _, rest = str(part.get_payload()).partition("\n")
            method, target, _ = line.split(" ")
            if target.startswith("$"):
                number, _, navigation = target[1:].partition("/")
                target = f"{navigation.removeprefix('To')}"
                parent = created[number]
            else:
                parent = None
            inner = message_from_string(rest)
            text = str(inner.get_payload()).strip()
            body: dict[str, Any] = json.loads(text) if text else {}
            if parent is not None:
                body["Parent"] = parent
            headers = {name.lower(): value for name, value in inner.items()}
            reply = self._change(call, method, target, headers, body)
            if reply.status >= 400:
                (self.entities, self._versions), count = before
                del self.effects[count:]
                return _answer(f"--r\r\n{_part(reply)}\r\n--r--\r\n")
            if reply.status == 201:
                created[str(part["content-id"])] = reply.body["d"]["Key"]
            replies.append(_part(reply))
        inner_parts = "".join(f"--c\r\n{each}\r\n" for each in replies)
        return _answer(
            f"--r\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n{inner_parts}--c--\r\n--r--\r\n"
        )


def _part(reply: Reply) -> str:
    body = "" if reply.body is None else json.dumps(reply.body)
    head = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
    line = f"HTTP/1.1 {reply.status} X\r\nContent-Type: application/json\r\n{head}\r\n{body}"
    return f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n{line}"


def _answer(text: str) -> Reply:
    return Reply(202, text, {"Content-Type": "multipart/mixed; boundary=r"})


def _address(target: str) -> tuple[str, str | None]:
    name, _, key = unquote(target).partition("(")
    return name, key.strip("')") if key else None
