"""Findings about the publication, the outbox and tables, each on a server that has it; their SQL mends them."""

import dataclasses
from typing import Any

import psycopg
import pytest

from bridge.shipped_files import shipped
from cdc.finding import Finding
from cdc.settings import SourceSettings, TableSettings
from cdc.setup import set_up
from tests.cdc.capturing import Source
from tests.cdc.checking import findings_of, found, one

TENANT = TableSettings("company")


@pytest.fixture
def source(sound_source: Source) -> Source:
    return sound_source


# --- the publication


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("ALTER PUBLICATION bridge SET (publish = 'insert, update')", "operations_published"),
        ("ALTER PUBLICATION bridge DROP TABLE marks", "table_not_published"),
        ("ALTER PUBLICATION bridge DROP TABLE bridge.outbox", "table_not_published"),
        (
            "ALTER PUBLICATION bridge SET TABLE orders (id, company), marks, bridge.outbox",
            "columns_published",
        ),
        ("ALTER PUBLICATION bridge SET TABLE orders WHERE (id > 1), marks, bridge.outbox", "row_filter"),
        (
            "CREATE TABLE other (id int PRIMARY KEY); ALTER PUBLICATION bridge ADD TABLE other",
            "table_not_configured",
        ),
    ],
)
async def test_a_publication_that_sends_something_else(source: Source, change: str, code: str) -> None:
    await source.sql(change)
    finding = await one(source, code)
    await source.sql(*(command for command in finding.sql.partition("--")[0].strip().split("; COMMIT")[:1]))
    assert await found(source) == {}
    await source.sql("DROP PUBLICATION bridge")
    assert "publication_missing" in await found(source)


async def test_setup_mends_it_too(source: Source) -> None:
    await source.sql(
        "ALTER PUBLICATION bridge SET (publish = 'insert', publish_via_partition_root = false)",
        "ALTER PUBLICATION bridge SET TABLE orders WHERE (id > 1)",
    )
    await set_up(source.settings, source.dsn, shipped("migrations"))
    assert await found(source) == {}


async def test_a_publication_for_everything(source: Source) -> None:
    await source.sql(
        "DROP PUBLICATION bridge", "CREATE PUBLICATION bridge FOR TABLES IN SCHEMA public, bridge"
    )
    await one(source, "publication_whole")
    await source.sql("DROP PUBLICATION bridge", "CREATE PUBLICATION bridge FOR ALL TABLES")
    await one(source, "publication_whole")


async def test_an_outbox_that_is_missing_or_another_table(source: Source) -> None:
    findings = await found(source, outbox="bridge.other")
    assert {*findings} == {"outbox_missing", "table_not_configured"}
    await source.sql("ALTER TABLE bridge.outbox DROP COLUMN topic")
    assert "it lacks topic" in (await one(source, "outbox_columns")).message


# --- tables


async def of_table(
    source: Source, name: str, settings: TableSettings = TENANT, **more: Any
) -> dict[str, Finding]:
    """The findings about one more table, after setup."""
    tables = {**source.settings.tables, f"public.{name}": settings}
    changed: SourceSettings = dataclasses.replace(source.settings, tables=tables)
    await set_up(changed, source.dsn, shipped("migrations"))
    return await findings_of(changed, **more)


async def heal(source: Source, finding: Finding) -> None:
    await source.sql(*finding.sql.splitlines())


async def test_a_deferrable_key(source: Source) -> None:
    await source.sql("CREATE TABLE later (id int PRIMARY KEY DEFERRABLE, company int NOT NULL)")
    findings = await of_table(source, "later")
    assert {*findings} == {"deferrable_key"}
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        await source.sql("DELETE FROM later")
    await heal(source, findings["deferrable_key"])
    assert await of_table(source, "later") == {}


async def test_no_identity(source: Source) -> None:
    await source.sql("CREATE TABLE mute (id int PRIMARY KEY)", "ALTER TABLE mute REPLICA IDENTITY NOTHING")
    findings = await of_table(source, "mute", TableSettings())
    assert {*findings} == {"no_identity"}
    assert "REPLICA IDENTITY DEFAULT" in findings["no_identity"].sql
    await heal(source, findings["no_identity"])
    assert await of_table(source, "mute", TableSettings()) == {}


async def test_a_key_that_old_rows_do_not_carry(source: Source) -> None:
    await source.sql(
        "UPDATE orders SET status = id::text",
        "ALTER TABLE orders ALTER COLUMN status SET NOT NULL",
        "CREATE UNIQUE INDEX by_status ON orders (company, status)",
        "ALTER TABLE orders REPLICA IDENTITY USING INDEX by_status",
    )
    finding = await one(source, "delete_without_key")
    assert "lacks id of its key" in finding.message
    await heal(source, finding)
    assert await found(source) == {}


