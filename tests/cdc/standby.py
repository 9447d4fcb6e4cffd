"""A physical standby of an embedded PostgreSQL, to be promoted."""

import shutil
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from bridge.demo.postgres_server import EmbeddedPostgres
from tests.cdc.capturing import eventually
from tests.conftest import POSTGRES_SETTINGS

PHYSICAL_SLOT = "standby"


class Standby(EmbeddedPostgres):
    """A copy of `primary` that follows it through a physical slot and, from PostgreSQL 17 on, keeps its failover slots.

    `async with` makes the copy and starts it; the primary has to run.
    """

    def __init__(self, folder: Path, primary: EmbeddedPostgres, *, sync_slots: bool = True) -> None:
        self._primary = primary
        self._conninfo = make_conninfo(primary.dsn(), application_name=PHYSICAL_SLOT)
        super().__init__(
            folder,
            {
                **POSTGRES_SETTINGS,
                "primary_conninfo": self._conninfo,
                "primary_slot_name": PHYSICAL_SLOT,
                "hot_standby_feedback": "on",
                "sync_replication_slots": "on" if sync_slots else "off",
            },
        )

    async def _create_cluster(self, programs: Path, lock: int, user: str | None) -> None:
        shutil.copy(self._primary._folder / "password", self._folder / "password")
        unfinished = self._folder / "pgdata.new"
        unfinished.mkdir(0o700)
        if user is not None:
            shutil.chown(unfinished, user)
        options = [
            "--checkpoint=fast",
            "--no-sync",
            "--create-slot",
            f"--slot={PHYSICAL_SLOT}",
            "--write-recovery-conf",
        ]
        program = [str(programs / "pg_basebackup"), f"--dbname={self._conninfo}", f"--pgdata={unfinished}"]
        await self._server.launch([*program, *options], lock, user)
        await self._server.until_done()
        (unfinished / "postgresql.auto.conf").write_text("")  # ours are in the settings file
        unfinished.rename(self._pgdata)

    async def synced(self, slot: str) -> None:
        """Waits until the primary's slot would survive a promotion."""
        query = "SELECT synced AND NOT temporary FROM pg_replication_slots WHERE slot_name = %s"

        async def usable() -> bool:
            async with await AsyncConnection.connect(self._primary.dsn(), autocommit=True) as primary:
                # the standby keeps the slot only from a moment on at which it has all that the slot needs
                await primary.execute("SELECT pg_log_standby_snapshot()")
            async with await AsyncConnection.connect(self.dsn(), autocommit=True) as standby:
                row = await (await standby.execute(query, [slot])).fetchone()
            return row is not None and bool(row[0])

        await eventually(usable, bool, within=40)

    async def caught_up(self) -> None:
        """Waits until it has all that the primary has now."""
        async with await AsyncConnection.connect(self._primary.dsn(), autocommit=True) as primary:
            row = await (await primary.execute("SELECT pg_current_wal_flush_lsn()")).fetchone()
        assert row is not None

        async def received() -> bool:
            query = "SELECT pg_last_wal_replay_lsn() >= %s"
            async with await AsyncConnection.connect(self.dsn(), autocommit=True) as standby:
                found = await (await standby.execute(query, row)).fetchone()
            return found is not None and bool(found[0])

        await eventually(received, bool)

    async def promote(self) -> None:
        async with await AsyncConnection.connect(self.dsn(), autocommit=True) as standby:
            await standby.execute("SELECT pg_promote()")
