"""`bridge up`: capture, routing and delivery of one bridge.yaml on one machine."""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import click

from bridge.children_watch import ChildrenWatch
from bridge.cli.context import config_option
from bridge.cli.errors import CommandError, Findings, Unreachable, Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.listening import endpoints, listen_option
from bridge.cli.running import run_service
from bridge.cli.tenant_apply import change_text, refusal_text, unset_secrets
from bridge.cli.whoever_asks import whoever_asks
from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.server_process import ServerFailed
from bridge.listen import Listen
from bridge.process_output import ProcessOutput
from bridge.readiness import notify_ready
from bridge.secret_keys import secret_keys
from bridge.settings import Settings, load_settings
from bridge.shipped_files import shipped
from bridge.supervisor import Child, Program, StartRefused, Supervisor, restart_delay
from eventbus.condition import Condition, Matter, Role
from eventbus.subjects import Subjects
from pipeline.jail.renderer import Renderer
from pipeline.problems import ConfigurationInvalid
from pipeline.secrets import SecretStore
from pipeline.tenants.apply import Change, Manner
from pipeline.tenants.folder import FolderRead, load_tenants
from pipeline.tenants.folder_apply import apply_folder
from pipeline.tenants.version import Written

_SELF = "up"
_NATS = "nats-server"
_LEAVING_S = 5.0
"""What is left, after the children's shutdown_timeout, to stop our own nats-server."""


@click.command()
@config_option
@listen_option
@click.option("--setup", is_flag=True, help="Run `bridge cdc setup` for every source first.")
def up(config: Path, listen: Listen | None, *, setup: bool) -> None:
    """Run capture, router and worker as child processes, restarted when they die; also nats-server, if embedded.

    Also the console, where bridge.yaml has `intake`. At the start the tenants folder is applied, as `bridge tenant apply` does. Ctrl-C stops everything in order.
    With --listen each child serves its own endpoints, at the ports after ours.
    """
    settings = load_settings(config, with_intake=True)
    bridge = _Bridge(settings, listen or settings.listen, setup=setup)
    beside = endpoints(settings, listen, bridge.condition)
    run_service(bridge.run, settings.shutdown_timeout + _LEAVING_S, beside=beside)


