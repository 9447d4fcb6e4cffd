"""What an HTTP answer means for a delivery: status and body together, never the status alone. Pure.

The reasons for the disputable ones: docs/decisions/0005-what-an-answer-means.md.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from connectors.error_text import ErrorText, error_text
from connectors.protocol import (
    Answer,
    Delivered,
    Outcome,
    Rejected,
    RetryLater,
    Throttled,
    Unavailable,
    Uncertain,
)

LONGEST_WAIT_S = 86_400.0
_LATER = frozenset({408, 423, 425})
_TOO_MANY_REQUESTS = 429
_PERMANENT_5XX = frozenset({501, 505})
_GATEWAY = frozenset({502, 504, 520, 524})
_REFUSED_BY_GATEWAY = frozenset({503, 521, 522, 523})
_CREDENTIALS = frozenset({401, 407})
BY_STATUS_ALONE = _CREDENTIALS | _LATER | {_TOO_MANY_REQUESTS} | _GATEWAY | _REFUSED_BY_GATEWAY
"""What these say, they say of the request as a whole, whatever a body says in the words of its protocol."""
PASSING = frozenset({
    "56/393",  # SAP: the document is blocked by a user
    "TimestampMismatchError",  # Frappe, as 417
    "DocumentLockedError",
    "Internal_TenantUnavailable",  # Business Central
})  # fmt: skip
_CHANGED = frozenset({
    "Request_EntityChanged",  # Business Central: somebody has written it since
    "Internal_EntityWithSameKeyExists",  # or created it
})  # fmt: skip
_PAGE = re.compile(r"\s*<(!doctype html|html)\b", re.IGNORECASE)
TOO_MANY = frozenset({
    "SSS_REQUEST_LIMIT_EXCEEDED",  # NetSuite's RESTlets, as 400
})  # fmt: skip
ALREADY_DONE = frozenset({
    "/IWBEP/CM_COS/005",  # SAP: this RequestID was processed
})  # fmt: skip
_TAKEN_BEFORE = "IDEMPOTENCY_ERROR"
"""NetSuite took this idempotency key before, and the header Location says as what. Without one it is another ERP's."""


def classify(answer: Answer, now: datetime) -> Outcome:
    """The outcome of a whole answer. now: aware, for a Retry-After that is a date."""
    status = answer.status
    if 200 <= status < 300:
        if isinstance(answer.body, str) and _PAGE.match(answer.body):
            return Uncertain(
                f"HTTP {status}, but with a web page in place of the ERP's answer", answer, "page"
            )
        return Delivered(answer)
    error = error_text(answer.body)
    message = f"HTTP {status}: {error.text}" if error.text else f"HTTP {status}"
    after = retry_after(answer.headers.get("retry-after", ""), now)
    if status in _CREDENTIALS:
        return not_accepted(message, answer, after)
    if status in _REFUSED_BY_GATEWAY:
        return Unavailable(message, answer, after)
    if status in _GATEWAY:
        return Uncertain(f"{message} (from a gateway: the ERP may have processed the request)", answer)
    if not ALREADY_DONE.isdisjoint(error.codes) or (
        _TAKEN_BEFORE in error.codes and "location" in answer.headers
    ):
        return Delivered(answer, message)
    if status == _TOO_MANY_REQUESTS or not TOO_MANY.isdisjoint(error.codes):
        return Throttled(message, answer, after, _code(status, error))
    if status < 400:
        return Rejected(
            f"{message} (redirects are not followed; correct base_url or path)", answer, str(status)
        )
    if _may_pass(status, error):
        return RetryLater(message, answer, after, _code(status, error))
    return Rejected(message, answer, _code(status, error))


def not_accepted(message: str, answer: Answer, after: float | None) -> Unavailable:
    """Of an answer that refuses the credentials, message being the ERP's own words."""
    advice = "the ERP does not accept the connection's credentials; set them with `bridge secret set`"
    return Unavailable(f"{message} ({advice})", answer, after, "authentication")


def is_stale(answer: Answer) -> bool:
    """Whether the ERP did nothing because what the request was made of has changed (RFC 9110, 15.5.13): who reads that
    again may try again.
    """
    return answer.status == 412 or not _CHANGED.isdisjoint(error_text(answer.body).codes)


def _may_pass(status: int, error: ErrorText) -> bool:
    if status in _LATER or not PASSING.isdisjoint(error.codes):
        return True
    return status >= 500 and status not in _PERMANENT_5XX


def _code(status: int, error: ErrorText) -> str:
    return error.codes[0] if error.codes else str(status)


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds from now (RFC 9110, 10.2.3), between 0 and LONGEST_WAIT_S; None where there is none to read."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT_S)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), LONGEST_WAIT_S)
