"""What the answer to a call means. Pure.

HTTP 200 says nothing yet: the error is in the body. What is no answer to this very call, another id or neither a result
nor an error, leaves open what became of it, and is never taken for "delivered".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from connectors.classification import BY_STATUS_ALONE, classify, not_accepted, retry_after
from connectors.error_text import one_line
from connectors.jsonrpc_dialect import Dialect
from connectors.jsonrpc_errors import (
    UNNAMED,
    RpcError,
    odoo_error,
    odoo_messages,
    standard_error,
    tryton_error,
    tryton_without_stack,
    without_stack,
)
from connectors.protocol import Answer, Delivered, Outcome, Rejected, RetryLater, Throttled, Uncertain

_MISSING = object()
_PAGE = 10_000
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Reply:
    """answer: as it may be shown and kept, its body `{result: …}` or `{error: …}` in every dialect.

    unclear: why it is no answer to this call, "" where it is one.
    """

    answer: Answer
    error: RpcError | None = None
    unclear: str = ""


def read_reply(dialect: Dialect, answer: Answer, call_id: str) -> Reply:
    """answer: parsed, with no secret of the connection in it."""
    if dialect == "odoo":
        return _odoo_reply(answer)
    body = answer.body
    if not isinstance(body, Mapping):
        what = "longer than is read" if answer.truncated else "no JSON object"
        return Reply(_short(answer), unclear=f"its body is {what}")
    error, result = body.get("error"), body.get("result", _MISSING)
    shown = replace(answer, body=_shown(dialect, body))
    if error is not None and result in (None, _MISSING):
        return Reply(shown, _error(dialect, error), _other_id(body, call_id, or_none=True))
    unclear = _other_id(body, call_id)
    if error is not None:
        return Reply(shown, unclear=unclear or "it holds both a result and an error")
    if result is _MISSING and dialect != "odoo_legacy":
        # Odoo leaves the result of a method that returns None out (odoo/http, JsonRPCDispatcher)
        return Reply(shown, unclear=unclear or "it holds neither a result nor an error")
    refused = odoo_messages(result) if dialect == "odoo_legacy" else None
    return Reply(shown, refused, unclear)


def _odoo_reply(answer: Answer) -> Reply:
    """JSON-2 answers the bare result, and an error with an HTTP status."""
    body = answer.body
    if not 200 <= answer.status < 300:
        is_error = isinstance(body, Mapping)
        shown = replace(answer, body={"error": without_stack(body)}) if is_error else _short(answer)
        return Reply(shown, odoo_error(body) if is_error else None)
    if answer.truncated or "json" not in answer.headers.get("content-type", "json"):
        what = "longer than is read" if answer.truncated else "no JSON"
        return Reply(_short(answer), unclear=f"its body is {what}")
    return Reply(replace(answer, body={"result": body}), odoo_messages(body))


def classify_reply(reply: Reply, now: datetime) -> Outcome:
    """now: aware, for a Retry-After that is a date."""
    answer, error = reply.answer, reply.error
    if not 200 <= answer.status < 300 and (
        answer.status in BY_STATUS_ALONE or reply.unclear or not _says(error)
    ):
        return classify(answer, now)
    if reply.unclear:
        why = f"HTTP {answer.status}, but no answer to this call: {reply.unclear}"
        return Uncertain(f"{why}; the ERP may have processed it", answer)
    if error is None:
        return Delivered(answer)
    after = retry_after(answer.headers.get("retry-after", ""), now)
    match error.meaning:
        case "no":
            return Rejected(error.message, answer, error.code)
        case "later":
            return RetryLater(error.message, answer, after, error.code)
        case "throttled":
            return Throttled(error.message, answer, after, error.code)
        case "login":
            return not_accepted(error.message, answer, after)


def _error(dialect: Dialect, error: Any) -> RpcError:
    match dialect:
        case "tryton":
            return tryton_error(error)
        case "odoo_legacy":
            return odoo_error(error)
        case _:
            return standard_error(error)


def _shown(dialect: Dialect, body: Mapping[str, Any]) -> dict[str, Any]:
    if body.get("error") is None:
        return {key: value for key, value in body.items() if key != "error"}
    clean = tryton_without_stack if dialect == "tryton" else without_stack
    return {**body, "error": clean(body["error"])}


def _other_id(body: Mapping[str, Any], call_id: str, *, or_none: bool = False) -> str:
    """or_none: an error in reading the call itself has no id (JSON-RPC 2.0, section 5)."""
    found = body.get("id")
    if found == call_id or (or_none and found is None):
        return ""
    return "it has another id than the call"


def _says(error: RpcError | None) -> bool:
    """Whether the body says more than the status does."""
    return error is not None and error.code != UNNAMED


def _short(answer: Answer) -> Answer:
    """What is no answer of the protocol is kept as one line: it may be a page with the server's stack on it."""
    if not isinstance(answer.body, str):
        return replace(answer, body=None)
    text = answer.body[:_PAGE]
    words = _TAG.sub(" ", text) if "html" in answer.headers.get("content-type", "") else text
    return replace(answer, body=one_line(words))
