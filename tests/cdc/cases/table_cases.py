"""Tables: truncated, partitioned, with columns left out, with odd names."""

from cdc.settings import TableSettings
from tests.cdc.cases.case import ID, PLAIN, TENANTS, Case, Expected, delete, event, insert, update

_PARTITIONS = [
    "CREATE TABLE t (id int, tenant text, PRIMARY KEY (id, tenant)) PARTITION BY LIST (tenant)",
    "CREATE TABLE t_a PARTITION OF t FOR VALUES IN ('a')",
    "CREATE TABLE t_b PARTITION OF t FOR VALUES IN ('b')",
]


def _whole(number: int) -> Expected:
    return {"id": number, "tenant": "a", "n": 7}


def cases() -> list[Case]:
    a, b = {"id": 1, "tenant": "a"}, {"id": 1, "tenant": "b"}
    return [
        Case(
            "truncate cascades",
            ["CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE child (id int PRIMARY KEY REFERENCES t)"],
            ["TRUNCATE t CASCADE"],
            [event("truncate"), event("truncate", table="child")],
            {"t": TENANTS, "child": PLAIN},
            ordinals=[1, 2],
        ),
        Case(
            "partitions speak as their root",
            _PARTITIONS,
            [
                "INSERT INTO t VALUES (1, 'a')",
                "UPDATE t SET tenant = 'b'",  # from one partition to the other
                "TRUNCATE t_b",
                "CREATE TABLE t_c PARTITION OF t FOR VALUES IN ('c')",
                "INSERT INTO t VALUES (2, 'c')",
                "TRUNCATE t",
            ],
            [
                insert(a, a, tenant="a"),
                delete(a, a, tenant="a"),
                insert(b, b, tenant="b"),
                insert({"id": 2, "tenant": "c"}, {"id": 2, "tenant": "c"}, tenant="c"),
                event("truncate"),
            ],
            {"t": TENANTS},
        ),
        Case(
            "a partition with its columns in another order",
            [
                "CREATE TABLE t (id int, tenant text, gone int, PRIMARY KEY (id, tenant)) PARTITION BY LIST (tenant)",
                "ALTER TABLE t DROP gone",
                "ALTER TABLE t ADD z text",
                "CREATE TABLE t_a (tenant text NOT NULL, z text, id int NOT NULL, PRIMARY KEY (id, tenant))",
                "ALTER TABLE t ATTACH PARTITION t_a FOR VALUES IN ('a')",
            ],
            ["INSERT INTO t VALUES (1, 'a', 'z')", "DELETE FROM t"],
            [insert(a, {**a, "z": "z"}, tenant="a"), delete(a, a, tenant="a")],
            {"t": TENANTS},
        ),
        Case(
            "partitions with a replica identity of their own: an old row tells what its partition sent",
            [
                "CREATE TABLE t (id int PRIMARY KEY, tenant text NOT NULL, n int) PARTITION BY RANGE (id)",
                "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
                "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
                "CREATE UNIQUE INDEX t_identity ON t (tenant, id)",
                "ALTER TABLE t REPLICA IDENTITY USING INDEX t_identity",
                "ALTER TABLE t_2 REPLICA IDENTITY FULL",
            ],
            ["INSERT INTO t VALUES (1, 'a', 7), (11, 'a', 7)", "UPDATE t SET id = id + 1", "DELETE FROM t"],
            [
                insert(ID, _whole(1), tenant="a", identity=["id", "tenant"]),
                insert({"id": 11}, _whole(11), tenant="a", identity=["id", "tenant"]),
                update({"id": 2}, _whole(2), before=ID, tenant="a"),
                update({"id": 12}, _whole(12), before=_whole(11), tenant="a", identity=["id", "tenant", "n"]),
                delete({"id": 2}, {"id": 2}),
                delete({"id": 12}, _whole(12), tenant="a", identity=["id", "tenant", "n"]),
            ],
            {"t": TENANTS},
            wal2json=[
                insert(ID, _whole(1), tenant="a"),
                insert({"id": 11}, _whole(11), tenant="a", identity=["id", "tenant", "n"]),
                update({"id": 2}, _whole(2), before=ID, tenant="a"),
                update({"id": 12}, _whole(12), before=_whole(11), tenant="a", identity=["id", "tenant", "n"]),
                delete({"id": 2}, {"id": 2}),
                delete({"id": 12}, _whole(12), tenant="a", identity=["id", "tenant", "n"]),
            ],
        ),
        Case(
            "one partition alone",
            _PARTITIONS,
            ["INSERT INTO t VALUES (1, 'a'), (1, 'b')"],
            [insert(a, a, table="t_a", tenant="a")],
            {"t_a": TENANTS},
            publication="TABLE t_a",
        ),
        Case(
            "excluded columns",
            ["CREATE TABLE t (id int PRIMARY KEY, n int, photo text)"],
            ["INSERT INTO t VALUES (1, 1, 'p')", "UPDATE t SET photo = 'q'", "DELETE FROM t"],
            [insert(ID, {"id": 1, "n": 1}), update(ID, {"id": 1, "n": 1}), delete(ID, ID)],
            {"t": TableSettings(exclude=("photo",))},
            publication="TABLE t (id, n)",
        ),
        Case(
            "a row filter: wal2json knows none and sends every row",
            ["CREATE TABLE t (id int PRIMARY KEY, n int)", "ALTER TABLE t REPLICA IDENTITY FULL"],
            ["INSERT INTO t VALUES (1, 1)", "UPDATE t SET n = 20", "UPDATE t SET n = 2"],
            [
                insert(ID, {"id": 1, "n": 20}, identity=["id", "n"]),
                delete(ID, {"id": 1, "n": 20}, identity=["id", "n"]),
            ],
            publication="TABLE t WHERE (n > 9)",
            wal2json=[
                insert(ID, {"id": 1, "n": 1}, identity=["id", "n"]),
                update(ID, {"id": 1, "n": 20}, before={"id": 1, "n": 1}, identity=["id", "n"]),
                update(ID, {"id": 1, "n": 2}, before={"id": 1, "n": 20}, identity=["id", "n"]),
            ],
        ),
        Case(
            "a generated column is no part of the row",
            [
                "CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED, z text)"
            ],
            ["INSERT INTO t VALUES (1, 2, DEFAULT, 'z')", "UPDATE t SET n = 3", "DELETE FROM t"],
            [
                insert(ID, {"id": 1, "n": 2, "z": "z"}),
                update(ID, {"id": 1, "n": 3, "z": "z"}),
                delete(ID, ID),
            ],
        ),
        Case(
            "nor is a virtual one",
            ["CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL)"],
            ["INSERT INTO t VALUES (1, 2)"],
            [insert(ID, {"id": 1, "n": 2})],
            needs="version 18",
        ),
        Case(
            "names beyond ASCII",
            ['CREATE TABLE "Año ñandú" ("clé" int PRIMARY KEY, "a b" text, "q""x{0}" text)'],
            ["""INSERT INTO "Año ñandú" VALUES (1, 'é', 'ü')"""],
            [insert({"clé": 1}, {"clé": 1, "a b": "é", 'q"x{0}': "ü"}, table="Año ñandú")],
            {"Año ñandú": PLAIN},
        ),
        Case(
            "types with names beyond ASCII",
            [
                'CREATE TYPE "Mood ""x"" ñ" AS ENUM (\'fine\')',
                'CREATE TABLE t (id int PRIMARY KEY, m "Mood ""x"" ñ")',
            ],
            ["INSERT INTO t VALUES (1, 'fine')"],
            [insert(ID, {"id": 1, "m": "fine"})],
        ),
    ]
