"""What a process that runs tenants' text may not do, and how much it may take. Called in that process alone.

Once locked in, it opens nothing, starts nothing, writes to no file and ends with whoever started it. Python's own
signal handler stops what is still evaluated by the interpreter, and can name the expression; the kernel's default action
on the second timer ends what is not.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.mapping.errors import limit_passed

MEMORY = 768 * 2**20
"""Bytes of data: interpreter, compiled mappings, and the largest event that may come."""
HARD, HARD_S = 1.3, 0.05
"""What a task may take at most, by its seconds of CPU: then the kernel ends the process."""
AGAIN_S = 0.02
"""A mapping can catch the first refusal (`… | int(0)`), not all of them."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def end_with(parent: int) -> None:
    """Has this process killed when its parent ends, however that ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def lock_in(connection: int) -> None:
    """From here on the process has this one file open, and can open none."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):
        # where memory runs out, this one goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    _close_all_but(connection)
    _limit(resource.RLIMIT_CORE, 0)  # would hold rows of a tenant
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    _limit(resource.RLIMIT_NOFILE, 0)
    _limit(resource.RLIMIT_DATA, MEMORY)


def _close_all_but(connection: int) -> None:
    """What the parent had open may have come along; a terminal would believe what is written to it."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for file in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 — numbers, no paths
        if file > 2 and file != connection:
            with contextlib.suppress(OSError):
                os.close(file)


def _limit(what: int, most: int) -> None:
    resource.setrlimit(what, (most, most))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        sys.exit(f"prctl({option}): {os.strerror(ctypes.get_errno())}")


class CpuLimit:
    """How long one task may compute."""

    def __init__(self) -> None:
        self._armed = False
        self.passed = False
        """Whether it was, since somebody last said that it was not."""
        signal.signal(signal.SIGVTALRM, self._refuse)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)

    @contextmanager
    def of(self, seconds: float) -> Iterator[None]:
        """Inside, EvaluationError of class `limit` is raised once they are used up."""
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN_S)
        signal.setitimer(signal.ITIMER_PROF, HARD * seconds + HARD_S)
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    def _refuse(self, _number: int, _frame: object) -> None:
        if self._armed:
            self.passed = True
            raise limit_passed("more computing than one event may cost")
