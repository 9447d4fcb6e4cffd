"""A server as a child process: one per data folder, ended with its parent, found and stopped by its pid.

The folder's lock is held by the server itself (it inherits the open file), so it is free exactly when the
server and all its children are gone, however they ended, and a restart never meets a half-dead one.
"""

import asyncio
import contextlib
import fcntl
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

LAUNCHER = Path(__file__).with_name("server_launcher.py")
POLL_S = 0.02
START_DEADLINE_S = 30.0
LOCK_DEADLINE_S = 30.0
LOG_TAIL_BYTES = 2_000


class ServerFailed(Exception):
    """A server could not be started. The message is for the user and holds the end of the server's log."""


class PortTaken(ServerFailed):
    """Somebody else listens on the chosen port."""


class ServerProcess:
    """The process of one server over one data folder; started as often as wanted, one at a time.

    Args:
        folder: holds the lock (`lock`) and the log (`<name>.log`); made if absent.
        name: what messages call the server.
        death_signal: what the kernel sends it when we are gone.
    """

    def __init__(self, folder: Path, name: str, death_signal: signal.Signals) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / f"{name}.log"
        self._name = name
        self._death_signal = death_signal
        self._process: asyncio.subprocess.Process | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self._name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[int]:
        """The folder's lock, as an open file for `launch`; waits until no server of this folder lives.

        Raises:
            ServerFailed: another server kept it for LOCK_DEADLINE_S.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_DEADLINE_S
        try:
            while not _try_lock(file):
                if time.monotonic() > deadline:
                    raise ServerFailed(
                        f"another {self._name} is running in {self.folder}: stop it, or choose another folder"
                    )
                await asyncio.sleep(POLL_S)
            yield file
        finally:
            os.close(file)

    async def launch(self, program: Sequence[str], lock: int, user: str | None = None) -> None:
        """Start `program` in a session of its own (a terminal's Ctrl-C does not reach it)."""
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LAUNCHER)),
                *(str(os.getpid()), str(int(self._death_signal)), user or "-", *program),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=clean_environment(),
                start_new_session=True,
                pass_fds=(lock,),
            )

    async def until_ready(self, is_ready: Callable[[], bool]) -> None:
        """Wait until the server says that it serves; end it where it does not.

        Raises:
            PortTaken, ServerFailed: it ended, or was not ready within START_DEADLINE_S.
        """
        deadline = time.monotonic() + START_DEADLINE_S
        try:
            while not is_ready():
                if not self.running:
                    raise self._start_failure("ended at once")
                if time.monotonic() > deadline:
                    raise self._start_failure(f"was not ready after {START_DEADLINE_S:.0f} s")
                await asyncio.sleep(POLL_S)
        except BaseException:
            await self.end(signal.SIGKILL)
            raise

    async def until_done(self) -> None:
        """Wait until a launched program that prepares the folder ends; end it where we are interrupted.

        Raises:
            ServerFailed: it failed.
        """
        try:
            status = await self.wait()
        except BaseException:
            await self.end(signal.SIGKILL)
            raise
        if status != 0:
            raise self._start_failure(f"could not be prepared (exit status {status})")

    async def end(self, how: signal.Signals, timeout_s: float = 30.0) -> None:
        """Send `how` and wait for the end; SIGKILL after `timeout_s`. Nothing to do is no error."""
        if self._process is None:
            return
        self._signal(how)
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()

    async def wait(self) -> int:
        """Wait until the server ends by itself or by others; its exit status."""
        if self._process is None:
            raise RuntimeError(f"{self._name} was not started")
        return await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _start_failure(self, what: str) -> ServerFailed:
        with self.log.open("rb") as log:
            log.seek(max(self._log_start, self.log.stat().st_size - LOG_TAIL_BYTES))
            tail = log.read().decode(errors="replace").strip()
        kind = PortTaken if "address already in use" in tail.lower() else ServerFailed
        return kind(f"{self._name} in {self.folder} {what}; the end of {self.log}:\n{tail}")


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, below the range that outgoing connections take.

    A client that keeps dialling a dead server's port from that range can end up connected to itself, and
    then the server cannot come back.
    """
    for port in random.sample(range(20_000, 32_000), 1_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerFailed("no free port between 20000 and 32000 on 127.0.0.1")


def clean_environment() -> dict[str, str]:
    """What a server gets: nothing of ours (PGPORT and its like would change what it does)."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
