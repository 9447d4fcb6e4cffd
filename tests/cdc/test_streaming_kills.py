"""`bridge cdc start` killed while transactions wait in its spool, are replayed, or are given up."""

import asyncio
import random
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from eventbus.settings import NatsSettings
from tests.cdc.bridge_processes import Bridge, bridges, owned
from tests.cdc.capturing import Source, assert_gap_free

KILLS = 12


class LargeTransactions:
    """One session's: large ones with savepoints, of which some are rolled back, and small ones in between."""

    def __init__(self, number: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._next = number * 10_000_000

    async def run(self, source: Source) -> None:
        async with await psycopg.AsyncConnection.connect(source.dsn, autocommit=True) as session:
            while True:
                await asyncio.sleep(0.1)
                async with session.transaction(force_rollback=self._random.random() < 0.2):
                    for _ in range(self._random.choice((0, 0, 3, 6))):
                        async with session.transaction(force_rollback=self._random.random() < 0.4):
                            await self._insert(session, self._random.choice((1, 50, 500)))
                        await asyncio.sleep(self._random.choice((0, 0.05)))
                    await self._insert(session, 1)

    async def _insert(self, session: psycopg.AsyncConnection[Any], rows: int) -> None:
        first = self._next
        self._next += rows
        await session.execute(
            "INSERT INTO orders SELECT i, i %% 7, 'bulk', i / 3.0 FROM generate_series(%s::int, %s::int) i",
            [first, first + rows - 1],
        )
        if self._random.random() < 0.3:
            move = "UPDATE orders SET company = (company + 1) %% 7, changed = changed + 1 WHERE id = %s"
            await session.execute(move, [first])


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_kills_while_large_transactions_are_open(
    own_postgres: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str, tmp_path: Path
) -> None:
    source = Source(own_postgres.dsn(), NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await source.create()
    await source.sql("ALTER DATABASE postgres SET logical_decoding_work_mem = '64kB'")
    chance = random.Random()
    async with bridges(source, tmp_path) as both:
        for bridge in both:
            await bridge.start()
        working = [asyncio.create_task(LargeTransactions(n, seed=n).run(source)) for n in range(2)]
        by_name: dict[str, Bridge] = {bridge.name: bridge for bridge in both}
        for _ in range(KILLS):
            reading = by_name[await owned(source, both)]
            await asyncio.sleep(chance.uniform(0.1, 1.5))  # a random moment of its work
            await reading.kill()
            await reading.start()
        for task in working:
            task.cancel()
        ended = await asyncio.gather(*working, return_exceptions=True)
        assert {type(end) for end in ended} == {asyncio.CancelledError}
        await source.captured()
        assert [await bridge.stop() for bridge in both] == [0, 0]
    streamed = await source.value(
        f"SELECT stream_count FROM pg_stat_replication_slots WHERE slot_name = '{source.settings.slot}'"
    )
    assert streamed > 50
    assert len(await assert_gap_free(source, one_session=False)) > 1_000
