"""Keeps one connection's pass fresh: asked for by one at a time, before it ends, and again when the ERP refuses it."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from connectors.answers import read_answer
from connectors.auth.passes import Issuer, IssuerAnswer, Moment, NotGranted, Pass, cookies_of
from connectors.classification import retry_after
from connectors.error_text import error_text
from connectors.http_client import HttpClient, NoAnswer, Received
from connectors.protocol import ConnectionSettings, NotKept, Unavailable
from connectors.redaction import Redactor

LIMIT_S = 30.0
"""How long asking for a pass may take, where the connection's timeout is not shorter."""
_EARLY_S = 60.0
_EARLY_SHARE = 0.2
_LATE_S = 5.0
_LATE_SHARE = 0.05
_REST_S = 5.0
"""So long nobody asks again after a refusal: wrong credentials, asked with often enough, lock a user out."""
_LONGEST_REST_S = 3_600.0
_FAREWELL_S = 5.0
_REDIRECTS = frozenset({302, 303})
_PASSING = frozenset({408, 425, 429})

log = structlog.get_logger()
Keep = Callable[[str, str, str], Awaitable[None]]
"""As ConnectionSettings.keep."""


@dataclass(frozen=True, slots=True)
class _Held:
    """renew_at, ends: of the monotonic clock; before `ends` it is used, from `renew_at` on a new one is asked for."""

    granted: Pass
    renew_at: float
    ends: float


@dataclass(frozen=True, slots=True)
class _Failure:
    outcome: Unavailable
    until: float


def open_renewal(settings: ConnectionSettings, issuer: Issuer, redact: Redactor) -> "Renewal":
    """Of a connection's pass, asked for with its own TLS, egress policy and, up to LIMIT_S, timeout."""
    place = replace(settings, base_url=issuer.url, timeout_s=min(settings.timeout_s, LIMIT_S), concurrency=1)
    return Renewal(issuer, HttpClient(place), redact, settings.keep)


