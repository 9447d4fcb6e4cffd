"""Becomes a server that ends with the process which asked for it.

Run as a script, `python -I -S server_launcher.py PARENT_PID DEATH_SIGNAL USER PROGRAM ARGUMENT…`, in a
session of its own. It replaces itself by PROGRAM, so that its pid is the server's. USER is `-`, or the
account to run as in place of root.

Imports nothing but the standard library: it runs without site-packages.
"""

import ctypes
import os
import pwd
import signal
import sys

# linux/prctl.h, linux/securebits.h and linux/capability.h
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2

_libc = ctypes.CDLL(None, use_errno=True)


class CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class CapabilityWord(ctypes.Structure):
    """Capabilities 0–31, or 32–63, as bit sets."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def main() -> None:
    parent, death_signal, user, *program = sys.argv[1:]
    if user != "-":
        leave_root(user)
    # After the change of user, which clears it. Cleared by nothing that follows: exec keeps it.
    check(_libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0))
    if os.getppid() != int(parent):
        sys.exit("the process that started this server is gone")
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    os.execv(program[0], program)  # noqa: S606  no shell is wanted


def leave_root(user: str) -> None:
    """Become `user`, keeping one right of root: to read and pass through folders that are private.

    PostgreSQL refuses to run as root, yet its files often are under /root (0700). The other way, opening
    those folders to everybody, would outlive us.
    """
    account = pwd.getpwnam(user)
    # Capabilities shall neither end with setuid nor be left out by access(), with which PostgreSQL looks
    # for its own programs. Where that is forbidden, those have to be where all may read.
    if _libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) != 0:
        check(_libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    keep_only_reading()


def keep_only_reading() -> None:
    """Drop every capability but one, which also survives exec.

    Containers often lack CAP_DAC_READ_SEARCH; there CAP_DAC_OVERRIDE, which includes it, is kept.
    """
    header = CapabilityHeader(CAPABILITY_VERSION_3, 0)
    words = (CapabilityWord * 2)()
    check(_libc.capget(ctypes.byref(header), words))
    has = words[0].permitted
    capability = next((c for c in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if has & 1 << c), None)
    kept = 0 if capability is None else 1 << capability
    check(_libc.capset(ctypes.byref(header), (CapabilityWord * 2)(CapabilityWord(kept, kept, kept))))
    if capability is not None:
        _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)  # may be forbidden too


def check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
