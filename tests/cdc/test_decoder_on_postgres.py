"""The decoder on what a real server sends, read through SQL with the options of the replication connection."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from cdc.catalogue_facts import KEY_COLUMNS_SQL, TYPES_SQL, Facts, FactsWanted
from cdc.settings import TableSettings
from eventbus.event import decode_event
from tests.cdc.pgoutput_stream import decoder, frame

SESSION = (
    "-c datestyle=ISO -c intervalstyle=iso_8601 -c bytea_output=hex -c extra_float_digits=1 -c timezone=UTC"
)


class Database:
    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def run(self, *statements: str) -> None:
        for statement in statements:
            await self._connection.execute(statement)

    async def rows(self, query: str, parameters: Any = None) -> list[Any]:
        return await (await self._connection.execute(query, parameters)).fetchall()

    async def listen(self) -> None:
        await self.run(
            "CREATE PUBLICATION bridge FOR ALL TABLES WITH (publish_via_partition_root = true)",
            "SELECT pg_create_logical_replication_slot('bridge_' || current_database(), 'pgoutput')",
        )

    async def events(self, **tables: TableSettings) -> list[dict[str, Any]]:
        """Of what was committed since `listen` or the last call."""
        stream = decoder({f"public.{name}": settings for name, settings in tables.items()})
        sent = await self.rows(
            "SELECT (lsn - '0/0')::bigint, data FROM pg_logical_slot_get_binary_changes('bridge_' || current_database(),"
            " NULL, NULL, 'proto_version', '1', 'publication_names', 'bridge', 'messages', 'true')"
        )
        for lsn, payload in sent:
            wanted = stream.feed(iter([frame(payload, lsn)]))
            if isinstance(wanted, FactsWanted):
                stream.learn(await self._facts(wanted))
        return [decode_event(message.payload) for group in stream.take() for message in group.messages]

    async def _facts(self, wanted: FactsWanted) -> Facts:
        key = await self.rows(KEY_COLUMNS_SQL, [wanted.relation])
        return Facts.of_rows(key, await self.rows(TYPES_SQL, [list(wanted.types)]))


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    async with await psycopg.AsyncConnection.connect(
        database, autocommit=True, options=SESSION
    ) as connection:
        yield Database(connection)


# column type, value in SQL, value in the event
VALUES: list[tuple[str, str, Any]] = [
    ("int2", "-32768", -32768),
    ("int8", "9007199254740993", 9007199254740993),
    ("oid", "4294967295", 4294967295),
    ("numeric", "1273.00", Decimal("1273.00")),
    ("numeric", "'NaN'", "NaN"),
    ("numeric", "'-Infinity'", "-Infinity"),
    ("numeric", "9" * 400, int("9" * 400)),
    ("numeric", f"{'9' * 400}.50", Decimal(f"{'9' * 400}.50")),
    ("float4", "1.1", Decimal("1.1")),
    ("float8", "1e300", Decimal("1e+300")),
    ("float8", "'Infinity'", "Infinity"),
    ("bool", "false", False),
    ("timestamptz", "'2026-11-24 03:28:19.832462+02'", "2026-11-24T01:28:19.832462Z"),
    ("timestamptz", "'2026-11-24 03:28:19.500+00'", "2026-11-24T03:28:19.5Z"),
    ("timestamptz", "'0044-03-15 12:00:00+00 BC'", "0044-03-15 12:00:00+00 BC"),
    ("timestamptz", "'294276-12-31 23:59:59.999999+00'", "294276-12-31 23:59:59.999999+00"),
    ("timestamptz", "'-infinity'", "-infinity"),
    ("timestamp", "'2026-11-24 03:28:19'", "2026-11-24T03:28:19"),
    ("timestamp", "'0044-03-15 12:00:00 BC'", "0044-03-15 12:00:00 BC"),
    ("timestamp", "'infinity'", "infinity"),
    ("date", "'2026-11-24'", "2026-11-24"),
    ("date", "'0044-03-15 BC'", "0044-03-15 BC"),
    ("date", "'infinity'", "infinity"),
    ("time", "'24:00:00'", "24:00:00"),
    ("timetz", "'24:00:00+00'", "24:00:00+00"),
    ("interval", "'1 year 2 mons 3 days 04:05:06.7'", "P1Y2M3DT4H5M6.7S"),
    ("json", """'{"b" :\n 1.10, "b": [null]}'""", {"b": [None]}),
    ("json", """'"\\ud800"'""", '"\\ud800"'),
    ("json", """'"\\ud83d\\ude00 \\\\ud800"'""", "😀 \\ud800"),
    ("jsonb", """'{"a": {"deep": [1.50, "q\\"x"]}}'""", {"a": {"deep": [Decimal("1.50"), 'q"x']}}),
    (
        "text[]",
        r"""'{a,NULL,"NULL","","a,b","q\"x","b\\s"}'""",
        ["a", None, "NULL", "", "a,b", 'q"x', "b\\s"],
    ),
    ("text[]", "'{{a,b},{NULL,d}}'", [["a", "b"], [None, "d"]]),
    ("int4[]", "'[0:1]={7,8}'", "[0:1]={7,8}"),
    ("int4[]", "'{}'", []),
    ("numeric[]", "'{NaN,1.50}'", ["NaN", Decimal("1.50")]),
    ("timestamptz[]", "'{2026-11-24 03:28:19+00,infinity}'", ["2026-11-24T03:28:19Z", "infinity"]),
    ("jsonb[]", """ARRAY['{"a": [1]}', NULL, 'null']::jsonb[]""", [{"a": [1]}, None, None]),
    ("bytea", r"'\x00ff10'", "AP8Q"),
    ("bytea[]", r"ARRAY['\x00ff10'::bytea]", ["AP8Q"]),
    ("box[]", "'{(1,1),(0,0);(2,2),(1,1)}'", ["(1,1),(0,0)", "(2,2),(1,1)"]),
    ("int2vector", "'1 2'", "1 2"),
    ("varchar(9)", "'ñandú'", "ñandú"),
    ("char(3)", "'a'", "a  "),
    ('"char"', "'x'", "x"),
    ("name", "'some'", "some"),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("money", "12.5", "$12.50"),
    ("inet", "'10.0.0.1/8'", "10.0.0.1/8"),
    ("int4range", "'[1,3)'", "[1,3)"),
    ("tstzrange", "'[2026-01-01 00:00+00,)'", '["2026-01-01 00:00:00+00",)'),
    ("int4range[]", "'{\"[1,3)\",empty}'", ["[1,3)", "empty"]),
    ("point", "'(1,2)'", "(1,2)"),
    ("bit(3)", "'101'", "101"),
    ("tsvector", "'a:1 b'", "'a':1 'b'"),
    ("mood", "'so \"so\"'", 'so "so"'),
    ("mood[]", "ARRAY['so \"so\"', NULL]::mood[]", ['so "so"', None]),
    ("positive", "5", 5),
    ("positive[]", "'{5,6}'", [5, 6]),
    ("pairs", "'{1,2}'", [1, 2]),
    ("mood_domain", "'fine'", "fine"),
    ("pair", "ROW(1, 'a b')", '(1,"a b")'),
    ("pair[]", "ARRAY[ROW(1, 'a b')]::pair[]", ['(1,"a b")']),
    ("hstore", """'a=>"q\\"x", b=>NULL, "NULL"=>"NULL"'""", {"a": 'q"x', "b": None, "NULL": "NULL"}),
    ("hstore[]", """ARRAY['a=>1'::hstore]""", [{"a": "1"}]),
    ("hstore_domain", "'a=>1'", {"a": "1"}),
    ("text", "NULL", None),
    ("text", r"""E'tab\t \\ \x01 "q" 😀'""", 'tab\t \\ \x01 "q" 😀'),
    ("text", "''", ""),
]


async def test_every_type_takes_its_form(db: Database) -> None:
    await db.run(
        "CREATE EXTENSION hstore",
        "CREATE TYPE mood AS ENUM ('fine', 'so \"so\"')",
        "CREATE TYPE pair AS (x int, y text)",
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        "CREATE DOMAIN pairs AS int[]",
        "CREATE DOMAIN mood_domain AS mood",
        "CREATE DOMAIN hstore_domain AS hstore",
        f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(f'c{n} {kind}' for n, (kind, _, _) in enumerate(VALUES))})",
    )
    await db.listen()
    await db.run(f"INSERT INTO t VALUES (1, {', '.join(literal for _, literal, _ in VALUES)})")
    (event,) = await db.events(t=TableSettings())
    after = event["after"]
    assert after.pop("id") == 1
    assert list(after.values()) == [expected for _, _, expected in VALUES]
    assert [str(after[f"c{n}"]) for n in (3, 7)] == ["1273.00", f"{'9' * 400}.50"]


LARGE = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i)"


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL", "USING INDEX told"])
async def test_values_out_of_line_are_filled_or_listed(db: Database, identity: str) -> None:
    await db.run(
        "CREATE TABLE t (id int PRIMARY KEY, tenant text NOT NULL, status int NOT NULL, note text)",
        "CREATE UNIQUE INDEX told ON t (tenant, id, status)",
        f"ALTER TABLE t REPLICA IDENTITY {identity}",
        f"INSERT INTO t VALUES (1, 'a', 1, {LARGE})",
    )
    ((large,),) = await db.rows("SELECT note FROM t")
    await db.listen()
    await db.run(
        "UPDATE t SET status = 2", "UPDATE t SET tenant = 'b'", "UPDATE t SET id = 2", "DELETE FROM t"
    )
    events = await db.events(t=TableSettings("tenant"))
    note = {"note": large} if identity == "FULL" else {}
    befores = {
        "DEFAULT": [None, None, {"id": 1}, {"id": 2}],
        "FULL": [
            {"id": 1, "tenant": "a", "status": 1, **note},
            {"id": 1, "tenant": "a", "status": 2, **note},
            None,
            {"id": 1, "tenant": "b", "status": 2, **note},
            {"id": 2, "tenant": "b", "status": 2, **note},
        ],
    }
    befores["USING INDEX told"] = [
        before and {name: value for name, value in before.items() if name != "note"}
        for before in befores["FULL"]
    ]
    ops = ["update", "delete", "insert", "update", "delete"]
    assert [e["op"] for e in events] == (
        ops if identity != "DEFAULT" else ["update", "update", "update", "delete"]
    )
    assert [e["before"] for e in events] == befores[identity]
    assert [e["tenant"] for e in events] == (
        ["a", "a", "b", "b", "b"] if identity != "DEFAULT" else ["a", "b", "b", None]
    )
    for event in events:
        if event["after"] is not None:
            assert event["after"].get("note") == (large if identity == "FULL" else None)
            assert event.get("unchanged", []) == ([] if identity == "FULL" else ["note"])
        told = {"FULL": ["id", "tenant", "status", "note"], "USING INDEX told": ["id", "tenant", "status"]}
        assert event.get("identity") == told.get(identity)
    assert [e["key"] for e in events][-2:] == [{"id": 2}, {"id": 2}]


async def test_a_key_out_of_line_comes_with_the_old_row(db: Database) -> None:
    await db.run("CREATE TABLE t (k text PRIMARY KEY, n int)", "ALTER TABLE t ALTER k SET STORAGE EXTERNAL")
    await db.run("INSERT INTO t VALUES (repeat('key', 800), 1)")
    await db.listen()
    await db.run("UPDATE t SET n = 2")
    (event,) = await db.events(t=TableSettings())
    assert event["key"] == event["before"] == {"k": "key" * 800}
    assert event["after"] == {"k": "key" * 800, "n": 2}


async def test_the_primary_key_is_the_key_whatever_the_identity(db: Database) -> None:
    await db.run(
        "CREATE TABLE t (a int, b text NOT NULL UNIQUE, c int, PRIMARY KEY (c, a))",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_b_key",
        "CREATE TABLE bare (a int)",
        "ALTER TABLE bare REPLICA IDENTITY FULL",
        "CREATE TABLE late (a int PRIMARY KEY DEFERRABLE)",
        "CREATE TABLE empty ()",
    )
    await db.listen()
    await db.run("INSERT INTO t VALUES (1, 'x', 3)", "DELETE FROM t", "INSERT INTO bare VALUES (1)")
    await db.run("INSERT INTO late VALUES (1)", "INSERT INTO empty DEFAULT VALUES")
    captured = dict.fromkeys(("t", "bare", "late", "empty"), TableSettings())
    inserted, deleted, bare, late, empty = await db.events(**captured)
    assert (inserted["key"], inserted["identity"]) == ({"a": 1, "c": 3}, ["b"])
    assert (deleted["key"], deleted["before"]) == (None, {"b": "x"})
    assert (bare["key"], bare["identity"]) == (None, ["a"])
    assert (late["key"], late["identity"]) == ({"a": 1}, [])
    assert (empty["key"], empty["after"]) == (None, {})


async def test_a_table_changed_within_a_transaction(db: Database) -> None:
    await db.run("CREATE TABLE t (id int PRIMARY KEY, a text, b int)")
    await db.listen()
    await db.run(
        "BEGIN",
        "INSERT INTO t VALUES (1, 'a', 1)",
        "ALTER TABLE t ADD COLUMN c numeric DEFAULT 1.50",
        "INSERT INTO t VALUES (2, 'a', 1, 2.50)",
        "ALTER TABLE t DROP COLUMN a",
        "ALTER TABLE t ALTER COLUMN b TYPE text",
        "INSERT INTO t VALUES (3, 'b', 3.50)",
        "ALTER TABLE t RENAME COLUMN b TO renamed",
        "INSERT INTO t VALUES (4, 'b', 3.50)",
        "ALTER TABLE t RENAME TO u",
        "INSERT INTO u VALUES (5, 'b', 3.50)",
        "COMMIT",
    )
    events = await db.events(t=TableSettings(), u=TableSettings())
    changes = [(e["source"]["table"], e["after"]) for e in events]
    assert changes == [
        ("t", {"id": 1, "a": "a", "b": 1}),
        ("t", {"id": 2, "a": "a", "b": 1, "c": Decimal("2.50")}),
        ("t", {"id": 3, "b": "b", "c": Decimal("3.50")}),
        ("t", {"id": 4, "renamed": "b", "c": Decimal("3.50")}),
        ("u", {"id": 5, "renamed": "b", "c": Decimal("3.50")}),
    ]
    assert [e["source"]["ordinal"] for e in events] == [1, 2, 3, 4, 5]


async def test_a_truncate_that_cascades_is_an_event_for_each_table(db: Database) -> None:
    await db.run(
        "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE child (id int PRIMARY KEY REFERENCES t)"
    )
    await db.run("CREATE TABLE other (id int PRIMARY KEY REFERENCES t)")
    await db.listen()
    await db.run("TRUNCATE t CASCADE")
    events = await db.events(t=TableSettings("tenant"), child=TableSettings())
    assert {(e["op"], e["source"]["table"], e["tenant"]) for e in events} == {
        ("truncate", "t", None),
        ("truncate", "child", None),
    }


async def test_partitions_speak_as_their_root(db: Database) -> None:
    await db.run(
        "CREATE TABLE t (id int, tenant text, PRIMARY KEY (id, tenant)) PARTITION BY LIST (tenant)",
        "CREATE TABLE t_a PARTITION OF t FOR VALUES IN ('a')",
        "CREATE TABLE t_b PARTITION OF t FOR VALUES IN ('b')",
    )
    await db.listen()
    await db.run("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET tenant = 'b'", "TRUNCATE t_b")
    events = await db.events(t=TableSettings("tenant"))
    assert [(e["op"], e["source"]["table"], e["tenant"], e["key"]) for e in events] == [
        ("insert", "t", "a", {"id": 1, "tenant": "a"}),
        ("delete", "t", "a", {"id": 1, "tenant": "a"}),
        ("insert", "t", "b", {"id": 1, "tenant": "b"}),
    ]


async def test_messages_count_but_are_not_published(db: Database) -> None:
    await db.run("CREATE TABLE t (id int PRIMARY KEY)")
    await db.listen()
    await db.run(
        "BEGIN",
        "SELECT pg_logical_emit_message(true, 'app', 'x')",
        "SELECT pg_logical_emit_message(false, 'app', 'x')",
        "INSERT INTO t VALUES (1)",
        "COMMIT",
    )
    (event,) = await db.events(t=TableSettings())
    assert event["source"]["ordinal"] == 2
    assert event["id"] == f"shop:{event['source']['commit_lsn']}:2"
