"""How long a change takes from PostgreSQL to its ERP, by the database's and the ERPs' own clocks (one machine's)."""

import statistics
from collections.abc import Sequence
from typing import Any

import psycopg

from bridge.demo.judge import Effect, number_in

_NEW_CHANGES = """
SELECT seq, extract(epoch FROM at)::float8, new->>'id_company', coalesce(new->>'description', new->>'name')
FROM demo.history WHERE seq > %s ORDER BY seq
"""
WINDOW = 50


class Lags:
    """The lag of the last WINDOW changes that arrived."""

    def __init__(self) -> None:
        self.committed = 0
        self._last_seq = 0
        self._written_at: dict[tuple[str, int], float] = {}

    async def read(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Takes note of what was committed since the last time."""
        cursor = await connection.execute(_NEW_CHANGES, (self._last_seq,))
        for seq, at, tenant, text in await cursor.fetchall():
            self._last_seq = seq
            self.committed += 1
            self._written_at[tenant, number_in(text)] = at

    def median(self, arrived: Sequence[tuple[Effect, float]]) -> float | None:
        """Seconds; `arrived`: what an ERP did, and when, in its order."""
        known = [
            at - self._written_at[place]
            for effect, at in arrived
            if (place := (effect.tenant, effect.number)) in self._written_at
        ]
        return statistics.median(known[-WINDOW:]) if known else None
