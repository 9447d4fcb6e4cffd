"""The database that every contender reads: one table, one publication, a slot for each of them."""

from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from bridge.demo.postgres_server import EmbeddedPostgres

PUBLICATION = "bench"


@dataclass(frozen=True, slots=True)
class Source:
    """dsn: the superuser's; end_lsn: where the workload's WAL ends, once it is written."""

    dsn: str
    changes: int
    end_lsn: str = ""

    async def create_slot(self, slot: str) -> None:
        await self._run("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)

    async def drop_slot(self, slot: str) -> None:
        """Drop it, so that it keeps no WAL for the others' sake; its reader must be gone."""
        await self._run(
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots"
            " WHERE slot_name = %s AND active",
            slot,
        )
        await self._run("SELECT pg_drop_replication_slot(%s)", slot)

    async def slot_is_read(self, slot: str) -> bool:
        row = await self._run("SELECT active FROM pg_replication_slots WHERE slot_name = %s", slot)
        return row is not None and bool(row[0])

    async def _run(self, statement: str, slot: str) -> tuple[object, ...] | None:
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            result = await connection.execute(statement, [slot])
            return await result.fetchone() if result.description else None


async def prepare(server: EmbeddedPostgres, changes: int) -> Source:
    """An empty table under its publication."""
    async with await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True) as connection:
        await connection.execute((Path(__file__).parent / "workload.sql").read_bytes())
        await connection.execute(
            sql.SQL("CREATE PUBLICATION {} FOR TABLE work_orders").format(sql.Identifier(PUBLICATION))
        )
    return Source(server.dsn(), changes)


async def write_workload(source: Source) -> Source:
    """All changes, committed one by one and flushed."""
    async with await psycopg.AsyncConnection.connect(source.dsn, autocommit=True) as connection:
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(sql.SQL("CALL change_work_orders({})").format(source.changes))
        await connection.execute("CHECKPOINT")
        row = await (await connection.execute("SELECT pg_current_wal_flush_lsn()::text")).fetchone()
    assert row is not None
    return Source(source.dsn, source.changes, row[0])