class _Bridge:
    """One bridge.yaml, running."""

    def __init__(self, settings: Settings, listen: Listen | None, *, setup: bool) -> None:
        self._settings = settings
        self._listen = listen
        self._setup = setup
        stages = _stages(settings, listen)
        names = (_SELF, *(program.name for stage in stages for program in stage), _NATS)
        self._output = ProcessOutput(names)
        self._supervisor = Supervisor(stages, self._output)
        children = [program.name for stage in stages for program in stage]
        places = {name: listen.after(number) for number, name in enumerate(children, 1)} if listen else {}
        self._children = ChildrenWatch(places)

    def condition(self) -> Condition:
        """Ready while every child is."""
        return Condition(
            Role.SUPERVISOR,
            tuple(reason for child in self._supervisor.children for reason in self._reasons(child)),
        )

    def _reasons(self, child: Child) -> tuple[Matter, ...]:
        name = child.program.name
        if not child.ready:
            return (Matter("child_not_ready", f"{name} is not ready; its own log says why"),)
        return self._children.reasons(name)

    async def run(self, stop: asyncio.Event) -> None:
        """Raises CommandError and what its steps raise, with nothing left running."""
        self._say_addresses()
        async with self._nats():
            secret_keys(self._settings)  # an embedded server's is made here, before its first reader
            await self._apply_tenants()
            if self._setup:
                await self._set_up_sources()
            announcing = asyncio.ensure_future(self._announce())
            asking = asyncio.ensure_future(self._children.run())
            try:
                await self._supervisor.run(stop, self._settings.shutdown_timeout)
            except StartRefused as refusal:
                raise _as_command_error(refusal) from None
            finally:
                announcing.cancel()
                asking.cancel()

    def _say_addresses(self) -> None:
        if self._listen is not None:
            names = [_SELF, *(child.program.name for child in self._supervisor.children)]
            places = (f"{name} at {self._listen.after(number)}" for number, name in enumerate(names))
            self._say(f"/metrics, /healthz and /readyz: {', '.join(places)}")

    def _say(self, line: str) -> None:
        for part in line.split("\n"):
            self._output.say(_SELF, part)

    @contextlib.asynccontextmanager
    async def _nats(self) -> AsyncIterator[None]:
        if self._settings.embedded is None:
            yield
            return
        async with EmbeddedNats(self._settings.embedded) as server:
            self._say(f"nats-server listens at {server.url}, its data is in {self._settings.embedded}")
            keeping = asyncio.ensure_future(self._keep(server))
            try:
                yield
            finally:
                keeping.cancel()
                await asyncio.wait((keeping,))

    async def _keep(self, server: EmbeddedNats) -> None:
        failures = 0
        while True:
            status = await server.wait()
            failures += 1
            delay = restart_delay(failures)
            self._output.say(_NATS, f"ended ({status}); starting again in {delay:g} s")
            await asyncio.sleep(delay)
            try:
                await server.start()
            except ServerFailed as error:
                self._output.say(_NATS, str(error))
            else:
                failures = 0

    async def _apply_tenants(self) -> None:
        settings = self._settings
        if not settings.tenants.is_dir():
            self._say(
                f"there is no folder {settings.tenants}: nothing is delivered until `bridge tenant apply`"
            )
        read = await _tenants(settings.tenants) if settings.tenants.is_dir() else None
        if read and read.problems:
            raise ConfigurationInvalid(read.problems)
        async with event_bus(settings, "bridge up") as jetstream:
            if read:
                subjects = Subjects(settings.nats.namespace)
                self._say_changes(
                    await apply_folder(
                        *(jetstream, subjects, settings.tenants, read),
                        manner=Manner(Written(whoever_asks())),
                        certain=False,
                    )
                )
                for line in await unset_secrets(SecretStore(jetstream, subjects, keys=()), read):
                    self._say(line)

    def _say_changes(self, changes: list[Change]) -> None:
        """A tenant that was changed elsewhere is delivered as it is in force: nothing else has to wait for that."""
        mistakes = [change for change in changes if change.refusal and change.refusal.mistake]
        if mistakes:
            raise Usage("\n".join(map(refusal_text, mistakes)))
        for change in changes:
            if change.refusal is not None:
                self._say(f"tenant not applied: {refusal_text(change)}")
            elif change.lines:
                self._say(f"tenant {change_text(change)}")

    async def _set_up_sources(self) -> None:
        for source in self._settings.sources:
            program = Program(f"setup {source}", _command(self._settings, "cdc", "setup", "--source", source))
            status = await Child(program, self._output).run_once()
            if status:
                raise _by_status(
                    status, f"`bridge cdc setup --source {source}` did not succeed; it says why above"
                )

    async def _announce(self) -> None:
        standing = await self._supervisor.settled()
        names = ", ".join(child.program.name for child in self._supervisor.children if child not in standing)
        self._say(f"ready: {names}; Ctrl-C stops")
        for child in standing:
            self._say(f"but {child.program.name} stands: it needs a decision, and says which above")
        notify_ready()


async def _tenants(folder: Path) -> FolderRead:
    async with aclosing(Renderer()) as renderer:
        return await load_tenants(folder, shipped("templates"), renderer)


def _stages(settings: Settings, listen: Listen | None) -> list[list[Program]]:
    """In the order in which they are stopped, and in which they get the ports after ours. Raises Usage."""
    number = itertools.count(1)

    def command(*words: str) -> tuple[str, ...]:
        return _command(settings, *words, *_listens(listen, next(number)))

    captures = [
        Program(f"capture {source}", command("cdc", "start", "--source", source), decides=True)
        for source in settings.sources
    ]
    router = Program("router", command("run", "--role", "router"), decides=True)
    worker = Program("worker", command("run", "--role", "worker"))
    stages = [captures, [router], [worker]]
    if settings.intake:
        stages.append([Program("console", command("console"))])
    return stages


def _listens(listen: Listen | None, number: int) -> tuple[str, ...]:
    """The option for the child of that number."""
    if listen is None:
        return ()
    try:
        return "--listen", str(listen.after(number))
    except ValueError as error:
        raise Usage(f"the children of `bridge up` listen at the ports after {listen}: {error}") from None


def _command(settings: Settings, *words: str) -> tuple[str, ...]:
    # -P: a folder named `bridge` where we were started is not what we mean
    return (sys.executable, "-P", "-m", "bridge", *words, "--config", str(settings.file))


def _as_command_error(refusal: StartRefused) -> CommandError:
    return _by_status(refusal.status, str(refusal))


def _by_status(status: int, message: str) -> CommandError:
    return {2: Usage, 3: Unreachable}.get(status, Findings)(message)