async def test_what_mappings_compare(source: Source) -> None:
    compared = {"public.orders": {"status", "id", "nonsense"}}
    findings = await findings_of(source.settings, compared)
    assert {*findings} == {"compared_unknown"}
    assert "lacks status, which mappings compare" in findings["compared_unknown"].message
    await heal(source, findings["compared_unknown"])
    assert await findings_of(source.settings, compared) == {}


PARTS = """
CREATE TABLE parts (id int, day int, company int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE "Parts 3" PARTITION OF parts_2 FOR VALUES FROM (0) TO (10);
"""


async def test_the_cure_of_a_partitioned_table_reaches_every_partition(source: Source) -> None:
    await source.sql(PARTS)
    findings = await of_table(source, "parts")
    assert {*findings} == {"delete_without_tenant", "tenant_nullable"}
    await heal(source, findings["delete_without_tenant"])
    assert await of_table(source, "parts") == {}
    assert await source.sql("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid") == []
    await source.sql("CREATE TABLE parts_4 PARTITION OF parts FOR VALUES FROM (20) TO (30)")
    findings = await of_table(source, "parts")
    assert {*findings} == {"partition_identity"}
    assert "(public.parts_4)" in findings["partition_identity"].message


async def test_partitions_that_are_named(source: Source) -> None:
    await source.sql(PARTS.replace("company int,", "company int NOT NULL,"))
    cure = (await of_table(source, "parts"))["delete_without_tenant"]
    await heal(source, cure)
    assert {*(await of_table(source, "parts_1"))} == {"partition_named"}
    tables = {**source.settings.tables, "public.parts": TENANT, "public.parts_1": TENANT}
    both = dataclasses.replace(source.settings, tables=tables)
    await set_up(both, source.dsn, shipped("migrations"))
    assert {*(await findings_of(both))} == {"partition_and_root"}
    await source.sql("ALTER PUBLICATION bridge SET (publish_via_partition_root = false)")
    assert {*(await findings_of(both))} == {"partition_and_root", "partition_root"}


async def test_a_partition_that_is_not_in_the_wal(source: Source) -> None:
    await source.sql(
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE UNLOGGED TABLE fast PARTITION OF parts FOR VALUES FROM (0) TO (10)",
    )
    findings = await of_table(source, "parts", TableSettings())
    assert {*findings} == {"table_not_logged"}
    await heal(source, findings["table_not_logged"])
    assert await of_table(source, "parts", TableSettings()) == {}


async def test_generated_columns(source: Source) -> None:
    await source.sql(
        "CREATE TABLE sums (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, "
        "thrice int GENERATED ALWAYS AS (id * 3) VIRTUAL)"
    )
    assert await of_table(source, "sums", TableSettings(exclude=("twice", "thrice"))) == {}
    assert {*(await of_table(source, "sums", TableSettings(exclude=("thrice",))))} == {"generated_column"}
    findings = await of_table(source, "sums", TableSettings(key=("twice",), exclude=("thrice",)))
    finding = findings["generated_column"]
    assert finding.level == "error"
    await source.sql("ALTER PUBLICATION bridge SET TABLE orders, marks, bridge.outbox, sums")
    await source.sql(finding.sql)
    tables = {**source.settings.tables, "public.sums": TableSettings()}
    left = (await findings_of(source.settings, tables=tables))["generated_column"]
    assert left.object == "public.sums.thrice"


async def test_what_the_reader_of_existing_rows_may_see(source: Source) -> None:
    port = psycopg.conninfo.conninfo_to_dict(source.dsn)["port"]
    reading = f"postgresql://backfill:b@127.0.0.1:{port}/shop"
    assert {*(await found(source, read_dsn=reading))} == {"read_refused"}
    await source.sql("CREATE ROLE backfill LOGIN PASSWORD 'b'")
    try:
        assert {*(await found(source, read_dsn=reading))} == {"select_missing"}
        await source.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO backfill")
        assert await found(source, read_dsn=reading) == {}
        await source.sql("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
        assert {*(await found(source, read_dsn=reading))} == {"row_security"}
        await source.sql("ALTER ROLE backfill BYPASSRLS")
        assert await found(source, read_dsn=reading) == {}
    finally:
        await source.sql("DROP OWNED BY backfill; DROP ROLE backfill")
