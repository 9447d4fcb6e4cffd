"""What `bridge console` serves: the webhook intake, and what every long-running command tells of itself."""

import asyncio
import socket
from collections.abc import Mapping, Sequence

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bridge.asgi_server import Limits, serve
from bridge.console.event_store import WITHIN_S, EventStore
from bridge.console.intake import Intake
from bridge.console.intake_source import IntakeSource
from bridge.console.tenant_directory import TenantDirectory
from bridge.endpoints import endpoints_app
from bridge.listen import Listen
from eventbus.condition import Condition, Matter, Role
from eventbus.connection import Connection
from eventbus.jetstream import JetStream
from eventbus.patience import StopRequested, unless_stopped
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from pipeline.reconnecting import reconnecting

log = structlog.get_logger()
_NAME = "bridge console"
_LIMITS = Limits(answering=round(WITHIN_S) + 2, connections=512)


class Console:
    """One console."""

    def __init__(
        self,
        nats: NatsSettings,
        sources: Mapping[str, IntakeSource],
        secrets_keys: Sequence[bytes],
        ready: asyncio.Event,
    ) -> None:
        """ready: set once it answers."""
        subjects = Subjects(nats.namespace)
        self.ready = ready
        self._nats = nats
        self._sources = [*sources]
        self._directory = TenantDirectory(subjects, secrets_keys, sources.values())
        self._store = EventStore(subjects)
        self._intake = Intake(sources, self._directory, self._store, subjects)

    def app(self) -> Starlette:
        app = Starlette(
            routes=[
                # a tenant's key may hold a slash
                Route("/intake/{source}/{tenant:path}", self._intake.receive, methods=["POST"]),
                *endpoints_app(self.condition).routes,
            ],
            exception_handlers={HTTPException: _as_json, Exception: _defect},
        )
        app.router.redirect_slashes = False
        return app

    def condition(self) -> Condition:
        if self.ready.is_set() and self._store.connected:
            return Condition(Role.CONSOLE)
        return Condition(Role.CONSOLE, (Matter("starting", "it connects, or waits for NATS"),))

    async def run(self, listening: socket.socket, stop: asyncio.Event) -> None:
        """Serves until `stop` is set, and answers what is under way then.

        Raises NatsUnreachable and NatsRefused for the first connection, and what the server refuses for good.
        """
        answered = asyncio.Event()
        following = asyncio.ensure_future(
            reconnecting(self._nats, _NAME, lambda one: self._follow(one, answered), answered)
        )
        serving = asyncio.ensure_future(self._serve(listening, stop))
        try:
            await asyncio.wait((following, serving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not serving.done():
                serving.cancel()
                await asyncio.wait((serving,))
            answered.set()
            await following
        await serving

    async def _serve(self, listening: socket.socket, stop: asyncio.Event) -> None:
        try:
            # before that, every tenant would be unknown
            await unless_stopped(stop, self.ready.wait())
        except StopRequested:
            listening.close()
            return
        log.info("taking in webhooks", at=str(_address(listening)), sources=self._sources)
        await serve(self.app(), listening, stop, _LIMITS)

    async def _follow(self, connection: Connection, answered: asyncio.Event) -> None:
        self._store.attach(connection)
        try:
            await unless_stopped(answered, self._directory.follow(JetStream(connection), self.ready))
        except StopRequested:
            return


def _address(listening: socket.socket) -> Listen:
    host, port = listening.getsockname()[:2]
    return Listen(host, port)


async def _as_json(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _defect(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"error": "a defect of the bridge, which its log tells of"}, 500)
