"""Saying that a process is ready, as systemd understands it (sd_notify(3)): `READY=1` to `$NOTIFY_SOCKET`.

So a unit of `Type=notify` works, and `bridge up` hears its children the same way.
"""

import asyncio
import os
import secrets
import socket
from types import TracebackType
from typing import Self

VARIABLE = "NOTIFY_SOCKET"
_READY = b"READY=1"


def notify_ready() -> None:
    """Tells whoever started us; nobody asking is no error. Never waits."""
    address = os.environ.get(VARIABLE)
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendto(_READY, address)
        except OSError:
            return  # who asked is gone: there is nobody to tell


class ReadyEar:
    """Hears one process: `ready` is set once it says so. `with ReadyEar() as ear: … env=ear.environment`.

    The socket's name is abstract (unix(7)): it leaves no file, and ends with us.
    """

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self._name = f"fracttal-bridge/{secrets.token_hex(12)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    @property
    def environment(self) -> dict[str, str]:
        return {VARIABLE: f"@{self._name}"}

    def __enter__(self) -> Self:
        self._socket.bind(f"\0{self._name}")
        asyncio.get_running_loop().add_reader(self._socket, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _heard(self) -> None:
        if _READY in self._socket.recv(4096).splitlines():
            self.ready.set()
