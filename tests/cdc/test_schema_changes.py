"""Tables that change while capture runs: each row is read as its table was, and what changes is told."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from bridge.demo.nats_server import EmbeddedNats
from cdc.schema_changes import Description, changes
from cdc.settings import TableSettings
from eventbus.settings import NatsSettings
from tests.cdc.capturing import Source

INT, TEXT = 23, 25
BEFORE = Description("public.t", {"id": INT, "a": TEXT, "b": TEXT}, "d", ("id",), ("id",))


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (BEFORE, ()),
        (BEFORE._replace(columns={"b": TEXT, "id": INT, "a": TEXT}), ()),
        (BEFORE._replace(columns={**BEFORE.columns, "c": INT, "d": INT}), ("column c added", "column d added")),
        (BEFORE._replace(columns={"id": INT, "b": TEXT}), ("column a dropped",)),
        (BEFORE._replace(columns={"id": INT, "a": TEXT, "c": TEXT}), ("column b renamed to c",)),
        (BEFORE._replace(columns={"id": INT, "a": TEXT, "c": INT}), ("column c added", "column b dropped")),
        (BEFORE._replace(columns={"id": INT, "a": INT, "b": TEXT}), ("column a of another type: OID 25 became 23",)),
        (BEFORE._replace(name="public.u"), ("renamed from public.t",)),
        (
            BEFORE._replace(replica_identity="f", identity=("id", "a", "b")),
            ("replica identity DEFAULT became FULL", "an old row carries (id, a, b) in place of (id)"),
        ),
        (BEFORE._replace(identity=("a",), key=("a",)), ("an old row carries (a) in place of (id)", "the key is (a) in place of (id)")),
    ],
)  # fmt: skip
def test_what_changed(after: Description, what: tuple[str, ...]) -> None:
    assert changes(BEFORE, after) == what


TABLES = """
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
CREATE TABLE parts (id int, region text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE parts_north PARTITION OF parts FOR VALUES IN ('north');
CREATE TABLE lone (id int NOT NULL, region text NOT NULL, n int, PRIMARY KEY (id, region));
CREATE TABLE marks (n bigserial PRIMARY KEY);
"""


@pytest.fixture
async def source(database: str, nats_server: EmbeddedNats, namespace: str) -> Source:
    found = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    await found.sql(TABLES)
    found.settings = replace(
        found.settings, tables={f"public.{name}": TableSettings() for name in ("t", "parts", "marks")}
    )
    await found.set_up()
    return found


def counted(table: str) -> float:
    labels = {"source": "shop", "table": f"public.{table}"}
    return REGISTRY.get_sample_value("bridge_schema_changes_total", labels) or 0.0


def told(logs: Any, table: str = "t") -> list[tuple[str, ...]]:
    return [line["what"] for line in logs if line.get("table") == f"public.{table}" and "what" in line]


async def rows(source: Source, *tables: str) -> list[Any]:
    return [event["after"] or event["before"] for event in await source.events(*tables)]


STEPS = (
    ("INSERT INTO t VALUES (1, 'a', 1)", {"id": 1, "a": "a", "b": 1}),
    ("ALTER TABLE t ADD COLUMN c text DEFAULT 'new'", None),
    ("UPDATE t SET b = 2", {"id": 1, "a": "a", "b": 2, "c": "new"}),
    ("ALTER TABLE t DROP COLUMN a", None),
    ("INSERT INTO t VALUES (2, 1, 'x')", {"id": 2, "b": 1, "c": "x"}),
    ("ALTER TABLE t ALTER COLUMN b TYPE text", None),
    ("INSERT INTO t VALUES (3, '1', 'x')", {"id": 3, "b": "1", "c": "x"}),
    ("ALTER TABLE t RENAME COLUMN b TO renamed", None),
    ("INSERT INTO t VALUES (4, '1', 'x')", {"id": 4, "renamed": "1", "c": "x"}),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_key PRIMARY KEY (id, c)", None),
    ("DELETE FROM t WHERE id = 2", {"id": 2, "c": "x"}),
    # under FULL the stream does not tell the key: that is the catalogue's of the moment at which capture comes by
    ("ALTER TABLE t REPLICA IDENTITY FULL", None),
    ("DELETE FROM t WHERE id = 4", {"id": 4, "renamed": "1", "c": "x"}),
    ("ALTER TABLE t REPLICA IDENTITY DEFAULT", None),
    ("DELETE FROM t WHERE id = 3", {"id": 3, "c": "x"}),
)
WHAT = [
    ("column c added",),
    ("column a dropped",),
    ("column b of another type: OID 23 became 25",),
    ("column b renamed to renamed",),
    ("an old row carries (id, c) in place of (id)", "the key is (id, c) in place of (id)"),
    ("replica identity DEFAULT became FULL", "an old row carries (id, renamed, c) in place of (id, c)"),
    ("replica identity FULL became DEFAULT", "an old row carries (id, c) in place of (id, renamed, c)"),
]


@pytest.mark.parametrize("within", [False, True], ids=["between transactions", "within one"])
async def test_rows_are_read_as_their_table_was(source: Source, *, within: bool) -> None:
    before, statements = counted("t"), [statement for statement, _ in STEPS]
    with capture_logs() as logs:
        async with source.capturing():
            await source.sql(*([f"BEGIN; {'; '.join(statements)}; COMMIT"] if within else statements))
            await source.captured()
    assert await rows(source, "t") == [row for _, row in STEPS if row is not None]
    assert told(logs) == WHAT
    assert counted("t") - before == len(WHAT)


async def test_rows_that_wait_for_capture_are_read_as_their_table_was(source: Source) -> None:
    await source.sql(*(statement for statement, _ in STEPS))
    async with source.capturing():
        await source.captured()
    assert await rows(source, "t") == [row for _, row in STEPS if row is not None]


async def test_partitions_come_go_and_are_moved_between(source: Source) -> None:
    async with source.capturing():
        await source.sql(
            "INSERT INTO parts VALUES (1, 'north', 1)",
            "CREATE TABLE parts_south PARTITION OF parts FOR VALUES IN ('south')",
            "INSERT INTO parts VALUES (2, 'south', 2)",
            "UPDATE parts SET region = 'south' WHERE id = 1",
            "INSERT INTO lone VALUES (3, 'west', 3)",  # not captured: it is no partition yet
            "ALTER TABLE parts ATTACH PARTITION lone FOR VALUES IN ('west')",
            "INSERT INTO lone VALUES (4, 'west', 4)",
            "ALTER TABLE parts DETACH PARTITION parts_south",
            "INSERT INTO parts_south VALUES (5, 'south', 5)",  # no longer one
            "BEGIN; ALTER TABLE parts ATTACH PARTITION parts_south FOR VALUES IN ('south'); "
            "UPDATE parts SET n = 6 WHERE id = 5; ALTER TABLE parts ADD COLUMN more int DEFAULT 7; "
            "INSERT INTO parts VALUES (8, 'north', 8, 8); COMMIT",
        )
        await source.captured()
    events = await source.events("parts", "lone", "parts_south")
    assert {e["source"]["table"] for e in events} == {"parts"}
    assert [(e["op"], e["key"]["id"], (e["after"] or e["before"])["region"]) for e in events] == [
        ("insert", 1, "north"),
        ("insert", 2, "south"),
        ("delete", 1, "north"),
        ("insert", 1, "south"),
        ("insert", 4, "west"),
        ("update", 5, "south"),
        ("insert", 8, "north"),
    ]
    assert events[-1]["after"] == {"id": 8, "region": "north", "n": 8, "more": 8}


async def test_renamed_tables_that_are_both_known(source: Source) -> None:
    tables = {"public.t": TableSettings(), "public.u": TableSettings(), "public.marks": TableSettings()}
    source.settings = replace(source.settings, tables=tables)
    with capture_logs() as logs:
        async with source.capturing():
            await source.sql(
                "INSERT INTO t VALUES (1)",
                "BEGIN; INSERT INTO t VALUES (2); ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (3); COMMIT",
                "INSERT INTO u VALUES (4)",
            )
            await source.captured()
    found = [(e["source"]["table"], e["key"]["id"]) for e in await source.events("t", "u")]
    assert found == [("t", 1), ("t", 2), ("u", 3), ("u", 4)]
    assert told(logs, "u") == [("renamed from public.t",)]
