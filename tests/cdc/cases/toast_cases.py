"""Values stored out of line."""

from tests.cdc.cases.case import ID, TENANTS, Case, delete, insert, update

LARGE = "x" * 5_000
"""Stored out of line where the column's storage is EXTERNAL, which does not compress."""


def cases() -> list[Case]:
    table = [
        "CREATE TABLE t (id int PRIMARY KEY, n int, photo text)",
        "ALTER TABLE t ALTER photo SET STORAGE EXTERNAL",
    ]
    whole = {"id": 1, "n": 2, "photo": LARGE}
    return [
        Case(
            "a value out of line that was not touched",
            [*table, f"INSERT INTO t VALUES (1, 1, '{LARGE}')"],
            [
                "UPDATE t SET n = 2",
                "UPDATE t SET photo = 'small'",
                "UPDATE t SET n = 3",
                "UPDATE t SET photo = NULL",
            ],
            [
                update(ID, {"id": 1, "n": 2}, unchanged=["photo"]),
                update(ID, {"id": 1, "n": 2, "photo": "small"}),
                update(ID, {"id": 1, "n": 3, "photo": "small"}),
                update(ID, {"id": 1, "n": 3, "photo": None}),
            ],
        ),
        Case(
            "a value out of line, filled from the old row",
            [*table, "ALTER TABLE t REPLICA IDENTITY FULL", f"INSERT INTO t VALUES (1, 1, '{LARGE}')"],
            ["UPDATE t SET n = 2", "DELETE FROM t"],
            [
                update(ID, whole, before={**whole, "n": 1}, identity=["id", "n", "photo"]),
                delete(ID, whole, identity=["id", "n", "photo"]),
            ],
        ),
        Case(
            "a key out of line",
            [
                "CREATE TABLE t (k text PRIMARY KEY, n int)",
                "ALTER TABLE t ALTER k SET STORAGE EXTERNAL",
                "INSERT INTO t VALUES (repeat('k', 2200), 1)",
            ],
            ["UPDATE t SET n = 2", "UPDATE t SET k = 'short'"],
            [
                update({"k": "k" * 2200}, {"k": "k" * 2200, "n": 2}, before={"k": "k" * 2200}),
                update({"k": "short"}, {"k": "short", "n": 2}, before={"k": "k" * 2200}),
            ],
        ),
        Case(
            "a tenant that moves with a value out of line",
            [
                "CREATE TABLE t (id int PRIMARY KEY, tenant text NOT NULL, photo text)",
                "ALTER TABLE t ALTER photo SET STORAGE EXTERNAL",
                "CREATE UNIQUE INDEX told ON t (tenant, id)",
                "ALTER TABLE t REPLICA IDENTITY USING INDEX told",
                f"INSERT INTO t VALUES (1, 'a', '{LARGE}')",
            ],
            ["UPDATE t SET tenant = 'b'"],
            [
                delete(ID, {"id": 1, "tenant": "a"}, tenant="a", identity=["id", "tenant"]),
                insert(
                    ID, {"id": 1, "tenant": "b"}, tenant="b", identity=["id", "tenant"], unchanged=["photo"]
                ),
            ],
            {"t": TENANTS},
            ordinals=[1, 2],
        ),
    ]
