"""Whose fault it is that a rendering child ended. Pure."""

import signal
from enum import Enum, auto


class Blame(Enum):
    TENANT = auto()  # its text took more computing than it may
    UNSURE = auto()  # it crashed: again, and apart, tells whether the text does it
    NOBODY = auto()  # somebody outside killed it, or it went by itself

    @classmethod
    def of(cls, died_of: int, *, misspoke: bool) -> "Blame":
        """died_of: the signal, or -1 - its exit code; misspoke: it was killed for saying what is no answer."""
        if died_of == signal.SIGPROF:
            return cls.TENANT
        if misspoke or died_of < -1 or died_of in _CRASHES:
            return cls.UNSURE
        return cls.NOBODY


_CRASHES = frozenset({
    signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGXFSZ
})  # fmt: skip