class Renewal:
    """The pass of one connection. Opens no connection before it is first needed."""

    def __init__(self, issuer: Issuer, client: HttpClient, redact: Redactor, keep: Keep | None) -> None:
        """client: to the issuer's url; redact: learns what the issuer hands out."""
        self._issuer = issuer
        self._client = client
        self._redact = redact
        self._keep = keep
        self._held: _Held | None = None
        self._failure: _Failure | None = None
        self._asking: asyncio.Task[Pass | Unavailable] | None = None

    @property
    def ended(self) -> frozenset[int]:
        """The statuses by which the ERP says that the pass has ended, and that it processed nothing."""
        return self._issuer.ended

    async def current(self) -> Pass:
        """The pass in force. Raises NoAnswer (Unavailable: the event itself was not sent)."""
        held, now = self._held, time.monotonic()
        if held is None or now >= held.ends:
            return await self._new()
        if now >= held.renew_at and not self._rests(now):
            self._ask()
        return held.granted

    async def instead_of(self, refused: Pass) -> Pass:
        """As `current`, but not that one."""
        if self._held is not None and self._held.granted is refused:
            self._held = None
        return await self.current()

    async def _new(self) -> Pass:
        if self._asking is None and (failure := self._rests(time.monotonic())) is not None:
            raise NoAnswer(failure.outcome)
        asking = self._ask()
        # whoever stops waiting leaves it to the others
        await asyncio.wait((asking,))
        if asking.cancelled():
            raise NoAnswer(self._no_pass("the connection was closed meanwhile"))
        found = asking.result()
        if isinstance(found, Unavailable):
            raise NoAnswer(found)
        return found

    def _rests(self, now: float) -> _Failure | None:
        return self._failure if self._failure is not None and now < self._failure.until else None

    def _ask(self) -> asyncio.Task[Pass | Unavailable]:
        if self._asking is None:
            self._asking = asyncio.create_task(self._asked())
            self._asking.add_done_callback(self._done)
        return self._asking

    def _done(self, _: asyncio.Task[Pass | Unavailable]) -> None:
        self._asking = None

    async def _asked(self) -> Pass | Unavailable:
        began = time.monotonic()
        try:
            found = await self._granted()
        except Exception as error:  # nothing of the event was sent, and that is what counts
            log.exception("a pass could not be asked for, in a way that must not be", issuer=self._issuer.url)
            found = self._no_pass(f"a defect of ours, {type(error).__name__}", "defect")
        if isinstance(found, Unavailable):
            return self._failed(found)
        self._failure = None
        self._held = _held(found, began)
        if found.successor:
            self._issuer = self._issuer.after(found)
            await self._keep_successor(found)
        return found

    def _failed(self, outcome: Unavailable) -> Unavailable:
        rest = min(outcome.after or 0.0, _LONGEST_REST_S)
        # while the old pass holds, a new one need not be asked for with every request
        if outcome.code == "authentication" or self._held is not None:
            rest = max(rest, _REST_S)
        self._failure = _Failure(outcome, time.monotonic() + rest)
        return outcome

    async def _granted(self) -> Pass | Unavailable:
        request = self._issuer.request(Moment(time.time(), secrets.token_urlsafe(16)))
        self._redact.hide(request.secrets)
        try:
            received = await self._client.exchange(
                request.method, request.target, request.headers, request.content
            )
        except NoAnswer as error:
            code = error.outcome.code if isinstance(error.outcome, Unavailable) else "timeout"
            return self._no_pass(error.outcome.message.removesuffix("; nothing was sent"), code)
        if not 200 <= received.status < 300 and received.status not in _REDIRECTS:
            return self._refused(received)
        try:
            granted = self._issuer.granted(_answer(received))
        except NotGranted as error:
            if received.status in _REDIRECTS:
                return self._refused(received)
            return self._no_pass(f"{self._issuer.url} answered {received.status}, and {error}")
        self._redact.hide(granted.secrets)
        return granted

    def _refused(self, received: Received) -> Unavailable:
        content = received.unpacked().content
        answer = self._redact.answer(read_answer(received.status, received.headers, content, truncated=False))
        error, status = error_text(answer.body), answer.status
        words = ": ".join(
            [f"{self._issuer.url} answered {status}", *error.codes[:1], *filter(None, [error.text])]
        )
        after = retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC))
        if status >= 500 or status in _PASSING:
            return self._no_pass(words, "unavailable", after)
        if status < 400:
            words += " (redirects are not followed; correct the URL)"
        return self._no_pass(
            f"{words}; set what is wrong with `bridge secret set`, or in tenant.yaml", after=after
        )

    def _no_pass(self, why: str, code: str = "authentication", after: float | None = None) -> Unavailable:
        why = self._redact.text(why)  # what goes wrong in HTTP quotes what was sent, and what came
        return Unavailable(f"no {self._issuer.what}: {why}; the event was not sent", after=after, code=code)

    async def _keep_successor(self, granted: Pass) -> None:
        if self._keep is None:
            return
        try:
            await self._keep(self._issuer.replaceable, granted.predecessor, granted.successor)
        except NotKept as error:  # the token is good; only a restart would miss it
            log.warning(
                "a new refresh token is known to this process alone; after a restart it has to be set again",
                issuer=self._issuer.url,
                problem=str(error),
            )
        except Exception:
            log.exception(
                "a new refresh token could not be kept, in a way that must not be", issuer=self._issuer.url
            )

    async def aclose(self) -> None:
        if (asking := self._asking) is not None:
            # what an issuer replaces must not get lost on its way into the bucket
            await asyncio.wait((asking,), timeout=_FAREWELL_S if self._issuer.replaceable else 0)
            asking.cancel()
            await asyncio.wait((asking,))
        await self._client.aclose()


def _held(granted: Pass, began: float) -> _Held:
    """Counted from before it was asked for: it may not end at the ERP before it ends here."""
    lasts = granted.lasts_s
    if lasts is None:
        return _Held(granted, float("inf"), float("inf"))
    early, late = min(_EARLY_S, lasts * _EARLY_SHARE), min(_LATE_S, lasts * _LATE_SHARE)
    return _Held(granted, began + lasts - early, began + lasts - late)


def _answer(received: Received) -> IssuerAnswer:
    """Raises NotGranted."""
    read = received.unpacked()
    answer = read_answer(read.status, read.headers, read.content, truncated=not read.complete)
    return IssuerAnswer(received.status, answer.headers, answer.body, cookies_of(received.headers))
