"""Child processes that are kept running: started together, restarted when they die, stopped in order.

A child ends with us, however we end (prctl(2), PR_SET_PDEATHSIG): it drains then as after a SIGTERM.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.demo.server_process import LAUNCHER
from bridge.process_output import ProcessOutput
from bridge.readiness import ReadyEar

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
DECISION_DELAY_S = 60.0
HEALTHY_AFTER_S = 60.0
_NEEDS_DECISION = 1
_REFUSED_AT_START = (2, 3)
_LINE_LIMIT = 2**20


def restart_delay(failures: int) -> float:
    """Seconds until a child is started again that ended for the `failures`-th time in a row."""
    return float(min(FIRST_DELAY_S * 2 ** min(failures - 1, 10), MAX_DELAY_S))


@dataclass(frozen=True, slots=True)
class Program:
    """A child to keep: its name for people, its command line.

    decides: its exit 1 means that it cannot go on without a decision, and it is started again only now and then.
    """

    name: str
    command: tuple[str, ...]
    decides: bool = False


class StartRefused(Exception):
    """A child refused to start, with invalid configuration (2) or an unreachable server (3), and said why."""

    def __init__(self, program: Program, status: int) -> None:
        super().__init__(f"{program.name} refused to start (exit {status}); it says why above")
        self.status = status


class Child:
    """One program, kept running until it is stopped."""

    def __init__(self, program: Program, output: ProcessOutput) -> None:
        self.program = program
        self.settled = asyncio.Event()
        """It is ready for the first time, or stands because it needs a decision."""
        self.ready = False
        self._output = output
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """While it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def keep(self) -> None:
        """Runs it, again and again. Raises StartRefused before it was ready for the first time."""
        failures = 0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            status = await self.run_once()
            if self._stopping.is_set():
                return
            if not self.settled.is_set() and status in _REFUSED_AT_START:
                raise StartRefused(self.program, status)
            failures = 1 if loop.time() - began > HEALTHY_AFTER_S else failures + 1
            await self._pause(status, failures)

    async def run_once(self) -> int:
        """Runs it to its end; its exit status (negative: the signal)."""
        with ReadyEar() as ear:
            self._process = process = await self._spawn(ear)
            hearing = asyncio.ensure_future(self._until_ready(ear))
            try:
                await self._forward(process)
                return await process.wait()
            finally:
                hearing.cancel()

    async def stop(self, within: float) -> None:
        """SIGTERM, and after `within` seconds SIGKILL; returns when it is gone."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        _signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), max(within, 0.0))
        except TimeoutError:
            self._output.say(
                self.program.name, "is not done in time and is killed; what it did is done again"
            )
            _signal(process, signal.SIGKILL)
            await process.wait()

    async def _spawn(self, ear: ReadyEar) -> asyncio.subprocess.Process:
        environment = {**os.environ, **ear.environment, "BRIDGE_LOG_FORMAT": self._output.format}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(signal.SIGTERM)), "-"),
            *self.program.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**environment, "BRIDGE_PROCESS": self.program.name},
            start_new_session=True,
            limit=_LINE_LIMIT,
        )

    async def _until_ready(self, ear: ReadyEar) -> None:
        await ear.ready.wait()
        self.ready = True
        self.settled.set()

    async def _forward(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None, "a pipe was asked for"
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than the limit: what was read of it is gone
                continue
            if not line:
                return
            self._output.say(self.program.name, line.decode(errors="replace").rstrip())

    async def _pause(self, status: int, failures: int) -> None:
        self.ready = False
        stands = status == _NEEDS_DECISION and self.program.decides
        needs = " and needs a decision (it says which above)" if stands else ""
        delay = DECISION_DELAY_S if stands else restart_delay(failures)
        self._output.say(
            self.program.name, f"ended with {_status_text(status)}{needs}; starting again in {delay:g} s"
        )
        if stands:
            self.settled.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _status_text(status: int) -> str:
    return f"exit {status}" if status >= 0 else signal.Signals(-status).name


class Supervisor:
    """Keeps programs running, each on its own; stops them stage by stage."""

    def __init__(self, stages: Sequence[Sequence[Program]], output: ProcessOutput) -> None:
        """`stages`: in the order in which they are stopped."""
        self.stages = [[Child(each, output) for each in stage] for stage in stages]

    @property
    def children(self) -> list[Child]:
        return [child for stage in self.stages for child in stage]

    async def run(self, stop: asyncio.Event, within: float) -> None:
        """Until `stop` is set; then every child has ended, after `within` seconds killed.

        Raises StartRefused, when every other child has been stopped.
        """
        if stop.is_set():
            return
        keepers = [asyncio.ensure_future(child.keep()) for child in self.children]
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((stopping, *keepers), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await self._stop(within)
            ended = await asyncio.gather(*keepers, return_exceptions=True)
        for failure in ended:
            if isinstance(failure, BaseException):
                raise failure

    async def settled(self) -> list[Child]:
        """Waits until each child is ready or stands because it needs a decision; those that stand."""
        await asyncio.gather(*(child.settled.wait() for child in self.children))
        return [child for child in self.children if not child.ready]

    async def _stop(self, within: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        for stage in self.stages:
            await asyncio.gather(*(child.stop(deadline - loop.time()) for child in stage))
