"""What the answer to a GraphQL operation means for a delivery: status, data and errors together. Pure.

The reasons for the disputable ones: docs/decisions/0027-what-a-graphql-answer-means.md.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from connectors.classification import BY_STATUS_ALONE, LONGEST_WAIT_S, classify, not_accepted, retry_after
from connectors.graphql_errors import GraphqlResponse, Meaning, read_response
from connectors.protocol import Answer, Delivered, Outcome, Rejected, RetryLater, Throttled, Uncertain

_CONFLICT = 409
"""With Retry-After: a request of the same Idempotency-Key is under way (monday.com)."""
_EPOCH_S = 1_000_000_000
"""X-RateLimit-Reset has no standard: what is greater is a time, what is less a number of seconds."""
_FAR_S = 10**15
_PRECEDENCE = (
    Meaning.CREDENTIALS,
    Meaning.THROTTLED,
    Meaning.TIMEOUT,
    Meaning.NO,
    Meaning.UNKNOWN,
    Meaning.LATER,
)


def classify_response(answer: Answer, *, changes: bool, now: datetime) -> Outcome:
    """changes: the operation is a mutation, or nobody knows. now: aware, for waits that are told as a time."""
    response = read_response(answer.body)
    if response is not None and changes and response.errors and _ran(response):
        return _ran_in_part(answer, response)
    if response is None or answer.status in BY_STATUS_ALONE:
        return _by_status(answer, now)
    if response.errors:
        return _failed(answer, response, changes=changes, now=now)
    if not 200 <= answer.status < 300:
        return _by_status(answer, now)
    if changes and _gives_nothing(response):
        return Rejected(
            f"HTTP {answer.status}: the mutation gives null and no error, so nothing says that anything was done; where "
            "null is what it gives, write ok: status == 200 under response",
            answer,
            "null",
        )
    said = "the ERP had done it before: this is its answer of then, replayed" if response.replayed else ""
    return Delivered(answer, said)


def session_ended(answer: Answer) -> bool:
    """Whether only the credentials were refused, before anything ran: whoever logs in again may send again."""
    response = read_response(answer.body)
    if response is None or not response.errors or _ran(response):
        return False
    return _meaning(response) is Meaning.CREDENTIALS


def ran(answer: Answer) -> bool:
    """Whether a field of the operation was resolved, as far as the answer tells."""
    response = read_response(answer.body)
    return response is not None and _ran(response)


def _by_status(answer: Answer, now: datetime) -> Outcome:
    status = answer.status
    if 200 <= status < 300:
        what = "is larger than the bridge reads" if answer.truncated else "is no GraphQL response"
        return Uncertain(
            f"HTTP {status}, but what came {what}: it tells neither data nor errors; check the base_url and path",
            answer,
            "no_graphql",
        )
    outcome = classify(answer, now)
    if isinstance(outcome, Delivered):  # an ERP's own word for "done before", and no data to show for it
        return outcome
    after = retry_after(answer.headers.get("retry-after", ""), now)
    if status == _CONFLICT and isinstance(outcome, Rejected) and after is not None:
        return RetryLater(outcome.message, answer, after, outcome.code)
    if isinstance(outcome, Throttled) and outcome.after is None:
        return replace(outcome, after=_wait_s(answer, None, now))
    return outcome


def _ran_in_part(answer: Answer, response: GraphqlResponse) -> Uncertain:
    why = "the mutation ran at least in part: the answer has data, or an error below its field"
    code = response.codes[0] if response.codes else "partial"
    return Uncertain(f"HTTP {answer.status}: {response.text} ({why})", answer, code)


def _failed(answer: Answer, response: GraphqlResponse, *, changes: bool, now: datetime) -> Outcome:
    message = f"HTTP {answer.status}: {response.text}"
    code = response.codes[0] if response.codes else ""
    meaning, after = _meaning(response), retry_after(answer.headers.get("retry-after", ""), now)
    if answer.status == _CONFLICT and after is not None:
        return RetryLater(message, answer, after, code or str(answer.status))
    match meaning:
        case Meaning.CREDENTIALS:
            return not_accepted(message, answer, after)
        case Meaning.THROTTLED:
            return Throttled(message, answer, _wait_s(answer, response, now), code)
        case Meaning.TIMEOUT if changes:
            return Uncertain(f"{message} (the ERP may have processed it)", answer, code)
        case Meaning.TIMEOUT | Meaning.LATER:
            return RetryLater(message, answer, after, code or str(answer.status))
        case Meaning.UNKNOWN if answer.status >= 500:
            return RetryLater(message, answer, after, code or str(answer.status))
        case Meaning.NO | Meaning.UNKNOWN:  # what we do not understand is not repeated
            return Rejected(message, answer, code)


def _meaning(response: GraphqlResponse) -> Meaning:
    found = {error.meaning for error in response.errors}
    return next(meaning for meaning in _PRECEDENCE if meaning in found)


def _ran(response: GraphqlResponse) -> bool:
    """Whether a field of the operation was resolved: it has a value, or an error that came up below it."""
    values = any(value is not None for name, value in (response.data or {}).items() if name != "__typename")
    return values or any(len(error.path) > 1 for error in response.errors)


def _gives_nothing(response: GraphqlResponse) -> bool:
    fields = [value for name, value in (response.data or {}).items() if name != "__typename"]
    return bool(fields) and all(value is None for value in fields)


def _wait_s(answer: Answer, response: GraphqlResponse | None, now: datetime) -> float | None:
    """What the ERP asked for: Retry-After, an error's extensions, Shopify's cost, X-RateLimit-Reset."""
    told = retry_after(answer.headers.get("retry-after", ""), now)
    if told is not None:
        return told
    for found in (*_told_in(response), _reset_s(answer, now)):
        if found is not None:
            return min(max(found, 0.0), LONGEST_WAIT_S)
    return None


def _told_in(response: GraphqlResponse | None) -> list[float | None]:
    if response is None:
        return []
    told = [
        _number(error.extensions.get(key))
        for error in response.errors
        for key in ("retryAfter", "retry_after", "retryAfterSeconds", "retry_in_seconds")
    ]
    return [*told, _refilled_s(response.extensions.get("cost"))]


def _refilled_s(cost: Any) -> float | None:
    """Shopify: seconds until the bucket holds what the operation costs."""
    status = cost.get("throttleStatus") if isinstance(cost, dict) else None
    if not isinstance(status, dict):
        return None
    asked, there = _number(cost.get("requestedQueryCost")), _number(status.get("currentlyAvailable"))
    rate = _number(status.get("restoreRate"))
    return None if asked is None or there is None or not rate else (asked - there) / rate


def _reset_s(answer: Answer, now: datetime) -> float | None:
    for name in ("x-ratelimit-reset", "ratelimit-reset"):
        told = _number(answer.headers.get(name))
        if told is not None:
            return told - now.timestamp() if told > _EPOCH_S else told
    return None


def _number(value: Any) -> float | None:
    """Seconds and points, no amounts of anybody: a float does."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return float(value) if -_FAR_S < value < _FAR_S else None
    text = value.strip() if isinstance(value, str) else ""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
