"""An Odoo-like server with both of its interfaces: JSON-2 (Odoo 19, External JSON-2 API) and the older `/jsonrpc`.

As Odoo does: JSON-2 takes named arguments and answers the bare result, or an error `{name, message, arguments, context,
debug}` with its status; `/jsonrpc` takes `execute_kw` of the service `object`, and answers errors with HTTP 200. `load`
writes records by their external ids, creates those that it does not know, and tells what is wrong in `messages`, with
`ids` false and nothing written. `create` makes another record each time. Simpler than Odoo: the models below, whose
fields are texts, and one database.
"""

from collections.abc import Callable, Mapping
from typing import Any

from bridge.demo.erp_server import Call, ErpServer, Reply, Step
from bridge.demo.odoo_models import Models, OdooError

DATABASE = "demo"
USERNAME = "bridge@example.com"
API_KEY = "odoo-erp-demo-key"  # the simulator's own, for this machine alone
_USER_ID = 7
_STATUS = {
    "odoo.exceptions.UserError": 422,
    "odoo.exceptions.ValidationError": 422,
    "odoo.exceptions.AccessDenied": 403,
    "odoo.exceptions.MissingError": 404,
    "odoo.exceptions.LockError": 409,
    "werkzeug.exceptions.NotFound": 404,
    "werkzeug.exceptions.UnprocessableEntity": 422,
}


class OdooErp(ErpServer):
    """models: what it holds. busy_every: so many calls that write find another transaction in their way."""

    def __init__(self, api_key: str = API_KEY, busy_every: int = 0) -> None:
        super().__init__()
        self.models = Models()
        self._api_key = api_key
        self._busy_every = busy_every
        self._written = 0

    @property
    def documents(self) -> Mapping[tuple[str, int], Mapping[str, Any]]:
        """By model and id, as last written."""
        return self.models.records

    def accept(self, authorization: str) -> None:
        """From now on another API key."""
        self._api_key = authorization.removeprefix("Bearer ")

    def fate(self, call: Call) -> Step:
        """Trouble is for what the event does, not for a login."""
        return Step() if _service(call) == ("common", "authenticate") else super().fate(call)

    def handle(self, call: Call) -> Reply:
        match call.method, call.segments:
            case "POST", ["json", "2", model, method]:
                return self._json_2(model, method, call)
            case "POST", ["jsonrpc"] if isinstance(call.body, dict):
                return self._json_rpc(call)
            case _:
                return _failed(OdooError("werkzeug.exceptions.NotFound", "404: Not Found"))

    def _json_2(self, model: str, method: str, call: Call) -> Reply:
        if call.headers.get("authorization", "").lower() != f"bearer {self._api_key}".lower():
            error = OdooError("werkzeug.exceptions.Unauthorized", "Invalid apikey")
            return Reply(401, _serialized(error), {"WWW-Authenticate": "bearer"})
        if call.headers.get("x-odoo-database", DATABASE) != DATABASE:
            return _failed(OdooError("werkzeug.exceptions.NotFound", "No database is selected"))
        named = call.body if isinstance(call.body, dict) else {}
        try:
            return Reply(200, _json(self._called(model, method, named, call)))
        except OdooError as error:
            return _failed(error)

    def _json_rpc(self, call: Call) -> Reply:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": call.body.get("id")}
        try:
            result = self._service(call)
        except OdooError as error:
            answer["error"] = {"code": 0, "message": "Odoo Server Error", "data": _serialized(error)}
        else:
            # as Odoo: a method that returns nothing has no result
            answer |= {} if result is None else {"result": result}
        return Reply(200, answer)

    def _service(self, call: Call) -> Any:
        arguments = call.body.get("params", {}).get("args")
        match _service(call), arguments:
            case ("common", "authenticate"), [str(), username, password, *_]:
                return _USER_ID if (username, password) == (USERNAME, self._api_key) else False
            case ("object", "execute_kw"), [database, user, password, model, method, args, *more]:
                if (database, user, password) != (DATABASE, _USER_ID, self._api_key):
                    raise OdooError("odoo.exceptions.AccessDenied", "Access Denied")
                named = dict(more[0]) if more else {}
                return self._called(model, method, named | _by_place(method, args), call)
            case _:
                raise OdooError("builtins.TypeError", "the service takes other arguments")

    def _called(self, model: str, method: str, named: Mapping[str, Any], call: Call) -> Any:
        found: Callable[..., Any] | None = self.models.methods.get(method)
        if found is None or model not in self.models.fields:
            raise OdooError("werkzeug.exceptions.NotFound", f"the method {model}.{method} does not exist")
        if method in self.models.writing:
            self._be_busy()
        try:
            result, done = found(model, **{key: value for key, value in named.items() if key != "context"})
        except TypeError as error:
            raise OdooError("werkzeug.exceptions.UnprocessableEntity", str(error)) from None
        for action, key in done:
            self.record(action, model, key, call)
        return result

    def _be_busy(self) -> None:
        self._written += 1
        if self._busy_every and self._written % self._busy_every == 0:
            text = "could not serialize access due to concurrent update"
            raise OdooError("psycopg2.errors.SerializationFailure", text)


def _service(call: Call) -> tuple[Any, Any]:
    params = call.body.get("params") if isinstance(call.body, dict) else None
    return (params.get("service"), params.get("method")) if isinstance(params, dict) else (None, None)


def _by_place(method: str, args: list[Any]) -> dict[str, Any]:
    """The arguments that `execute_kw` takes by their place, by their names."""
    if not args:
        return {}
    if method == "create":
        return {"vals_list": args[0]}
    return dict(zip(("fields", "data") if method == "load" else ("ids", "vals"), args, strict=False))


def _serialized(error: OdooError) -> dict[str, Any]:
    debug = f"Traceback (most recent call last):\n  in a frame with its password\n{error.name}: {error}"
    return {
        "name": error.name,
        "message": str(error),
        "arguments": [str(error)],
        "context": {},
        "debug": debug,
    }


def _failed(error: OdooError) -> Reply:
    return Reply(_STATUS.get(error.name, 500), _serialized(error))


def _json(result: Any) -> Any:
    """A text is sent by ErpServer as it is, and this one sends JSON."""
    return [result] if isinstance(result, str) else result
