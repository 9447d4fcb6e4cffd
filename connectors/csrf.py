"""The CSRF token that OData servers want with whatever changes data, and the session cookies it is valid with.

SAP Gateway: GET with `x-csrf-token: Fetch`; then the token and *all* cookies with each request. A token that ended is
answered 403 with `x-csrf-token: Required`, before anything was processed.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from connectors.auth.passes import NotGranted, cookie_secrets, cookies_of, is_sendable
from connectors.classification import retry_after
from connectors.erp_client import ErpClient
from connectors.http_client import NoAnswer, Received
from connectors.protocol import Unavailable

_HEADER = "x-csrf-token"


@dataclass(frozen=True, slots=True)
class CsrfSession:
    """headers: what every request of the session carries."""

    headers: Mapping[str, str] = field(repr=False)


class CsrfTokens:
    """The session of one connection: fetched once, by one at a time, and again when the server forgot it."""

    def __init__(self, client: ErpClient, path: str | None) -> None:
        """path: where to fetch; None: the request's parent folder."""
        self._client = client
        self._path = path
        self._session: CsrfSession | None = None
        self._fetching = asyncio.Lock()
        self._failed: tuple[float, NoAnswer] | None = None
        """When, by the monotonic clock, and why."""

    async def session(self, target: str, ended: CsrfSession | None = None) -> CsrfSession:
        """The session in force, but not `ended`. Raises NoAnswer (Unavailable: the event itself was not sent)."""
        if self._session is ended or self._session is None:
            since = time.monotonic()
            async with self._fetching:
                if self._session is ended or self._session is None:
                    self._session = await self._fetched(target, since)
        return self._session

    async def _fetched(self, target: str, since: float) -> CsrfSession:
        """since: whoever has waited for a fetch that failed does not wait for another one."""
        if self._failed is not None and self._failed[0] > since:
            raise NoAnswer(self._failed[1].outcome)
        try:
            return await self._fetch(target)
        except NoAnswer as error:
            self._failed = time.monotonic(), error
            raise

    async def _fetch(self, target: str) -> CsrfSession:
        path = self._path or _parent(target)
        try:
            received = await self._client.exchange("GET", path, {_HEADER: "Fetch"}, b"")
        except NoAnswer as error:
            if error.outcome.code == "authentication":  # no login, no token of OAuth
                raise
            raise NoAnswer(no_token(error.outcome.message)) from None
        token = received.header(_HEADER)
        if received.status == 401:
            raise NoAnswer(no_token("HTTP 401: the ERP does not accept the credentials", "authentication"))
        if not 200 <= received.status < 300 or token.lower() in {"", "required"}:
            after = retry_after(received.header("retry-after"), datetime.now(UTC))
            raise NoAnswer(no_token(f"HTTP {received.status} and no token from {path}", after=after))
        try:
            carried = cookies_of(received.headers)
        except NotGranted as error:
            raise NoAnswer(no_token(f"HTTP {received.status} from {path}, and {error}")) from None
        if not is_sendable(token):
            raise NoAnswer(
                no_token(f"HTTP {received.status}, and a token from {path} that no header can carry")
            )
        self._client.hide([token, *cookie_secrets(carried)])
        return CsrfSession({_HEADER: token} | ({"cookie": "; ".join(carried)} if carried else {}))


def wants_token(received: Received) -> bool:
    """Whether the request was refused, unprocessed, for its token alone."""
    return received.status == 403 and received.header(_HEADER).lower() == "required"


def no_token(message: str, code: str = "csrf", after: float | None = None) -> Unavailable:
    return Unavailable(f"no CSRF token: {message}; nothing was processed", after=after, code=code)


def _parent(target: str) -> str:
    path = target.partition("?")[0]
    return path.rpartition("/")[0] + "/"
