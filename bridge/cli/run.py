"""`bridge run`: routes events to deliveries and delivers them, until stopped."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from bridge.cli.context import config_option, nats_servers
from bridge.cli.errors import Findings
from bridge.cli.event_bus import event_bus
from bridge.cli.listening import endpoints, listen_option
from bridge.cli.running import run_service
from bridge.collector import look_seldom
from bridge.listen import Listen
from bridge.readiness import notify_ready
from bridge.secret_keys import secret_keys
from bridge.settings import Settings, load_settings
from bridge.source_rows import SourceRowReader
from connectors.egress import EgressPolicy
from eventbus.condition import Condition, Matter, Role
from eventbus.connection import Connection
from eventbus.subjects import Subjects
from pipeline.keeping.keeper import KeeperSettings
from pipeline.reconnecting import reconnecting
from pipeline.routing.router import Router, RouterStopped
from pipeline.worker import Worker, WorkerSettings

LEAVING_S = 3.0
"""What is left of shutdown_timeout to hand over what was cut off."""
ROLES = ("router", "worker", "all")


@click.command("run")
@config_option
@click.option(
    "--role", type=click.Choice(ROLES), default="all", show_default=True, help="What this one does."
)
@listen_option
def run(config: Path, role: str, listen: Listen | None) -> None:
    """Route events to deliveries, transform and deliver them; start as many as you need.

    One router works at a time, others stand by. Workers share the lanes evenly. The first SIGTERM or Ctrl-C finishes
    what is under way and hands the rest back, within shutdown_timeout.
    """
    settings = load_settings(config, with_sources=False)
    pipeline = _Pipeline(settings, role)
    beside = endpoints(settings, listen, pipeline.condition)
    run_service(pipeline.run, settings.shutdown_timeout, beside=beside)


class _Pipeline:
    def __init__(self, settings: Settings, role: str) -> None:
        self._settings = settings
        self._role = role
        self._nats = nats_servers(settings)
        self._subjects = Subjects(settings.nats.namespace)
        self._me = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}".replace(".", "-")
        self._worker: Worker | None = None
        self._router: Router | None = None
        self._roles = {name: Role.STARTING for name in ("router", "worker") if role in (name, "all")}

    def condition(self) -> Condition:
        """Its role is the router's, where it is one."""
        starting = [name for name, role in self._roles.items() if role is Role.STARTING]
        reasons = [Matter("starting", f"{name}: it connects, or waits for NATS") for name in starting]
        if self._router and (why := self._router.hindrance):
            reasons.append(Matter("blocked", f"DELIVERIES takes nothing, {why}; events wait"))
        worker = self._worker.standing if self._worker else {}
        return Condition(next(iter(self._roles.values())), tuple(reasons), parts=self._roles, details=worker)

    async def run(self, stop: asyncio.Event) -> None:
        """Raises Findings where the router needs a decision, and as connecting does."""
        async with event_bus(self._settings, "bridge run"):
            pass  # makes or refuses the streams once, before anybody works on them
        jobs: list[Coroutine[Any, Any, None]] = []
        if self._role != "worker":
            jobs.append(self._route(stop))
        if self._role != "router":
            jobs.append(self._work(stop))
        notify_ready()
        await _all_or_none(jobs)

    @contextmanager
    def _in_role(self, part: str) -> Iterator[Callable[[Role], None]]:
        """Gives what sets the part's role; without the connection it has none."""
        try:
            yield partial(self._roles.__setitem__, part)
        finally:
            self._roles[part] = Role.STARTING

    async def _route(self, stop: asyncio.Event) -> None:
        async def route(connection: Connection) -> None:
            with self._in_role("router") as enter:
                self._router = Router(connection, self._subjects, self._nats.lanes, self._me, on_role=enter)
                await self._router.run(stop)

        try:
            await reconnecting(self._nats, "bridge router", route, stop)
        except RouterStopped as reason:
            raise Findings(str(reason)) from None

    async def _work(self, stop: asyncio.Event) -> None:
        look_seldom()
        settings = self._settings
        worker = self._worker = Worker(
            self._subjects,
            WorkerSettings(
                self._me,
                self._nats.lanes,
                settings.streams.deliveries_deadline,
                KeeperSettings(settings.streams.events_keep, settings.streams.deliveries_keep),
                max(settings.shutdown_timeout - LEAVING_S, settings.shutdown_timeout / 2),
            ),
            secrets_keys=secret_keys(settings),
            egress=EgressPolicy(settings.egress),
        )
        worker.reads_rows_with(SourceRowReader(lambda: load_settings(self._settings.file).sources))

        async def work(connection: Connection) -> None:
            with self._in_role("worker") as enter:
                await worker.run(connection, stop, on_begun=partial(_begin, enter))

        try:
            await reconnecting(self._nats, "bridge worker", work, stop)
        finally:
            await worker.aclose()


def _begin(enter: Callable[[Role], None]) -> None:
    """The tenants in force are read, and no lane is taken yet."""
    look_seldom()
    enter(Role.WORKER)


async def _all_or_none(jobs: list[Coroutine[Any, Any, None]]) -> None:
    """Until all have ended; the first that fails ends the others."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()
