"""One rendering child, as its parent sees it: started, given orders, heard, and killed."""

import asyncio
import contextlib
import os
import socket
import sys
import time
from typing import Protocol, cast

from pipeline.jail.board import Board, board_file
from pipeline.jail.frames import Answer, FrameInvalid, Frames, Hello, Order, frame, read_answer

START_S = 20.0
"""A start takes a tenth of a second; on a machine that is overloaded, longer."""


class StartFailed(Exception):
    """The child did not come up: says what it said."""


class Listener(Protocol):
    """Who started the child."""

    def answered(self, child: "RenderProcess", answer: Answer) -> None: ...

    def ended(self, child: "RenderProcess") -> None:
        """It is gone, or says what is no answer and has been killed; `died_of` is known."""
        ...


class RenderProcess(asyncio.Protocol):
    """Of one event loop. Orders given in one turn of it go out together."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._hello: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process: asyncio.subprocess.Process
        self._reaping: asyncio.Task[None] | None = None
        self._board: Board
        self.misspoke = False
        self.died_of: int | None = None
        """A signal's number, or -1 - its exit code; None: it lives, as far as we know."""

    @classmethod
    async def start(cls, listener: Listener, nice: int = 0) -> "RenderProcess":
        """Raises StartFailed, OSError."""
        child = cls(listener)
        ours, theirs = socket.socketpair()
        board = board_file()
        try:
            child._board = Board(board)
            child._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "pipeline.jail.child"),
                *map(str, (theirs.fileno(), board, os.getpid(), nice)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                env={},
                cwd="/",
                pass_fds=(theirs.fileno(), board),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(board)
        await child._connect(ours)
        return child

    async def _connect(self, ours: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: self, sock=ours)
            async with asyncio.timeout(START_S):
                await self._hello
        except BaseException as error:
            self._listener = _Nobody()
            self.kill()
            await self._process.wait()
            if isinstance(error, TimeoutError):
                raise StartFailed(f"the renderer did not come up within {START_S:g} s") from None
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def at(self) -> int:
        """The task that it is about; 0: none."""
        return self._board.at

    def cpu(self) -> float:
        """Seconds of CPU that it has taken so far."""
        # the clock of another process: clock_getcpuclockid(3)
        with contextlib.suppress(OSError):
            return time.clock_gettime(~self._process.pid << 3 | 2)
        return 0.0

    def skip(self, upto: int) -> None:
        """Tasks with numbers up to this one need no answer any more."""
        self._board.skip = upto

    def give(self, order: Order) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(frame(order))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(waiting))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def aclose(self) -> None:
        """Kills it, and waits until it is gone."""
        self._listener = _Nobody()
        self.kill()
        await self._process.wait()
        if self._transport is not None:
            self._transport.close()
        if self._reaping is not None:
            await self._reaping

    # ── asyncio.Protocol ─────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                said = read_answer(body)
                if not isinstance(said, Hello):
                    self._listener.answered(self, said)
                elif not self._hello.done():
                    self._hello.set_result(None)
        except FrameInvalid:
            self.misspoke = True
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — asyncio's signature
        self._reaping = asyncio.ensure_future(self._reap())

    async def _reap(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._process.wait()
        self.kill()
        code = await self._process.wait()
        self.died_of = -code if code < 0 else -1 - code
        if not self._hello.done():
            self._hello.set_exception(StartFailed(f"the renderer ended at its start, with {code}"))
            self._hello.exception()
            return
        self._listener.ended(self)


class _Nobody:
    def answered(self, child: RenderProcess, answer: Answer) -> None:
        pass

    def ended(self, child: RenderProcess) -> None:
        pass
