"""What a SOAP fault means for a delivery: by its code, and by what its detail names, never by the status alone. Pure.

SOAP 1.1, 4.4; SOAP 1.2 part 1, 5.4; WS-Security 1.1, 12; NetSuite's faults as its SOAP documentation names them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connectors.classification import ALREADY_DONE, PASSING, TOO_MANY, classify, not_accepted, retry_after
from connectors.error_text import error_text, one_line
from connectors.protocol import Answer, Delivered, Outcome, Rejected, RetryLater, Throttled, Unavailable

_RECEIVER = frozenset({"Server", "Receiver"})
_NEVER = frozenset({"MustUnderstand", "VersionMismatch", "DataEncodingUnknown"})
_THROTTLED = TOO_MANY | {
    "ExceededConcurrentRequestLimitFault",
    "ExceededRequestLimitFault",
    "WS_CONCUR_SESSION_DISALLWD",
    "WS_REQUEST_BLOCKED",
}
_CREDENTIALS = frozenset({
    "Authentication", "AuthenticationFailure", "AuthenticationFailed",  # Client.Authentication is SOAP 1.1's own example
    "FailedAuthentication", "FailedCheck", "InvalidSecurity", "InvalidSecurityToken", "SecurityTokenUnavailable",
    "UnsupportedSecurityToken", "UnsupportedAlgorithm", "InvalidCredentialsFault", "InvalidSessionFault",
    "INVALID_LOGIN", "SESSION_TIMED_OUT",
})  # fmt: skip
_STATUS_SAYS_ALL = frozenset({401, 407, 429, 502, 503, 504, 520, 521, 522, 523, 524})
"""What stands between us and the ERP says these; whether there is a fault in them changes nothing."""
_CLOCK = frozenset({"MessageExpired"})


@dataclass(frozen=True, slots=True)
class Fault:
    """code: without its prefix, `Client` and `Server` for those of both versions; subcodes: what follows it, outermost
    first. detail: as `soap_envelope.generic` reads it.
    """

    code: str
    subcodes: tuple[str, ...]
    message: str
    detail: Any = None

    def to_json(self) -> dict[str, Any]:
        """As a mapping sees it: `body.fault`."""
        found: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.subcodes:
            found["subcodes"] = list(self.subcodes)
        if self.detail not in (None, ""):
            found["detail"] = self.detail
        return {"fault": found}

    @classmethod
    def of_json(cls, body: Any) -> "Fault | None":
        """What `to_json` made; None: it is none."""
        found = body.get("fault") if isinstance(body, Mapping) else None
        if not isinstance(found, Mapping):
            return None
        subcodes = found.get("subcodes")
        return cls(
            str(found.get("code", "")),
            tuple(map(str, subcodes)) if isinstance(subcodes, list) else (),
            str(found.get("message", "")),
            found.get("detail"),
        )

    @property
    def names(self) -> list[str]:
        """All that may say what happened, the most telling first."""
        codes = error_text(self.detail).codes if isinstance(self.detail, Mapping) else ()
        return list(dict.fromkeys([*codes, *self.subcodes, *_element_names(self.detail, 3), self.code]))


def _element_names(detail: Any, depth: int) -> Iterator[str]:
    if depth and isinstance(detail, Mapping):
        for name, below in detail.items():
            yield name
            yield from _element_names(below, depth - 1)


def classify_answer(answer: Answer, now: datetime) -> Outcome:
    """Of an answer whose body is read: a fault, or what an operation answers. now: aware."""
    fault = Fault.of_json(answer.body)
    if fault is None or answer.status in _STATUS_SAYS_ALL:
        return classify(answer, now)
    return classify_fault(fault, answer, now)


def classify_fault(fault: Fault, answer: Answer, now: datetime) -> Outcome:
    """answer: whose body the fault is. now: aware."""
    names = fault.names
    said = error_text(fault.detail).text if isinstance(fault.detail, Mapping) else ""
    text = "; ".join(dict.fromkeys(each for each in (fault.message, said) if each))
    message = one_line(
        f"SOAP fault {fault.code or 'without a code'}: {text}" if text else f"SOAP fault {fault.code}"
    )
    code = names[0] if names else ""
    after = retry_after(answer.headers.get("retry-after", ""), now)
    there = frozenset(names)
    if there & _THROTTLED:
        return Throttled(message, answer, after, next(each for each in names if each in _THROTTLED))
    if there & _CREDENTIALS:
        return not_accepted(message, answer, after)
    if there & _CLOCK:
        advice = "the ERP's clock and this machine's are apart; set them right"
        return Unavailable(f"{message} ({advice})", answer, after, "authentication")
    if there & ALREADY_DONE:
        return Delivered(answer, message)
    if there & PASSING or (fault.code in _RECEIVER and not there & _NEVER):
        return RetryLater(message, answer, after, code)
    return Rejected(message, answer, code)
