"""An ERP that grants passes: an OAuth 2.0 token endpoint and a login, and a gate before everything else."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Call, Reply

CLIENT = "client-4711"
CLIENT_SECRET = "s3cret/of+the:client="
PASSWORD = 'pass"word-4711'


class IssuingErp(PlainErp):
    """tokens, sessions: those in force. asked: the forms of the token endpoint, in order. uses: so many requests end them."""

    def __init__(self, expires_in: Any = 3600) -> None:
        super().__init__()
        self._authorization = ""
        self.expires_in = expires_in
        self.tokens: list[str] = []
        self.sessions: list[str] = []
        self.refresh_token = "refresh-token-1"
        self.asked: list[dict[str, str]] = []
        self.logins: list[Call] = []
        self.uses = 0
        self.requests = 0

    def end_passes(self) -> None:
        """As if time had passed."""
        self.tokens.clear()
        self.sessions.clear()

    def handle(self, call: Call) -> Reply:
        match call.path:
            case "/oauth/token":
                return self._token(call)
            case "/b1s/v1/Login" | "/auth":
                return self._login(call)
        if self.uses and self.requests % self.uses == 0:
            self.end_passes()
        self.requests += 1
        if not self._knows(call):
            return Reply(
                401,
                {"error": {"code": 301, "message": {"value": "Invalid session or session already timeout."}}},
            )
        return super().handle(call)

    def _knows(self, call: Call) -> bool:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        cookies = dict(
            pair.split("=", 1) for pair in call.headers.get("cookie", "").split("; ") if "=" in pair
        )
        by_cookie = cookies.get("B1SESSION") in self.sessions and cookies.get("ROUTEID") == ".node1"
        return by_cookie or (scheme == "Bearer" and token in self.tokens)

    def _token(self, call: Call) -> Reply:
        form = dict(parse_qsl(call.body, strict_parsing=True))
        self.asked.append(form)
        if (problem := self._problem(call, form)) is not None:
            return Reply(400, {"error": problem, "error_description": f"refused {call.body}"})
        self.tokens.append(f"access-token-{len(self.asked)}")
        answer = {"access_token": self.tokens[-1], "token_type": "bearer"}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        if form["grant_type"] == "refresh_token":
            self.refresh_token = answer["refresh_token"] = f"refresh-token-{len(self.asked) + 1}"
        return Reply(200, answer)

    def _problem(self, call: Call, form: Mapping[str, str]) -> str | None:
        if "client_assertion" in form or "assertion" in form:
            return self._assertion_problem(form)
        if not call.headers.get("authorization", "").startswith("Basic "):
            known = (form.get("client_id"), form.get("client_secret")) == (CLIENT, CLIENT_SECRET)
        else:
            pair = base64.b64decode(call.headers["authorization"].removeprefix("Basic ")).decode().split(":")
            known = [unquote_plus(part) for part in pair] == [CLIENT, CLIENT_SECRET]
        if not known:
            return "invalid_client"
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.refresh_token:
            return "invalid_grant"
        return None

    def _assertion_problem(self, form: Mapping[str, str]) -> str | None:
        raise NotImplementedError

    def _login(self, call: Call) -> Reply:
        self.logins.append(call)
        body = call.body if isinstance(call.body, dict) else {}
        if PASSWORD not in body.values():
            return Reply(
                401, {"error": {"code": -304, "message": {"value": f"Login failed: {json.dumps(body)}"}}}
            )
        self.sessions.append(f"session-{len(self.logins)}-of-the-erp")
        if call.path == "/auth":
            self.tokens.append(f"access-token-{len(self.logins)}")
            return Reply(200, {"data": {"token": self.tokens[-1]}, "expires_in": self.expires_in})
        cookies = [f"B1SESSION={self.sessions[-1]}; HttpOnly", "ROUTEID=.node1; path=/b1s"]
        return Reply(200, {"SessionId": self.sessions[-1], "SessionTimeout": 30}, cookies=cookies)
