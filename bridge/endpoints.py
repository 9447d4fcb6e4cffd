"""/healthz, /readyz and /metrics of a long-running command, served in its own event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.asgi_server import bind, serve
from bridge.listen import Listen
from bridge.redaction import redact
from eventbus.condition import Condition, Matter

disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
_OURS = ("bridge_", "process_")
log = structlog.get_logger()


@asynccontextmanager
async def endpoints_served(listen: Listen, condition: Callable[[], Condition]) -> AsyncIterator[None]:
    """Serves them until it is left. Raises AddressUnavailable."""
    listening, stop = bind(listen), asyncio.Event()
    serving = asyncio.create_task(serve(endpoints_app(condition), listening, stop))
    log.info("serving /metrics, /healthz and /readyz", at=str(listen))
    try:
        yield
    finally:
        stop.set()
        await serving


def endpoints_app(condition: Callable[[], Condition]) -> Starlette:
    """`condition`: asked at each /readyz; it does no I/O, for an answer must come whatever hangs."""
    registry = CollectorRegistry()
    registry.register(_Ours(condition))

    async def healthz(_: Request) -> Response:
        # that this is answered is all there is to say: the event loop turns
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        found = condition()
        return JSONResponse(_without_passwords(found).to_json(), status_code=200 if found.ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    )


def _without_passwords(condition: Condition) -> Condition:
    """A reason may quote what a server said."""

    def redacted(matters: tuple[Matter, ...]) -> tuple[Matter, ...]:
        return tuple(matter._replace(message=redact(matter.message)) for matter in matters)

    return replace(condition, reasons=redacted(condition.reasons), findings=redacted(condition.findings))


class _Ours(Collector):
    """The default registry without what libraries tell of Python, and what /readyz says."""

    def __init__(self, condition: Callable[[], Condition]) -> None:
        self._condition = condition

    def collect(self) -> Iterator[Metric]:
        found = self._condition()
        yield GaugeMetricFamily("bridge_ready", "1: /readyz answers 200", value=found.ready)
        roles = GaugeMetricFamily(
            "bridge_role", "1: its role, or that of a part of it", labels=("part", "role")
        )
        for part, role in (found.parts or {"": found.role.value}).items():
            roles.add_metric((part, role), 1)
        yield roles
        yield from (metric for metric in REGISTRY.collect() if metric.name.startswith(_OURS))

    def describe(self) -> Iterator[Metric]:
        return iter(())
