"""Tables that are sent under a name that bridge.yaml does not know: renamed ones and strangers."""

import asyncio
import dataclasses

import pytest
from structlog.testing import capture_logs

from bridge.demo.nats_server import EmbeddedNats
from cdc.settings import TableSettings
from cdc.source_errors import CaptureStopped
from eventbus.settings import NatsSettings
from tests.cdc.capturing import Source, eventually


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await found.create()
    return found


async def test_a_renamed_table_ends_capture_and_then_loses_nothing(source: Source) -> None:
    running = asyncio.create_task(source.capture().run(asyncio.Event()))
    await source.sql("INSERT INTO orders VALUES (1, 1)")
    await source.captured()
    await source.sql("INSERT INTO orders VALUES (2, 1)")
    await source.sql("ALTER TABLE orders RENAME TO orders_of_old", "INSERT INTO orders_of_old VALUES (3, 1)")
    with pytest.raises(
        CaptureStopped, match=r"changes public.orders_of_old, .* and public.orders, .* is not there"
    ):
        await asyncio.wait_for(running, 20)
    with pytest.raises(CaptureStopped) as again:
        await asyncio.wait_for(source.capture().run(asyncio.Event()), 20)
    assert again.value.stop.code == "table_renamed"
    await source.sql("ALTER TABLE orders_of_old RENAME TO orders2", "INSERT INTO orders2 VALUES (4, 1)")
    tables = {"public.orders2": source.settings.tables["public.orders"], "public.marks": TableSettings()}
    source.settings = dataclasses.replace(source.settings, tables=tables)
    await source.set_up()
    async with source.capturing():
        await source.captured()
    events = await source.events("orders", "orders_of_old", "orders2")
    assert [(event["source"]["table"], event["key"]["id"], event["tenant"]) for event in events] == [
        ("orders", 1, "1"),
        ("orders", 2, "1"),
        ("orders_of_old", 3, "1"),
        ("orders2", 4, "1"),
    ]


async def test_a_table_that_is_sent_but_not_configured_is_told_once(source: Source) -> None:
    await source.sql("CREATE TABLE other (id int PRIMARY KEY)", "ALTER PUBLICATION bridge ADD TABLE other")
    with capture_logs() as logs:
        async with source.capturing():
            await source.sql("INSERT INTO other VALUES (1)", "ALTER TABLE other ADD more text")
            await source.sql("INSERT INTO other VALUES (2)")
            await source.sql("INSERT INTO orders VALUES (1, 1)")
            await source.captured()
    (told,) = [line for line in logs if line.get("table") == "public.other"]
    assert "bridge.yaml does not name" in told["event"]
    assert len(await source.events("orders", "other")) == 1


async def test_partitions_are_described_beside_their_table_and_are_no_strangers(source: Source) -> None:
    await source.sql(
        "CREATE TABLE parts (id int PRIMARY KEY, company int NOT NULL) PARTITION BY RANGE (id)",
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id)",
        "CREATE TABLE parts_1_1 PARTITION OF parts_1 FOR VALUES FROM (0) TO (10)",
    )
    tables = {**source.settings.tables, "public.parts": TableSettings("company")}
    source.settings = dataclasses.replace(source.settings, tables=tables)
    await source.set_up()
    with capture_logs() as logs:
        async with source.capturing():
            await source.sql("INSERT INTO parts VALUES (1, 1)")
            await source.captured()
    assert [line for line in logs if "table" in line] == []
    assert len(await source.events("parts")) == 1


async def test_a_table_that_leaves_the_publication_is_told(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.publication_watch.WATCH_EVERY_S", 0.05)

    async def told() -> list[str]:
        return [line["table"] for line in logs if line["event"].startswith("the publication does not send")]

    with capture_logs() as logs:
        async with source.capturing():
            await source.captured()
            assert await told() == []
            await source.sql(
                "CREATE TABLE new (LIKE orders)",
                "ALTER TABLE orders RENAME TO old",
                "ALTER TABLE new RENAME TO orders",
            )
            await eventually(told, bool)
            await source.captured()
    assert await told() == ["public.orders"]
