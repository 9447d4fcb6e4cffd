"""Rows for mappings from a real database: together, once, the tenant's own, and never as they were before the change."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bridge.demo.postgres_server import EmbeddedPostgres
from bridge.source_rows import SourceRowReader
from cdc.settings import SourceSettings, TableSettings
from pipeline.mapping import ColumnsRead, RowsRead
from pipeline.rows import enrichment
from pipeline.rows.enrichment import Enrichment
from pipeline.rows.row_reads import Reading, ReadInvalid, RowsFound, SourceAway, SourceSlow, TableAway
from tests.cdc.standby import Standby

TABLES = """
CREATE TABLE parts (id int PRIMARY KEY, company int NOT NULL, wo int, code text, photo text);
INSERT INTO parts SELECT n, n % 2, n / 10, 'P' || n, repeat('x', 10) FROM generate_series(1, 1000) n;
"""
TABLE_SETTINGS = {"public.parts": TableSettings("company"), "public.gone": TableSettings("company")}


@dataclass
class Counted:
    """What is asked of the sources, and the sources."""

    sources: Mapping[str, SourceSettings]
    asked: list[Reading] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = SourceRowReader(lambda: self.sources)

    async def read(self, reading: Reading) -> RowsFound:
        self.asked.append(reading)
        return await self.reader.read(reading)

    async def aclose(self) -> None:
        await self.reader.aclose()


@dataclass
class Shop:
    rows: Enrichment
    reader: Counted
    dsn: str

    async def parts(self, wo: Any, tenant: str = "1", **source: Any) -> list[int]:
        read = RowsRead("parts", "public.parts", (("wo", wo),), many=True, limit=20)
        return [row["id"] for row in await self.rows.rows(read, event(**source), tenant)]


def event(**source: Any) -> dict[str, Any]:
    return {"source": {"name": "shop"} | source}


@pytest.fixture
async def shop(database: str) -> AsyncIterator[Shop]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(TABLES)
    reader = Counted({"shop": SourceSettings("shop", database, TABLE_SETTINGS)})
    rows = Enrichment(reader)
    yield Shop(rows, reader, database)
    await rows.aclose()


async def test_what_is_alike_is_read_together_what_is_equal_once_and_each_tenant_sees_its_own(
    shop: Shop,
) -> None:
    wanted = [(wo, tenant) for wo in range(1, 41) for tenant in ("0", "1")] * 2
    found = await asyncio.gather(*(shop.parts(wo, tenant) for wo, tenant in wanted))
    for (wo, tenant), ids in zip(wanted, found, strict=True):
        assert ids == [n for n in range(wo * 10, wo * 10 + 10) if n % 2 == int(tenant)]
    assert sorted((reading.tenant, len(reading.values)) for reading in shop.reader.asked) == [
        ("0", 40),
        ("1", 40),
    ]
    await shop.parts(1)  # an event's other routes, a moment later
    assert len(shop.reader.asked) == 2


async def test_columns_are_read_by_the_events_key(shop: Shop) -> None:
    read = ColumnsRead("public.parts", {"id": 7}, ("photo", "code"))
    assert await shop.rows.columns(read, event(), "1") == {"photo": "x" * 10, "code": "P7"}
    assert await shop.rows.columns(read, event(), "0") is None  # another tenant's row


async def test_a_commit_that_is_not_visible_yet_is_waited_for(shop: Shop) -> None:
    async with await psycopg.AsyncConnection.connect(shop.dsn) as writer:
        await writer.execute("UPDATE parts SET wo = -5 WHERE id = 7")
        row = await (await writer.execute("SELECT pg_current_xact_id()::text")).fetchone()
        assert row is not None
        xid = int(row[0]) % 2**32
        reading = asyncio.create_task(shop.parts(-5, xid=xid, commit_lsn="0/1"))
        assert await shop.parts(-5, xid=3, commit_lsn="0/1") == []
        while len(shop.reader.asked) < 3:  # noqa: ASYNC110 - it asks again by itself
            await asyncio.sleep(0.01)
        assert not reading.done()
        await writer.commit()
        assert await reading == [7]


async def test_one_reads_mistake_is_nobody_elses(shop: Shop) -> None:
    good, bad, many = await asyncio.gather(
        shop.parts(3), shop.parts("three"), shop.parts([1, 2, 3, 4, 5]), return_exceptions=True
    )
    assert good == [31, 33, 35, 37, 39]
    assert isinstance(bad, ReadInvalid)
    assert isinstance(many, list)
    assert len(many) == 21  # one more than the limit: the mapping says that there are too many


async def test_a_table_that_cannot_be_read_holds_up_no_other(shop: Shop) -> None:
    gone = RowsRead("gone", "public.gone", (("id", 1),))
    unlisted = RowsRead("x", "public.unlisted", (("id", 1),))
    found = await asyncio.gather(
        shop.rows.rows(gone, event(), "1"),
        shop.rows.rows(unlisted, event(), "1"),
        shop.rows.rows(gone, {"source": {"name": "elsewhere"}}, "1"),
        shop.parts(3),
        return_exceptions=True,
    )
    assert [type(each) for each in found] == [TableAway, TableAway, TableAway, list]
    assert "is not there" in str(found[0])
    assert "bridge.yaml lists" in str(found[1])
    assert "no source 'elsewhere'" in str(found[2])


async def test_a_source_that_is_away_is_not_asked_by_everybody_and_comes_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrichment, "AWAY_S", 0.3)
    there = shop.reader.sources
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        away = make_conninfo(shop.dsn, host="127.0.0.1", port=free.getsockname()[1])
    shop.reader.sources = {"shop": replace(there["shop"], read_dsn=away)}
    for _ in range(5):
        with pytest.raises(SourceAway, match="PostgreSQL"):
            await shop.parts(3)
    assert len(shop.reader.asked) == 1
    shop.reader.reader = SourceRowReader(lambda: there)
    async with asyncio.timeout(10):
        while True:
            try:
                assert await shop.parts(3) == [31, 33, 35, 37, 39]
                break
            except SourceAway:
                await asyncio.sleep(0.05)


async def test_a_session_that_ended_meanwhile_is_opened_again(shop: Shop) -> None:
    await shop.parts(1)
    async with await psycopg.AsyncConnection.connect(shop.dsn, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await shop.parts(2) == [21, 23, 25, 27, 29]


async def test_where_no_more_sessions_are_allowed_those_that_there_are_will_do(shop: Shop) -> None:
    role = f"narrow_{conninfo_to_dict(shop.dsn)['dbname']}"
    async with await psycopg.AsyncConnection.connect(shop.dsn, autocommit=True) as admin:
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1".encode())
        await admin.execute(f"GRANT SELECT ON parts TO {role}".encode())
        settings = shop.reader.sources["shop"]
        narrow = replace(settings, read_dsn=make_conninfo(shop.dsn, user=role, password="x"))
        shop.reader.sources = {"shop": narrow}
        await asyncio.gather(*(shop.parts(1, tenant=str(tenant)) for tenant in range(12)))
        assert len(shop.reader.asked) == 12
        await shop.rows.aclose()
        await admin.execute(f"DROP OWNED BY {role}".encode())
        await admin.execute(f"DROP ROLE {role}".encode())


@pytest.mark.slow
async def test_a_standby_is_never_read_behind_the_event(
    own_postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrichment, "BEHIND_S", 0.3)
    async with await psycopg.AsyncConnection.connect(own_postgres.dsn(), autocommit=True) as primary:
        await primary.execute(TABLES)
        async with (
            Standby(tmp_path_factory.mktemp("standby"), own_postgres) as standby,
            await psycopg.AsyncConnection.connect(standby.dsn(), autocommit=True) as paused,
        ):
            settings = SourceSettings("shop", own_postgres.dsn(), TABLE_SETTINGS, read_dsn=standby.dsn())
            rows = Enrichment(reader := Counted({"shop": settings}))
            shop = Shop(rows, reader, standby.dsn())
            await standby.caught_up()
            assert await shop.parts(-5, commit_lsn="0/1") == []
            await paused.execute("SELECT pg_wal_replay_pause()")
            row = await (await primary.execute("SELECT pg_current_wal_insert_lsn()::text")).fetchone()
            assert row is not None
            await primary.execute("UPDATE parts SET wo = -5 WHERE id = 7")
            with pytest.raises(SourceSlow, match="has not replayed"):
                await shop.parts(-5, commit_lsn=row[0])
            await paused.execute("SELECT pg_wal_replay_resume()")
            await standby.caught_up()
            assert await shop.parts(-5, commit_lsn=row[0]) == [7]
            await rows.aclose()
