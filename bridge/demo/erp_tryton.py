"""A Tryton-like server: login with a session that ends, a few models, errors as Tryton sends them.

As Tryton 8 does (trytond.protocols): `POST /{database}/rpc/` takes `{id, method, params}`, the context last; an ended
session is answered 401; errors come with HTTP 200 as `[name, arguments]`, `[text, traceback]` where it is no exception of
Tryton's own. A party's code is unique, and so is that of a product in use. A requisition that is approved makes purchase
requests. Simpler than Tryton: no rights, values are not checked against their fields, domains are equality and `in`.
"""

import base64
from collections.abc import Callable, Mapping
from secrets import token_hex
from typing import Any

from bridge.demo.erp_server import Call, ErpServer, Reply

DATABASE = "demo"
USERNAME = "bridge"
PASSWORD = "tryton-erp-demo-password"  # noqa: S105  the simulator's own, for this machine alone
_USER_ID = 7
_UNIQUE = {"party.party": "party", "product.template": "active product"}
_MODELS = frozenset({
    "party.party", "product.template", "product.product", "product.uom", "purchase.requisition", "purchase.request",
})  # fmt: skip


class TrytonError(Exception):
    """args: what Tryton sends as `error`."""


class TrytonErp(ErpServer):
    """documents: records by model and id. sessions: the Authorization headers in force."""

    def __init__(self, password: str = PASSWORD) -> None:
        super().__init__()
        self.documents: dict[tuple[str, int], dict[str, Any]] = {
            ("product.uom", 1): {"symbol": "u", "name": "Unit"},
            ("product.uom", 2): {"symbol": "kg", "name": "Kilogram"},
        }
        self.sessions: set[str] = set()
        self.logins = 0
        self._password = password
        self._methods: Mapping[str, Callable[..., Any]] = {
            "create": self._create,
            "write": self._write,
            "search_read": self._search_read,
            "wait": self._wait,
            "approve": self._approve,
        }

    def end_sessions(self) -> None:
        """As when Tryton forgets them."""
        self.sessions.clear()

    def handle(self, call: Call) -> Reply:
        asked = call.body if isinstance(call.body, dict) else {}
        if (call.method, call.path) != ("POST", f"/{DATABASE}/rpc/"):
            return Reply(404, "<h1>Not Found</h1>")
        if asked.get("method") == "common.db.login":
            return self._login(asked)
        if call.headers.get("authorization") not in self.sessions:
            return Reply(401, "<h1>Unauthorized</h1>", {"WWW-Authenticate": 'Basic realm="Tryton"'})
        *arguments, context = asked.get("params") or [None]
        if not isinstance(context, dict):
            return Reply(422, "<h1>Unprocessable Entity</h1><p>Missing context argument</p>")
        return self._answer(call, asked, arguments)

    def _login(self, asked: Mapping[str, Any]) -> Reply:
        if asked.get("params") != [USERNAME, {"password": self._password}]:
            return Reply(401, "<h1>Unauthorized</h1>")
        self.logins += 1
        key = token_hex()
        session = base64.b64encode(f"{USERNAME}:{_USER_ID}:{key}".encode()).decode()
        self.sessions.add(f"Session {session}")
        return Reply(200, {"id": asked.get("id"), "result": [_USER_ID, key, None]})

    def _answer(self, call: Call, asked: Mapping[str, Any], arguments: list[Any]) -> Reply:
        kind, _, rest = str(asked.get("method")).partition(".")
        model, _, method = rest.rpartition(".")
        answer: dict[str, Any] = {"id": asked.get("id")}
        if kind != "model" or model not in _MODELS:
            return Reply(200, {**answer, "error": [repr(model), ""]})
        if method not in self._methods:
            return Reply(403, "<h1>Forbidden</h1>")
        try:
            return Reply(200, {**answer, "result": self._methods[method](call, model, *arguments)})
        except TrytonError as error:
            return Reply(200, {**answer, "error": list(error.args)})
        except TypeError as error:
            return Reply(200, {**answer, "error": [str(error), ""]})

    def _create(self, call: Call, model: str, values: list[dict[str, Any]]) -> list[int]:
        if model == "purchase.request":
            raise _refused("You are not allowed to create purchase requests.")
        for each in values:
            self._check_code(model, each)
        numbers = [self._new(model, each) for each in values]
        for number in numbers:
            self.record("created", model, str(number), call)
        return numbers

    def _check_code(self, model: str, values: Mapping[str, Any]) -> None:
        code = values.get("code")
        if model not in _UNIQUE or code is None:
            return
        if any(known.get("code") == code for (of, _), known in self.documents.items() if of == model):
            raise _refused(f"The code on {_UNIQUE[model]} must be unique.")

    def _new(self, model: str, values: Mapping[str, Any]) -> int:
        number = len(self.documents) + 1
        state = {"state": "draft"} if model.startswith("purchase.") else {}
        self.documents[model, number] = {"active": True, **state, **values}
        if model == "product.template":
            of_template = {name: values.get(name) for name in ("code", "default_uom")}
            self._new("product.product", {**of_template, "template": number})
        return number

    def _write(self, call: Call, model: str, ids: list[int], values: dict[str, Any]) -> None:
        for number in ids:
            known = self._existing(model, number)
            if {**known, **values} != known:
                self.documents[model, number] = {**known, **values}
                self.record("updated", model, str(number), call)

    def _search_read(
        self,
        _call: Call,
        model: str,
        domain: list[Any],
        *rest: Any,
    ) -> list[dict[str, Any]]:
        """rest: offset, limit, order, names."""
        given = dict(zip(("offset", "limit", "order", "names"), rest, strict=False))
        found = [
            {
                "id": number,
                **{name: values.get(name) for name in given.get("names") or values if name != "id"},
            }
            for (of, number), values in self.documents.items()
            if of == model and all(_matches(values, *clause) for clause in domain)
        ]
        return found[given.get("offset", 0) :][: given.get("limit")]

    def _wait(self, call: Call, model: str, ids: list[int]) -> None:
        self._go(call, model, ids, ("draft", "wait", "waiting"))

    def _approve(self, call: Call, model: str, ids: list[int]) -> None:
        self._go(call, model, ids, ("waiting", "approve", "processing"))
        for number in ids:
            for _, lines in self.documents[model, number].get("lines", []):
                for line in lines:
                    self._new("purchase.request", {**line, "origin": f"{model},{number}"})

    def _go(self, call: Call, model: str, ids: list[int], way: tuple[str, str, str]) -> None:
        before, button, after = way
        for number in ids:
            if self._existing(model, number)["state"] != before:
                raise _refused(f'You can not call "{button}" on "{number}" of "{model}".')
        for number in ids:
            self.documents[model, number]["state"] = after
            self.record("updated", model, str(number), call)

    def _existing(self, model: str, number: int) -> dict[str, Any]:
        if (model, number) not in self.documents:
            raise _refused(f'You are trying to write to records "{number}" of "{model}" that don\'t exist.')
        return self.documents[model, number]


def _refused(text: str) -> TrytonError:
    return TrytonError("UserError", [text, "", None])


def _matches(values: Mapping[str, Any], name: str, operator: str, value: Any) -> bool:
    return values.get(name) in value if operator == "in" else bool(values.get(name) == value)
