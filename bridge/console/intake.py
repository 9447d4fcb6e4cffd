"""`POST /intake/<source>/<tenant>`: a signed webhook becomes an event; 202 once JetStream has acknowledged it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from bridge.console import metrics
from bridge.console.event_store import EventStore
from bridge.console.intake_checks import Arrival, Rejection, checked
from bridge.console.intake_event import Webhook, body_digest, outgoing
from bridge.console.intake_source import MIB, IntakeSource
from bridge.console.marker import Marker, Outcome, Refused, Stored
from bridge.console.request_body import BodyMemory, BodyTooLarge, BodyTooSlow, NoRoom, read_body
from bridge.console.signature import SignatureHeaders
from bridge.console.tenant_directory import TenantDirectory
from eventbus.errors import EventBusError
from eventbus.subjects import Subjects
from eventbus.tokens import escape

HELD_BYTES = 64 * MIB
"""Bodies in memory at once; twice the largest source's `max_bytes`, where that is more."""
_SHORTLY, _LATER = 1, 10
"""Seconds for Retry-After."""
_NO_SOURCE = Rejection(404, "unknown_source", "there is no such source")
_BUSY = Rejection(503, "busy", "too many requests at once", retry_after=_SHORTLY)
_GONE = Rejection(400, "disconnected", "the body did not come whole")
_SLOW = Rejection(408, "too_slow", "the body did not come in time")
_UNAVAILABLE = Rejection(
    503, "unavailable", "not stored, or not known to be: send it again", retry_after=_LATER
)
log = structlog.get_logger()


@dataclass(slots=True)
class _Seen:
    """What the log line tells of a request."""

    source: str
    tenant: str
    webhook_id: str = ""
    size: int = 0
    began: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True, slots=True)
class _Accepted:
    event_id: str
    outcome: str


class Intake:
    """The endpoint."""

    def __init__(
        self,
        sources: Mapping[str, IntakeSource],
        directory: TenantDirectory,
        store: EventStore,
        subjects: Subjects,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """clock: seconds since the epoch."""
        self._sources = sources
        self._directory = directory
        self._store = store
        self._subjects = subjects
        self._clock = clock
        largest = max((source.max_bytes for source in sources.values()), default=0)
        self._memory = BodyMemory(max(HELD_BYTES, 2 * largest))

    async def receive(self, request: Request) -> JSONResponse:
        """The answer, logged and counted."""
        source = self._sources.get(request.path_params["source"])
        # what is not known to be a name may be anything
        seen = _Seen(source.name if source else "", escape(request.path_params["tenant"]))
        answer = await self._answer(request, source, seen) if source else _NO_SOURCE
        took = time.perf_counter() - seen.began
        metrics.REQUESTS.labels(seen.source, answer.outcome).inc()
        metrics.SECONDS.labels(seen.source).observe(took)
        log.info(
            "webhook",
            source=seen.source or escape(request.path_params["source"]),
            tenant=seen.tenant,
            webhook_id=seen.webhook_id,
            outcome=answer.outcome,
            bytes=seen.size,
            ms=round(took * 1000, 1),
        )
        return _response(answer)

    async def _answer(self, request: Request, source: IntakeSource, seen: _Seen) -> _Accepted | Rejection:
        headers = SignatureHeaders(
            *(_header(request, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
        )
        seen.webhook_id = escape(headers.id) if headers.id else ""
        if (refused := _media_type(request)) is not None:
            return refused
        with self._memory.share() as share:
            try:
                body = await read_body(request, source.max_bytes, share)
            except BodyTooLarge:
                return Rejection(413, "too_large", f"the body has more than {source.max_bytes} bytes")
            except BodyTooSlow:
                return _SLOW
            except NoRoom:
                return _BUSY
            except ClientDisconnect:
                return _GONE
            seen.size = len(body)
            return await self._judged(request, source, headers, body, seen)

    async def _judged(
        self, request: Request, source: IntakeSource, headers: SignatureHeaders, body: bytes, seen: _Seen
    ) -> _Accepted | Rejection:
        tenant = self._directory.find(request.path_params["tenant"], source)
        received = datetime.fromtimestamp(self._clock(), UTC)
        webhook = checked(Arrival(source, tenant, headers, body, received))
        if isinstance(webhook, Rejection):
            return webhook
        assert tenant is not None, "checked"
        seen.tenant = tenant.name
        mine = Marker(webhook.event_id, tenant.name, body_digest(body))
        return await self._publish(webhook, mine, source)

    async def _publish(self, webhook: Webhook, mine: Marker, source: IntakeSource) -> _Accepted | Rejection:
        try:
            came_to = await self._store.store(
                outgoing(webhook, self._subjects), mine, source.name, source.remember
            )
        except EventBusError as error:
            log.error("a webhook cannot be stored", source=source.name, because=str(error))  # noqa: TRY400
            return _UNAVAILABLE
        if isinstance(came_to, Stored):
            return _told(came_to, mine)
        if isinstance(came_to, Refused):
            log.warning("EVENTS takes no webhooks", source=source.name, code=came_to.code)
        return _UNAVAILABLE


def _told(stored: Stored, mine: Marker) -> _Accepted | Rejection:
    if stored.outcome is Outcome.STORED:
        return _Accepted(mine.id, "accepted")
    if stored.by.tenant != mine.tenant:
        return Rejection(409, "conflict", "this webhook-id was used for another tenant")
    if stored.by.digest != mine.digest:
        log.warning("a webhook-id came again with another body; the first one stands", event_id=mine.id)
        return _Accepted(mine.id, "repeat_differs")
    return _Accepted(mine.id, "repeat")


def _header(request: Request, name: str) -> str:
    """As UTF-8; empty where there is none, or none in UTF-8."""
    try:
        return request.headers.get(name, "").encode("latin-1").decode()
    except UnicodeDecodeError:
        return ""


def _media_type(request: Request) -> Rejection | None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        return Rejection(415, "media_type", "send Content-Type: application/json")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        return Rejection(415, "media_type", "send the body without Content-Encoding")
    return None


def _response(answer: _Accepted | Rejection) -> JSONResponse:
    if isinstance(answer, _Accepted):
        return JSONResponse({"id": answer.event_id}, 202)
    content = {"error": answer.error} | ({} if answer.path is None else {"path": answer.path})
    headers = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
    if answer.outcome in ("too_large", "too_slow", "disconnected", "busy"):
        headers["Connection"] = "close"  # the rest of the body is not read
    return JSONResponse(content, answer.status, headers)
