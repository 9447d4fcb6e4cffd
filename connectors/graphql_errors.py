"""What a GraphQL response says went wrong, in the shapes that servers use. Pure.

Apollo, HotChocolate and graphql-core (`extensions.code`), Spring and graphql-java (`extensions.classification`), Netflix
DGS (`extensions.errorType`), PostGraphile (`errcode`, an SQLSTATE), AppSync (`errorType`), GitHub (`type`), Hasura.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from connectors.error_text import one_line

_MOST = 20
_CODE_KEYS = ("code", "errcode", "errorCode", "classification", "errorType", "errorDetail", "type")


class Meaning(Enum):
    """What an error's code says."""

    UNKNOWN = auto()
    NO = auto()
    LATER = auto()
    TIMEOUT = auto()
    THROTTLED = auto()
    CREDENTIALS = auto()


_MEANINGS = {
    Meaning.NO: (
        "BAD_USER_INPUT", "USER_INPUT_ERROR", "INVALID_INPUT", "BAD_REQUEST", "GRAPHQL_PARSE_FAILED", "InvalidSyntax",
        "GRAPHQL_VALIDATION_FAILED", "VALIDATION_FAILED", "VALIDATION_ERROR", "VALIDATION", "FORBIDDEN", "ACCESS_DENIED",
        "PERMISSION_DENIED", "AUTH_NOT_AUTHORIZED", "NOT_FOUND", "CONFLICT", "IDEMPOTENCY_KEY_PARAMETER_MISMATCH",
        "OPERATION_RESOLUTION_FAILURE", "PERSISTED_QUERY_NOT_FOUND", "PERSISTED_QUERY_NOT_IN_LIST", "400", "403", "404",
        "CONSTRAINT_VIOLATION", "22P02", "23502", "23503", "23505", "23514",
    ),
    Meaning.CREDENTIALS: (
        "UNAUTHENTICATED", "AUTH_NOT_AUTHENTICATED", "NOT_AUTHENTICATED", "UNAUTHORIZED", "UnauthorizedException",
        "AUTHENTICATION_REQUIRED", "AUTHENTICATION_FAILED", "AUTHENTICATION_ERROR", "INVALID_TOKEN", "TOKEN_EXPIRED",
        "SESSION_EXPIRED", "INVALID_JWT", "JWT_EXPIRED", "401",
    ),
    Meaning.THROTTLED: (
        "THROTTLED", "THROTTLED_CPU", "RATE_LIMITED", "RATE_LIMIT", "RATE_LIMIT_EXCEEDED", "TOO_MANY_REQUESTS",
        "ComplexityBudgetExhausted", "429",
    ),
    Meaning.TIMEOUT: (
        "TIMEOUT", "REQUEST_TIMEOUT", "GATEWAY_TIMEOUT", "EXECUTION_TIMEOUT", "OPERATION_TIMEOUT", "QUERY_TIMEOUT",
        "DEADLINE_EXCEEDED", "HC0045", "504",
    ),
    Meaning.LATER: (
        "INTERNAL_SERVER_ERROR", "INTERNAL_ERROR", "INTERNAL", "UNEXPECTED", "UNEXPECTED_ERROR", "UNKNOWN_ERROR",
        "DataFetchingException", "SERVICE_UNAVAILABLE", "UNAVAILABLE", "TEMPORARILY_UNAVAILABLE", "LOCKED",
        "IDEMPOTENCY_CONCURRENT_REQUEST", "IDEMPOTENCY_KEY_IN_USE", "IDEMPOTENCY_IN_PROGRESS", "500", "503",
        # SQLSTATE of what was rolled back: serialization, deadlock, lock, connections, statement timeout, shutdown
        "40001", "40P01", "55P03", "53300", "57014", "57P01", "57P03",
    ),
}  # fmt: skip


def _plain(code: str) -> str:
    """`validation-failed`, `VALIDATION_FAILED` and `ValidationFailed` are one code."""
    return "".join(letter for letter in code.upper() if letter.isalnum())


_BY_CODE = {_plain(code): meaning for meaning, codes in _MEANINGS.items() for code in codes}


@dataclass(frozen=True, slots=True)
class GraphqlError:
    """codes: the server's own, the most telling first. path: of the field that failed; () where the request did."""

    message: str
    codes: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    extensions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def meaning(self) -> Meaning:
        for code in self.codes:
            if (known := _BY_CODE.get(_plain(code))) is not None:
                return known
        return Meaning.UNKNOWN

    @property
    def text(self) -> str:
        where = f" at {'.'.join(self.path)}" if self.path else ""
        return f"{self.codes[0] if self.codes else 'error'}{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class GraphqlResponse:
    """data: None, too, where the member is not there at all."""

    data: Mapping[str, Any] | None
    errors: tuple[GraphqlError, ...]
    extensions: Mapping[str, Any]

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(code for error in self.errors for code in error.codes))

    @property
    def text(self) -> str:
        return one_line("; ".join(dict.fromkeys(error.text for error in self.errors)))

    @property
    def replayed(self) -> bool:
        """JTL: `extensions.idempotency.<name>.wasReplayed` of a key that was completed before."""
        entries = self.extensions.get("idempotency")
        return isinstance(entries, Mapping) and any(
            isinstance(entry, Mapping) and entry.get("wasReplayed") is True for entry in entries.values()
        )


def read_response(body: Any) -> GraphqlResponse | None:
    """body: an Answer's. None for what is no GraphQL response (specification, section 7)."""
    if not isinstance(body, Mapping):
        return None
    data, errors, extensions = body.get("data"), body.get("errors"), body.get("extensions")
    if not isinstance(data, Mapping | None) or not isinstance(errors, list | None):
        return None
    if data is None and not errors:
        return None
    return GraphqlResponse(
        data,
        tuple(_error(each) for each in (errors or ())[:_MOST]),
        extensions if isinstance(extensions, Mapping) else {},
    )


def _error(value: Any) -> GraphqlError:
    if not isinstance(value, Mapping):
        return GraphqlError(one_line(str(value)))
    extensions = value.get("extensions")
    inner = extensions if isinstance(extensions, Mapping) else {}
    path = value.get("path")
    return GraphqlError(
        one_line(str(value.get("message", ""))),
        tuple(dict.fromkeys(one_line(code) for code in _codes(value, inner))),
        tuple(map(str, path)) if isinstance(path, list) else (),
        inner,
    )


def _codes(error: Mapping[str, Any], extensions: Mapping[str, Any]) -> Iterator[str]:
    for place in (extensions, extensions.get("exception"), error):
        if not isinstance(place, Mapping):
            continue
        for key in _CODE_KEYS:
            code = place.get(key)
            if isinstance(code, Mapping):  # graphql-java's classification may be an object
                code = code.get("type")
            if isinstance(code, str | int) and not isinstance(code, bool) and str(code).strip():
                yield str(code)
