"""The connection that reads a slot: psycopg's libpq in COPY BOTH mode (PostgreSQL documentation, 54.4).

No reconnecting: a lost connection is `SourceLost`, and whoever holds it begins again (rule C2).
"""

import asyncio
import contextlib
from time import time
from typing import NamedTuple, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from cdc.replication_frames import status_update
from cdc.source_dsn import replication
from cdc.source_errors import (
    OPTION_REFUSED,
    CaptureStopped,
    SourceLost,
    first_line,
    source_errors,
    stream_error,
)
from cdc.sql_names import quoted
from cdc.wal2json import NUMBERS_AS_TEXT
from cdc.wal2json import OPTIONS as WAL2JSON_OPTIONS
from eventbus.lsn import parse_lsn

SLICE = 1 << 16
"""Bytes that one `read` takes at most, give or take a message: 2 ms of work, for which the event loop waits."""
_PARTING = 2.0


class ServerIdentity(NamedTuple):
    """IDENTIFY_SYSTEM's answer."""

    system_id: str
    timeline: int
    database: str


class ReplicationConnection:
    """One session with a walsender: `open`, `start`, then `read` and `confirm` until `close`."""

    def __init__(self, connection: AsyncConnection[tuple[str, ...]]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._over = False

    @classmethod
    async def open(cls, dsn: str) -> Self:
        """Raises SourceLost (`refused`), DsnInvalid."""
        conninfo = replication(dsn)
        try:
            connection = await AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=None)
        except psycopg.OperationalError as error:
            raise SourceLost(f"PostgreSQL: {first_line(str(error))}", refused=True) from None
        return cls(connection)

    @property
    def backend_pid(self) -> int:
        """The walsender's process, as pg_replication_slots.active_pid names it."""
        return self._pgconn.backend_pid

    async def identify(self) -> ServerIdentity:
        with source_errors("IDENTIFY_SYSTEM"):
            cursor = await self._connection.execute("IDENTIFY_SYSTEM")
            row = await cursor.fetchone()
        assert row is not None
        return ServerIdentity(str(row[0]), int(row[1]), str(row[3]))

    async def timeline_history(self, timeline: int) -> str:
        """The history file: for each earlier timeline a line of its number, the LSN where it was left, a reason."""
        if timeline == 1:
            return ""
        with source_errors("TIMELINE_HISTORY"):
            cursor = await self._connection.execute(f"TIMELINE_HISTORY {timeline}".encode())
        # the server declares bytea and sends the file as it is
        result = cursor.pgresult
        assert result is not None
        return (result.get_value(0, 1) or b"").decode()

    async def wal_sender_timeout(self) -> float:
        """In seconds, for this session; 0.0 where it is switched off."""
        with source_errors("pg_settings"):
            cursor = await self._connection.execute(
                "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'"
            )
            row = await cursor.fetchone()
        assert row is not None
        return int(row[0]) / 1000

    async def start(self, slot: str, publication: str, *, streaming: bool) -> None:
        """Takes the slot, from where it is confirmed. Raises SlotBusy, SlotRefused, CaptureStopped, SourceLost.

        streaming: large transactions are sent before they commit (protocol version 2).
        """
        # a name in a list in a literal: quoted as identifier, then as literal; parameters are not possible here
        names = quoted(publication).replace("'", "''")
        protocol = "proto_version '2', streaming 'on'" if streaming else "proto_version '1'"
        await self._start(slot, f"{protocol}, publication_names '{names}', messages 'true'")

    async def start_wal2json(self, slot: str) -> None:
        """The same for a slot of that plugin, which knows no publications."""
        options = ", ".join(f"\"{name}\" '{value}'" for name, value in WAL2JSON_OPTIONS.items())
        try:
            await self._start(slot, f"{options}, \"{NUMBERS_AS_TEXT}\" 'true'")
        except CaptureStopped as stopped:
            if stopped.stop.code != OPTION_REFUSED:
                raise
            await self._start(slot, options)  # before 2.6

    async def _start(self, slot: str, options: str) -> None:
        command = f"START_REPLICATION SLOT {quoted(slot)} LOGICAL 0/0 ({options})"
        with source_errors("START_REPLICATION"):
            self._pgconn.send_query(command.encode())
            self._pgconn.flush()  # a fresh socket takes so little at once
            result = await self._result()
            if result is None or result.status != ExecStatus.COPY_BOTH:
                while await self._result() is not None:
                    pass  # so that another command may follow
                raise self._error(result)

    async def read(self) -> list[bytes]:
        """The next CopyData messages, at least one, at most about SLICE bytes. Raises SourceLost, SlotRefused."""
        with source_errors("reading the slot"):
            while not (messages := self._drain()):
                if self._over:
                    raise self._error(await self._result())
                await self._readable()
        return messages

    def _drain(self) -> list[bytes]:
        get, messages, size, dry = self._pgconn.get_copy_data, [], 0, False
        while size < SLICE and not self._over:
            count, data = get(1)
            if count > 0:
                messages.append(bytes(data))
                size += count
                dry = False
            elif count < 0:
                self._over = True
            elif dry:
                break
            else:
                self._pgconn.consume_input()
                dry = True
        return messages

    async def hear_last_words(self) -> None:
        """Raises what ended the stream, as `read` does; returns where it goes on, after some of it was thrown away."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PARTING):
                while True:
                    await self.read()

    def confirm(self, lsn: int) -> None:
        """Tells the server what it may let go; 0 is only a sign of life. Raises SourceLost."""
        if self._over:
            return
        with source_errors("confirming"):
            self._pgconn.put_copy_data(status_update(lsn, time()))
            self._pgconn.flush()

    async def leave(self) -> None:
        """Ends the stream so that the server has read the last confirmation."""
        try:
            async with asyncio.timeout(_PARTING):
                with source_errors("leaving"):
                    self._pgconn.put_copy_end()
                    self._pgconn.flush()
                    while not self._over:
                        await self.read()
        except (TimeoutError, SourceLost):
            pass  # it is confirmed at the next start

    async def close(self) -> None:
        await self._connection.close()

    def _error(self, result: object) -> Exception:
        if isinstance(result, psycopg.pq.PGresult) and result.error_message:
            state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
            return stream_error(state.decode() if state else None, result.get_error_message())
        return SourceLost("PostgreSQL closed the stream without an error: it was shut down or restarted")

    async def _result(self) -> PGresult | None:
        # libpq would wait for the rest of it by itself, and everything here with it
        while self._pgconn.is_busy():
            await self._readable()
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    async def _readable(self) -> None:
        loop, socket = asyncio.get_running_loop(), self._pgconn.socket
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(socket, _set, ready)
        try:
            await ready
        finally:
            loop.remove_reader(socket)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def timeline_switches(history: str) -> dict[int, int]:
    """A history file as timeline → LSN where it was left."""
    lines = (line.split() for line in history.splitlines())
    return {int(words[0]): parse_lsn(words[1]) for words in lines if len(words) >= 2 and words[0].isdigit()}
