"""An Oracle NetSuite-like REST service: upsert by external id, bearer auth, and 429 beyond its rate.

`PUT /services/rest/record/v1/{type}/eid:{externalId}` answers 204. A vendor's email that is none is rejected.
Simpler than NetSuite: the limit is requests a second, where NetSuite counts concurrent ones.
"""

import time
from collections import deque
from typing import Any

from bridge.demo.erp_server import Call, ErpServer, Reply

TOKEN = "netsuite-erp-demo-token"  # noqa: S105  the simulator's own, for this machine alone
_WINDOW_S = 1.0


class NetSuiteErp(ErpServer):
    """documents: records by type and external id, as last written."""

    def __init__(self, token: str = TOKEN, rate: int = 0) -> None:
        """rate: requests it takes within a second; 0: any number."""
        super().__init__(f"Bearer {token}")
        self.documents: dict[tuple[str, str], Any] = {}
        self._rate = rate
        self._recent: deque[float] = deque()

    def unauthorized(self) -> Reply:
        return _error(401, "Unauthorized", "INVALID_LOGIN", "Invalid login attempt.")

    def handle(self, call: Call) -> Reply:
        if self._throttled():
            reply = _error(
                429,
                "Too Many Requests",
                "CONCURRENCY_LIMIT_EXCEEDED",
                "Request limit exceeded. Try again later.",
            )
            return Reply(429, reply.body, {"Retry-After": "1"})
        match call.method, call.segments:
            case "PUT", ["services", "rest", "record", "v1", record, external] if external.startswith("eid:"):
                return self._upsert(record, external.removeprefix("eid:"), call)
            case _:
                return _error(404, "Not Found", "NONEXISTENT_ID", f"The record {call.path} does not exist.")

    def _throttled(self) -> bool:
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - _WINDOW_S:
            self._recent.popleft()
        if self._rate and len(self._recent) >= self._rate:
            return True
        self._recent.append(now)
        return False

    def _upsert(self, record: str, external: str, call: Call) -> Reply:
        if not isinstance(call.body, dict):
            return _error(400, "Bad Request", "INVALID_CONTENT", "The request body is not a record.")
        email = call.body.get("email")
        if email is not None and "@" not in str(email):
            return _error(400, "Bad Request", "INVALID_EMAIL", f"Invalid email address {email}.")
        place = (record, external)
        known = self.documents.get(place)
        if known != call.body:
            self.documents[place] = call.body
            self.record("created" if known is None else "updated", record, external, call)
        return Reply(204, None, {"Location": f"{self.base_url}{call.path}"})


def _error(status: int, title: str, code: str, detail: str) -> Reply:
    kind = f"https://www.rfc-editor.org/rfc/rfc9110.html#status.{status}"
    details = [{"detail": detail, "o:errorCode": code}]
    return Reply(status, {"type": kind, "title": title, "status": status, "o:errorDetails": details})
