"""A source whose plugin is wal2json: set up, checked and captured as any other, on Debian's PostgreSQL 15."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import psycopg
import pytest
from structlog.testing import capture_logs

from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres
from bridge.shipped_files import shipped
from cdc.catalogue import Catalogue
from cdc.finding import Finding
from cdc.preflight import before_setup, check
from cdc.settings import SourceSettings, TableSettings
from cdc.setup import SetupRefused, set_up
from cdc.source_errors import CaptureStopped
from cdc.source_reading import read_facts
from cdc.start_decision import Consent
from eventbus.settings import NatsSettings
from tests.cdc.backfilling import ask, assert_complete, ended, forget_all
from tests.cdc.capturing import AS_EVENTS_HOLDS, TABLES, Source, Workload, assert_gap_free, eventually
from tests.conftest import empty_database


@pytest.fixture
async def source(
    postgres_15: EmbeddedPostgres, nats_server: EmbeddedNats, namespace: str
) -> AsyncIterator[Source]:
    async with empty_database(postgres_15) as dsn:
        found = Source(dsn, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
        found.settings = dataclasses.replace(found.settings, plugin="wal2json")
        await found.create()
        yield found


async def findings(settings: SourceSettings) -> list[Finding]:
    catalogue = await Catalogue.open(settings.dsn)
    try:
        return check(await read_facts(catalogue, settings), settings)
    finally:
        await catalogue.close()


async def stopped(source: Source, consent: Consent | None = None) -> str:
    """The code with which capture stops by itself."""
    with pytest.raises(CaptureStopped) as caught:
        async with asyncio.timeout(20):
            await source.capture(consent).run(asyncio.Event())
    return caught.value.stop.code


async def test_mixed_changes_are_published_once_in_commit_order(source: Source) -> None:
    workload = Workload(seed=2)
    for changes in (300, 600):  # stopped and started in between
        async with source.capturing():
            await workload.run(source, changes)
            await workload.large(source, 1_500)  # more than a batch holds
            await source.captured()
    assert len(await assert_gap_free(source)) >= workload.changes


async def test_an_event_larger_than_a_message_goes_through_the_object_store(source: Source) -> None:
    async with source.capturing():
        await source.sql("INSERT INTO orders VALUES (1, 1, 'open', 1, repeat('é', 1500000))")
        await source.captured()
    (event,) = await assert_gap_free(source)
    assert event["after"]["note"] == "é" * 1_500_000


async def test_other_tables_are_neither_captured_nor_told(source: Source) -> None:
    with capture_logs() as logs:
        async with source.capturing():
            await source.sql("CREATE TABLE other (id int PRIMARY KEY)", "INSERT INTO other VALUES (1)")
            await source.sql("INSERT INTO orders VALUES (1, 1)")
            await source.captured()
    assert [event["key"] for event in await source.events("orders", "other")] == [{"id": 1}]
    assert [line for line in logs if line.get("table")] == []


async def test_a_renamed_table_ends_capture_before_its_changes_are_let_go(source: Source) -> None:
    running = asyncio.create_task(source.capture().run(asyncio.Event()))
    await source.sql("INSERT INTO orders VALUES (1, 1)")
    await source.captured()
    await source.sql("ALTER TABLE orders RENAME TO orders2", "INSERT INTO orders2 VALUES (2, 1)")
    with pytest.raises(CaptureStopped) as caught:
        await asyncio.wait_for(running, 20)
    assert caught.value.stop.code == "table_renamed"
    tables = {"public.orders2": source.settings.tables["public.orders"], "public.marks": TableSettings()}
    source.settings = dataclasses.replace(source.settings, tables=tables)
    await source.set_up()
    async with source.capturing():
        await source.captured()
    assert [event["key"]["id"] for event in await source.events("orders", "orders2")] == [1, 2]


async def test_a_swapped_table_is_captured_by_its_name(source: Source) -> None:
    async with source.capturing():
        await source.sql(
            "INSERT INTO orders VALUES (1, 1)", "CREATE TABLE new (id int PRIMARY KEY, company int NOT NULL)"
        )
        await source.captured()
        await source.sql(
            "BEGIN; ALTER TABLE orders RENAME TO old; ALTER TABLE new RENAME TO orders; COMMIT",
            "INSERT INTO orders VALUES (2, 1)",
            "INSERT INTO old VALUES (3, 1)",
        )
        await source.captured()
    assert [event["after"] for event in await source.events("orders", "old")][1:] == [{"id": 2, "company": 1}]


async def test_a_backfill_beside_live_changes(source: Source) -> None:
    workload = Workload(seed=12)
    await workload.large(source, 1_000)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        working = asyncio.create_task(workload.run(source, AS_EVENTS_HOLDS))
        await ask(source, "one", chunk=100)
        done = await ended(source, "one")
        working.cancel()
        await asyncio.wait((working,))
        await source.captured()
    assert (done.state, done.error) == ("done", None)
    await assert_complete(source, await source.events())


async def test_the_outbox_and_its_messages(source: Source) -> None:
    source.settings = dataclasses.replace(source.settings, outbox="bridge.outbox")
    await source.set_up()
    write = "INSERT INTO bridge.outbox (tenant, topic, key, payload) VALUES ('7', 't', '1', '{\"n\": 1}')"
    emit = (
        'SELECT pg_logical_emit_message({}, \'bridge.outbox\', \'{{"topic": "t", "payload": {{"n": {}}}}}\')'
    )
    async with source.capturing():
        await source.sql(
            f"BEGIN; {write}; {emit.format('true', 2)}; DELETE FROM bridge.outbox; {emit.format('true', 3)}; COMMIT",
            emit.format("false", 4),
            "TRUNCATE bridge.outbox",
        )
        await source.captured()
    events = await source.events("t")
    assert [(event["after"], event["source"]["ordinal"]) for event in events] == [
        ({"n": 1}, 1),
        ({"n": 2}, 2),
        ({"n": 3}, 4),
        ({"n": 4}, 0),
    ]
    assert await source.events("outbox") == []


async def test_nan_in_a_column_that_is_never_null_is_told(source: Source) -> None:
    await source.sql("ALTER TABLE orders ADD price numeric NOT NULL DEFAULT 1")
    with capture_logs() as logs:
        async with source.capturing():
            await source.sql("INSERT INTO orders (id, company, price) VALUES (1, 1, 'NaN'), (2, 1, 2)")

            async def told() -> list[object]:
                return [line["values"] for line in logs if "NaN and Infinity" in line["event"]]

            assert await eventually(told, bool) == [{"public.orders.price": 1}]


async def test_the_other_plugin_needs_a_slot_of_its_own_and_a_new_epoch(source: Source) -> None:
    async with source.capturing():
        await source.sql("INSERT INTO orders VALUES (1, 1)")
        await source.captured()
    source.settings = dataclasses.replace(source.settings, plugin="pgoutput")
    found = {finding.code: finding for finding in await findings(source.settings)}
    assert found["slot_plugin"].stops
    assert await stopped(source) == "slot_plugin"
    assert await stopped(source, Consent(accept_gap=True, new_epoch=True)) == "slot_plugin"
    with pytest.raises(SetupRefused, match="made for another plugin than pgoutput"):
        await source.set_up()
    await source.drop()
    await source.set_up()
    async with source.capturing():
        await source.sql("INSERT INTO orders VALUES (2, 1)")
        await source.captured()
    assert [event["id"].partition(":")[0] for event in await source.events()] == ["shop", "shop@2"]


async def test_the_preflight_names_what_the_plugin_loses(source: Source) -> None:
    await source.sql("CREATE TABLE photos (id int PRIMARY KEY, photo bytea, size float8)")
    tables = {**source.settings.tables, "public.photos": TableSettings(exclude=("photo",))}
    found = {
        finding.object: finding
        for finding in await findings(dataclasses.replace(source.settings, tables=tables))
        if finding.code == "wal2json_losses"
    }
    assert set(found) == {source.settings.slot, "public.orders", "public.photos"}
    assert "NaN and Infinity in cost become null" in found["public.orders"].message
    assert "the values of photo leave the server" in found["public.photos"].message
    assert {finding.level.value for finding in found.values()} == {"warning"}
    pgoutput = await findings(dataclasses.replace(source.settings, plugin="pgoutput"))
    assert "wal2json_losses" not in {finding.code for finding in pgoutput}


async def test_a_server_without_the_plugin_says_so(postgres_16: EmbeddedPostgres) -> None:
    async with empty_database(postgres_16) as dsn:
        without = Source(dsn, NatsSettings())
        without.settings = dataclasses.replace(without.settings, plugin="wal2json")
        with pytest.raises(SetupRefused, match="the server lacks the plugin that bridge"):
            await without.create()
        without.settings = dataclasses.replace(without.settings, plugin="pgoutput")
        await without.set_up()


async def test_a_server_that_does_not_trust_the_plugin_is_told_to(database: str) -> None:
    distrusted = Source(database, NatsSettings())
    settings = dataclasses.replace(distrusted.settings, plugin="wal2json")
    await distrusted.sql(TABLES)
    (found,) = [finding for finding in await findings(settings) if finding.code == "plugin_not_trusted"]
    assert found in before_setup([found])
    with pytest.raises(SetupRefused, match="output_plugin_libraries"):
        await set_up(settings, None, shipped("migrations"))
    cure = found.sql.replace("ALTER SYSTEM", "").partition(";")[0]  # for one session, and not for all tests
    make = "SELECT pg_create_logical_replication_slot('never', 'wal2json')"
    with pytest.raises(psycopg.errors.UndefinedFile):  # trusted, but still not there
        await distrusted.sql(f"{cure}; {make}")
    assert "plugin_not_trusted" not in {finding.code for finding in await findings(distrusted.settings)}


async def test_a_backfill_beside_it_never_ends_older(source: Source) -> None:
    workload = Workload(seed=13)
    await workload.large(source, 2_000)
    await forget_all(source)
    async with source.capturing():
        await source.captured()
        working = asyncio.create_task(workload.run(source, AS_EVENTS_HOLDS))
        await ask(source, "one", chunk=100)
        done = await ended(source, "one")
        working.cancel()
        await asyncio.wait((working,))
        await source.captured()
    assert (done.state, done.error) == ("done", None)
    await assert_complete(source, await source.events())
