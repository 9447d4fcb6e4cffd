"""The same WAL through both plugins: the same messages, byte for byte, where wal2json loses nothing."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from bridge.demo.postgres_server import EmbeddedPostgres
from cdc.settings import TableSettings
from eventbus.group_commit import Outgoing
from eventbus.settings import NatsSettings
from tests.cdc.capturing import TABLES, Source, Workload
from tests.cdc.decoding import SESSION, SlotReader
from tests.cdc.typed_columns import OBJECTS, TYPES
from tests.conftest import empty_database

PLUGINS = ("pgoutput", "wal2json")
Texts = list[str | None]


class BothPlugins:
    """A database with a slot of each plugin."""

    def __init__(self, dsn: str, connection: psycopg.AsyncConnection[Any]) -> None:
        self.dsn = dsn
        self.connection = connection
        name = connection.info.dbname
        self._readers = [SlotReader(dsn, plugin, f"{plugin}_{name}") for plugin in PLUGINS]

    async def listen(self, *before: str) -> None:
        for statement in (*before, "CREATE PUBLICATION bridge FOR ALL TABLES"):
            await self.connection.execute(statement.encode())
        for reader in self._readers:
            await reader.make(self.connection)

    async def skip(self) -> None:
        for reader in self._readers:
            await reader.skip(self.connection)

    async def messages(self, tables: Mapping[str, TableSettings]) -> list[list[Outgoing]]:
        """What each plugin's stream makes of what was committed since the last call, pgoutput's first."""
        return [await reader.messages(self.connection, "bridge", tables) for reader in self._readers]


@pytest.fixture
async def plugins(postgres_15: EmbeddedPostgres) -> AsyncIterator[BothPlugins]:
    async with empty_database(postgres_15) as dsn:
        pinned = make_conninfo(dsn, options=SESSION)
        async with await psycopg.AsyncConnection.connect(
            pinned, autocommit=True, prepare_threshold=None
        ) as connection:
            yield BothPlugins(pinned, connection)


@pytest.fixture
async def typed(plugins: BothPlugins) -> BothPlugins:
    await plugins.listen(*OBJECTS.split(";\n"))
    return plugins


async def test_mixed_transactions(plugins: BothPlugins) -> None:
    await plugins.listen(TABLES)
    source, workload = Source(plugins.dsn, NatsSettings()), Workload(seed=17)
    await workload.run(source, 300)
    await workload.large(source, 1_000)
    await workload.run(source, 1_600)
    tables = {"public.orders": TableSettings("company"), "public.history": TableSettings()}
    by_pgoutput, by_wal2json = await plugins.messages(tables)
    assert len(by_pgoutput) > 3_000
    assert by_wal2json == by_pgoutput


def texts_of(name: str) -> st.SearchStrategy[str]:
    """Without NaN and Infinity where they get lost."""
    found = TYPES[name].texts
    lost = name.startswith(("float", "numeric")) and not name.endswith("[]")
    return found.filter(lambda text: "n" not in text.lower()) if lost else found


PARTS = 5
"""So many tables, for a row of all types is more than hypothesis likes to draw."""


async def change(connection: psycopg.AsyncConnection[Any], rows: list[Texts]) -> None:
    """Every row inserted, then given the next one's values; the first one deleted."""
    places = ", ".join(["%s"] * (1 + len(rows[0])))
    sets = ", ".join(f"c{place} = %s" for place in range(len(rows[0])))
    async with connection.transaction():
        for number, row in enumerate(rows):
            await connection.execute(f"INSERT INTO typed VALUES ({places})".encode(), [number, *row])
        for number in range(len(rows)):
            update = f"UPDATE typed SET {sets} WHERE id = %s"
            await connection.execute(update.encode(), [*rows[number - 1], number])
        await connection.execute("DELETE FROM typed WHERE id = 0")


@pytest.mark.parametrize("part", range(PARTS))
@given(data=st.data(), full=st.booleans())
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
async def test_values_of_every_type(
    typed: BothPlugins, data: st.DataObject, part: int, *, full: bool
) -> None:
    types = sorted(TYPES)[part::PARTS]
    row = st.tuples(*(st.none() | texts_of(name) for name in types)).map(list)
    rows = data.draw(st.lists(row, min_size=2, max_size=3))
    columns = "".join(f", c{place} {name}" for place, name in enumerate(types))
    await typed.connection.execute("DROP TABLE IF EXISTS typed")
    await typed.connection.execute(f"CREATE TABLE typed (id int PRIMARY KEY{columns})".encode())
    if full:
        await typed.connection.execute("ALTER TABLE typed REPLICA IDENTITY FULL")
    await typed.skip()
    await change(typed.connection, rows)
    by_pgoutput, by_wal2json = await typed.messages({"public.typed": TableSettings()})
    assert len(by_pgoutput) == 2 * len(rows) + 1
    assert by_wal2json == by_pgoutput
