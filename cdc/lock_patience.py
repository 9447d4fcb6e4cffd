"""Running one of setup's statements where others hold locks: bounded waiting, and who is waited for."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection

_LOOK_EVERY_S = 0.25
_BLOCKING = """
SELECT b.pid, a.usename::text, a.application_name::text, a.xact_start, a.query_start, a.state::text,
       substring(a.query FROM '^\\s*(\\w+(?:\\s+\\w+)?)') AS begins
  FROM unnest(pg_catalog.pg_blocking_pids(%s)) AS b(pid) LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
"""
_PREPARED = 0
"""How pg_blocking_pids names a prepared transaction."""

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """tries: how often in all; pause_s: after the first, then twice as long; the timeouts: of a statement, as SET takes them."""

    tries: int = 5
    pause_s: float = 1.0
    lock_timeout: str = "5s"
    slot_lock_timeout: str = "30s"


class LockHeld(Exception):
    """Somebody held a lock until the last try; the message names them."""


async def patiently(
    connection: AsyncConnection[Any],
    watcher: AsyncConnection[Any],
    run: Callable[[], Awaitable[T]],
    what: str,
    patience: Patience,
) -> T:
    """What `run` gives, tried again while a lock keeps it from it. Raises LockHeld, and what `run` raises."""
    attempt = 0
    while True:
        attempt += 1
        holders = _Holders(watcher, connection.info.backend_pid)
        watching = asyncio.ensure_future(holders.watch())
        try:
            return await run()
        except psycopg.errors.LockNotAvailable:
            held = f"{what} waits for a lock that is held by {holders.text}"
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if attempt == patience.tries:
            raise LockHeld(f"{held}; given up after {attempt} tries")
        log.warning("trying again", because=held, attempt=attempt, of=patience.tries)
        await asyncio.sleep(patience.pause_s * 2 ** (attempt - 1))


class _Holders:
    """Who stands before a session, as last seen: once the wait is over, nobody can tell any more."""

    def __init__(self, watcher: AsyncConnection[Any], pid: int) -> None:
        self._watcher = watcher
        self._pid = pid
        self.text = "a transaction that could not be seen (pg_locks, pg_stat_activity)"

    async def watch(self) -> None:
        while True:
            cursor = await self._watcher.execute(_BLOCKING, [self._pid])
            if rows := await cursor.fetchall():
                self.text = ", and by ".join(_holder(row) for row in rows)
            await asyncio.sleep(_LOOK_EVERY_S)


def _holder(row: Sequence[Any]) -> str:
    """One holder in words; of its query only the first two, which hold no value."""
    pid, role, application, begun, query_start, state, begins = row
    if pid == _PREPARED:
        return "a prepared transaction (pg_prepared_xacts: COMMIT PREPARED or ROLLBACK PREPARED ends it)"
    since = f", transaction begun {begun:%F %T%z}" if begun else ""
    query = f", {state}, query since {query_start:%F %T%z}: {begins} …" if query_start and begins else ""
    return f"process {pid} (role {role}, application {application!r}{since}{query})"
