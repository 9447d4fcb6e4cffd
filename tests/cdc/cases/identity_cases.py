"""Keys and replica identities: what an old row tells."""

from cdc.settings import TableSettings
from tests.cdc.cases.case import ID, PLAIN, TENANTS, Case, Expected, delete, insert, update

_TOLD = ["tenant", "id", "status"]
_IDENTITY = [
    "CREATE TABLE t (id int PRIMARY KEY, tenant text NOT NULL, status int NOT NULL, note text)",
    "CREATE UNIQUE INDEX told ON t (tenant, id, status)",
]
_CHANGES = [
    "INSERT INTO t VALUES (1, 'a', 1, 'n')",
    "UPDATE t SET note = NULL",
    "UPDATE t SET status = 2",
    "UPDATE t SET id = 2",
    "UPDATE t SET tenant = 'b'",
    "DELETE FROM t",
]


def row(id_: int, tenant: str, status: int, note: str | None) -> Expected:
    return {"id": id_, "tenant": tenant, "status": status, "note": note}


_ROWS = [
    row(1, "a", 1, "n"),
    row(1, "a", 1, None),
    row(1, "a", 2, None),
    row(2, "a", 2, None),
    row(2, "b", 2, None),
]
"""After each of `_CHANGES`."""


def _without_note(found: Expected) -> Expected:
    return {"id": found["id"], "tenant": found["tenant"], "status": found["status"]}


def cases() -> list[Case]:
    told: Expected = {"identity": ["id", "tenant", "status"]}
    full: Expected = {"identity": ["id", "tenant", "status", "note"]}
    one, two = {"id": 1}, {"id": 2}
    switched = [
        update(one, row(1, "a", 2, "n"), tenant="a", before=_ROWS[0], **full),
        update(one, row(1, "a", 3, "n"), tenant="a", before={"id": 1, "tenant": "a", "status": 2}, **told),
        delete(one, {"id": 1, "tenant": "a", "status": 3}, tenant="a", **told),
    ]
    return [
        Case(
            "replica identity default",
            _IDENTITY,
            _CHANGES,
            [
                insert(one, _ROWS[0], tenant="a"),
                update(one, _ROWS[1], tenant="a"),
                update(one, _ROWS[2], tenant="a"),
                update(two, _ROWS[3], tenant="a", before=one),
                update(two, _ROWS[4], tenant="b"),  # nothing tells the old tenant
                delete(two, two),
            ],
            {"t": TENANTS},
        ),
        Case(
            "replica identity using index",
            [*_IDENTITY, "ALTER TABLE t REPLICA IDENTITY USING INDEX told"],
            _CHANGES,
            [
                insert(one, _ROWS[0], tenant="a", **told),
                update(one, _ROWS[1], tenant="a", **told),
                update(one, _ROWS[2], tenant="a", before=_without_note(_ROWS[1]), **told),
                update(two, _ROWS[3], tenant="a", before=_without_note(_ROWS[2]), **told),
                delete(two, _without_note(_ROWS[3]), tenant="a", **told),  # the tenant moves
                insert(two, _ROWS[4], tenant="b", **told),
                delete(two, _without_note(_ROWS[4]), tenant="b", **told),
            ],
            {"t": TENANTS},
        ),
        Case(
            "replica identity full",
            [*_IDENTITY, "ALTER TABLE t REPLICA IDENTITY FULL"],
            [*_CHANGES[:2], "UPDATE t SET note = note", *_CHANGES[2:]],
            [
                insert(one, _ROWS[0], tenant="a", **full),
                update(one, _ROWS[1], tenant="a", before=_ROWS[0], **full),
                update(one, _ROWS[1], tenant="a", before=_ROWS[1], **full),
                update(one, _ROWS[2], tenant="a", before=_ROWS[1], **full),
                update(two, _ROWS[3], tenant="a", before=_ROWS[2], **full),
                delete(two, _ROWS[3], tenant="a", **full),
                insert(two, _ROWS[4], tenant="b", **full),
                delete(two, _ROWS[4], tenant="b", **full),
            ],
            {"t": TENANTS},
        ),
        Case(
            "replica identity nothing",
            ["CREATE TABLE t (id int PRIMARY KEY, n int)", "ALTER TABLE t REPLICA IDENTITY NOTHING"],
            ["INSERT INTO t VALUES (1, 2)"],
            [insert(ID, {"id": 1, "n": 2}, identity=[])],
        ),
        Case(
            "no key, full",
            ["CREATE TABLE t (a int, b text)", "ALTER TABLE t REPLICA IDENTITY FULL"],
            ["INSERT INTO t VALUES (1, 'x')", "UPDATE t SET b = NULL", "DELETE FROM t"],
            [
                insert(None, {"a": 1, "b": "x"}, identity=["a", "b"]),
                update(None, {"a": 1, "b": None}, before={"a": 1, "b": "x"}, identity=["a", "b"]),
                delete(None, {"a": 1, "b": None}, identity=["a", "b"]),
            ],
        ),
        Case(
            "the key that bridge.yaml names",
            [
                "CREATE TABLE t (a int NOT NULL, b text NOT NULL, UNIQUE (a))",
                "ALTER TABLE t REPLICA IDENTITY USING INDEX t_a_key",
            ],
            ["INSERT INTO t VALUES (1, 'x')", "UPDATE t SET a = 2", "DELETE FROM t"],
            [
                insert({"b": "x", "a": 1}, {"a": 1, "b": "x"}, identity=["a"]),
                update({"b": "x", "a": 2}, {"a": 2, "b": "x"}, before={"a": 1}, identity=["a"]),
                delete(None, {"a": 2}, identity=["a"]),
            ],
            {"t": TableSettings(key=("b", "a"))},
        ),
        Case(
            "a key of two columns, one that is deferrable, a table without columns",
            [
                "CREATE TABLE t (a int, b text, c int, PRIMARY KEY (c, a))",
                "CREATE TABLE late (a int PRIMARY KEY DEFERRABLE)",
                "CREATE TABLE empty ()",
            ],
            [
                "INSERT INTO t VALUES (1, 'x', 3)",
                "INSERT INTO late VALUES (1)",
                "INSERT INTO empty DEFAULT VALUES",
            ],
            [
                insert({"a": 1, "c": 3}, {"a": 1, "b": "x", "c": 3}),
                insert({"a": 1}, {"a": 1}, table="late", identity=[]),
                insert(None, {}, table="empty"),
            ],
            {"t": PLAIN, "late": PLAIN, "empty": PLAIN},
        ),
        Case(
            "the replica identity switched between changes: wal2json does not tell it with an insert",
            _IDENTITY,
            [
                "INSERT INTO t VALUES (1, 'a', 1, 'n')",
                "ALTER TABLE t REPLICA IDENTITY FULL",
                "UPDATE t SET status = 2",
                "ALTER TABLE t REPLICA IDENTITY USING INDEX told",
                "UPDATE t SET status = 3",
                "DELETE FROM t",
            ],
            [insert(one, _ROWS[0], tenant="a"), *switched],
            {"t": TENANTS},
            wal2json=[insert(one, _ROWS[0], tenant="a", **told), *switched],
        ),
    ]
