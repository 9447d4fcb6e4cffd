"""What a JSON-RPC error says about the call, in the words of each dialect. Pure.

JSON-RPC 2.0, section 5.1: codes from -32768 to -32000 are the protocol's, all others the application's. Odoo
(odoo/http, odoo/exceptions, odoo/service/model) names the exception, whatever the code; Tryton (trytond.exceptions,
trytond.protocols.jsonrpc) sends a pair. Reasons: docs/decisions/0028-one-kind-speaks-every-json-rpc.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connectors.error_text import error_text, one_line

Meaning = Literal["no", "later", "throttled", "login"]

UNNAMED = "error"
"""The code of an error that has none."""
_LATER = frozenset({
    "odoo.exceptions.LockError",
    "odoo.exceptions.ConcurrencyError",
    "psycopg2.errors.SerializationFailure",
    "psycopg2.errors.LockNotAvailable",
    "psycopg2.errors.DeadlockDetected",
    "psycopg2.extensions.TransactionRollbackError",
})  # fmt: skip
_LOGIN = frozenset({
    "odoo.exceptions.AccessDenied",
    "odoo.http.SessionExpiredException",
    "odoo.http.session.SessionExpiredException",
})  # fmt: skip
_WRONG_CALL = frozenset({
    "builtins.AttributeError",
    "builtins.KeyError",
    "builtins.NameError",
    "builtins.TypeError",
    "builtins.ValueError",
})  # fmt: skip
"""What Python says of a call that does not fit the method: the same each time."""
_ABOUT_THE_CALL = ("odoo.", "werkzeug.", *_WRONG_CALL)
_SERVERS_OWN = (".InternalServerError", ".ServiceUnavailable")
_PASSING_TEXTS = ("could not serialize access", "could not obtain lock", "deadlock detected")
"""PostgreSQL's, where Odoo's `load` has put them into a message."""
_SECRETIVE = frozenset({"backtrace", "debug", "stack", "stack_trace", "stacktrace", "trace", "traceback"})
"""Members that hold the server's stack, and with it whatever its variables held."""


@dataclass(frozen=True, slots=True)
class RpcError:
    """code: the server's own, or its exception's name. text: one line."""

    meaning: Meaning
    code: str
    text: str

    @property
    def message(self) -> str:
        return f"{self.code}: {self.text}" if self.text else self.code


def standard_error(error: Any) -> RpcError:
    """`{code, message, data}`, or whatever else stands in its place."""
    found = error_text({"error": error})
    code = error.get("code") if isinstance(error, Mapping) else None
    text = _with_data(found.text, error)
    match code:
        case 429:
            return RpcError("throttled", "429", text)
        case 401:
            return RpcError("login", "401", text)
        case int() if code == -32603 or -32099 <= code <= -32000:
            return RpcError("later", str(code), text)
        case _:
            return RpcError("no", one_line(str(code)) if code is not None else UNNAMED, text)


def odoo_error(error: Any) -> RpcError:
    """JSON-2: `{name, message, arguments, …}`; before it the same as `data` of `{code, message, data}`."""
    data = error.get("data") if isinstance(error, Mapping) and "data" in error else error
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        return standard_error(error)
    name, text = one_line(data["name"]), one_line(str(data.get("message") or ""))
    if name in _LOGIN:
        return RpcError("login", name, text)
    if name.endswith(".TooManyRequests"):
        return RpcError("throttled", name, text)
    if name in _LATER or name.endswith(_SERVERS_OWN) or not name.startswith(_ABOUT_THE_CALL):
        return RpcError("later", name, text)
    return RpcError("no", name, text)


def odoo_messages(result: Any) -> RpcError | None:
    """What `load` answers, with HTTP 200 and no error, where it has taken nothing in: `ids` is false."""
    if not isinstance(result, Mapping) or result.get("ids") is not False:
        return None
    messages = result.get("messages")
    if not isinstance(messages, list):
        return None
    text = one_line("; ".join(str(one.get("message")) for one in messages[:5] if isinstance(one, Mapping)))
    passing = any(each in text for each in _PASSING_TEXTS)
    return RpcError("later" if passing else "no", "load", text)


def tryton_error(error: Any) -> RpcError:
    """`[name, arguments]` of Tryton's own exceptions, `[text, traceback]` of all others."""
    name, details = (*error, None, None)[:2] if isinstance(error, list) else (None, None)
    texts = details if isinstance(details, list) else [details]
    text = one_line("; ".join(str(each) for each in texts if isinstance(each, str) and each))
    match name:
        case "UserError" | "UserWarning":
            return RpcError("no", name, text)
        case "LoginException":
            return RpcError("login", name, text)
        case "ConcurrencyException":
            return RpcError("later", name, text)
        case _:
            return RpcError("later", UNNAMED, one_line(str(name or "")))


def without_stack(error: Any, depth: int = 6) -> Any:
    """The error as it may be kept."""
    if depth == 0:
        return None
    if isinstance(error, Mapping):
        return {
            key: without_stack(each, depth - 1)
            for key, each in error.items()
            if key.lower() not in _SECRETIVE
        }
    return [without_stack(each, depth - 1) for each in error] if isinstance(error, list) else error


def tryton_without_stack(error: Any) -> Any:
    if not isinstance(error, list) or len(error) < 2 or isinstance(error[1], list):
        return error
    return error if error[0] == "ConcurrencyException" else error[:1]


def _with_data(text: str, error: Any) -> str:
    """Many servers put what a person wants to know into `data`, and a phrase of the protocol into `message`."""
    data = error.get("data") if isinstance(error, Mapping) else None
    more = error_text(without_stack(data)).text
    return one_line("; ".join(filter(None, dict.fromkeys((text, more)))))
