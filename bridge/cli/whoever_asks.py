"""Who runs a command, as records of it say."""

import getpass
import os
import socket


def whoever_asks() -> str:
    """`user@host`."""
    return f"{_user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not be in /etc/passwd
        return f"uid {os.getuid()}"
