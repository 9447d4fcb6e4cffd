"""What a pass is, and who issues it: an access token or a session, granted for a while. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeGuard
from urllib.parse import urlsplit

from connectors.http_request import path_target

_SHORTEST_COOKIE = 16
LONGEST = 32_768
"""Characters of a token, or of all cookies together: servers take half of that at most in a request's headers."""


@dataclass(frozen=True, slots=True)
class Moment:
    """now: seconds since the epoch. chance: a text nobody can guess, unlike any before."""

    now: float
    chance: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PassRequest:
    """target: path and query, which may hold a key. secrets: what of it is shown to nobody, besides `auth`."""

    method: str
    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    secrets: Sequence[str] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Pass:
    """headers: what each request carries. lasts_s: from when it was asked for on; None: until it is refused.

    successor: what replaces the secret that it was granted for, `predecessor`; "" where that stays. secrets: shown to
    nobody.
    """

    headers: Mapping[str, str] = field(repr=False)
    lasts_s: float | None = None
    predecessor: str = field(default="", repr=False)
    successor: str = field(default="", repr=False)
    secrets: Sequence[str] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class IssuerAnswer:
    """headers: names in lower case. body: the JSON value, text, or None. cookies: as `name=value`, in order."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)
    cookies: Sequence[str] = field(default=(), repr=False)


class NotGranted(Exception):
    """The answer is a success, and holds no pass: says what it lacks."""


class Issuer(Protocol):
    """Whoever grants passes to one connection."""

    @property
    def what(self) -> str:
        """Its pass, in words."""
        ...

    @property
    def url(self) -> str:
        """A base_url without a path."""
        ...

    @property
    def ended(self) -> frozenset[int]:
        """The statuses by which the ERP says that a pass has ended, and that it processed nothing."""
        ...

    @property
    def replaceable(self) -> str:
        """The member of `auth` that a successor replaces; "" for none."""
        ...

    def request(self, at: Moment) -> PassRequest: ...

    def granted(self, answer: IssuerAnswer) -> Pass:
        """answer: of a status 2xx, or of a redirect, by which some logins end. Raises NotGranted."""
        ...

    def after(self, granted: Pass) -> Self:
        """The issuer to ask for the next pass."""
        ...


def is_sendable(token: Any) -> TypeGuard[str]:
    """Whether a header can carry it."""
    return (
        isinstance(token, str)
        and token.isascii()
        and token.isprintable()
        and bool(token.strip())
        and len(token) <= LONGEST
    )


def cookies_of(headers: Sequence[tuple[str, str]]) -> list[str]:
    """What an answer's Set-Cookie lines give, as `name=value`: of a name the last one (RFC 6265, 5.3).

    headers: names in lower case. Without those that no header can carry. Raises NotGranted where they are too long.
    """
    found: dict[str, str] = {}
    for header, line in headers:
        if header == "set-cookie":
            name, _, value = line.partition(";")[0].partition("=")
            found[name.strip()] = value.strip()
    sent = [cookie for name, value in found.items() if name and is_sendable(cookie := f"{name}={value}")]
    if sum(map(len, sent)) > LONGEST:
        raise NotGranted(f"its cookies are longer than {LONGEST} characters")
    return sent


def cookie_secrets(cookies: Sequence[str]) -> list[str]:
    """What of cookies, `name=value` each, identifies a session: not `English` or `sap-client=100`."""
    values = (cookie.partition("=")[2] for cookie in cookies)
    return [value for value in values if len(value) >= _SHORTEST_COOKIE]


def origin_and_target(url: str) -> tuple[str, str]:
    """A checked URL in two parts: where to connect, and what to ask for there, its query included."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}", path_target(parts.path or "/") + query
