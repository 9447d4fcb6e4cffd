"""Rows by the values of their columns: the tenant's own, in the forms that events have, whatever a value holds."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc.backfill.visibility import Snapshot
from cdc.row_reads.question import (
    Order,
    Question,
    ReadRefused,
    ReadTooSlow,
    Shape,
    TooLarge,
    ValueUnfit,
)
from cdc.row_reads.session import RowSession, TableChanged
from cdc.settings import SourceSettings, TableSettings

TABLES = """
CREATE TABLE parts (id int PRIMARY KEY, company int NOT NULL, wo int, code varchar(4), pad char(4), qty numeric(12, 2),
  at timestamptz, raw bytea, secret text, "od""d $1 %s" text);
CREATE INDEX ON parts (company, wo);
INSERT INTO parts VALUES
  (3, 4711, 7, 'A', 'p', 2.50, '2026-11-24T03:28:19.832462Z', '\\x00ff', 's', 'x'),
  (1, 4711, 7, 'B''"', 'p', 1273.10, null, null, 's', null),
  (2, 99, 7, 'A', 'p', 1, null, null, 's', 'x'),
  (4, 4711, 8, null, null, null, null, null, 's', null);
CREATE TABLE countries (code text PRIMARY KEY, name text);
INSERT INTO countries VALUES ('CL', 'Chile'), ('PE', 'Perú');
CREATE TABLE unlisted (id int PRIMARY KEY, company int);
CREATE TABLE loose (company int, n int);
"""
SETTINGS = {
    "public.parts": TableSettings("company", exclude=("secret",)),
    "public.countries": TableSettings(None),
    "public.loose": TableSettings("company"),
    "public.gone": TableSettings("company"),
}
BY_ORDER = Shape("public.parts", (("wo", False),))


@pytest.fixture
async def source(database: str) -> SourceSettings:
    await run(database, TABLES)
    return SourceSettings("shop", database, SETTINGS)


async def run(dsn: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


@asynccontextmanager
async def session(source: SourceSettings) -> AsyncIterator[RowSession]:
    opened = await RowSession.open(source)
    try:
        yield opened
    finally:
        await opened.close()


async def ask(source: SourceSettings, shape: Shape, *values: tuple[Any, ...], tenant: str = "4711") -> Any:
    async with session(source) as opened:
        return (await opened.read(Question(shape, tenant, values))).rows


def by(column: str, **more: Any) -> Shape:
    return Shape("public.parts", ((column, False),), **more)


async def test_rows_come_in_the_order_of_the_key_as_events_have_them(source: SourceSettings) -> None:
    rows, none = await ask(source, BY_ORDER, (7,), (99,))
    assert [row["id"] for row in rows] == [1, 3]
    assert none == []
    assert rows[1] == {
        "id": 3,
        "company": 4711,
        "wo": 7,
        "code": "A",
        "pad": "p   ",
        "qty": Decimal("2.50"),
        "at": "2026-11-24T03:28:19.832462Z",
        "raw": "AP8=",
        'od"d $1 %s': "x",
    }
    assert str(rows[0]["qty"]) == "1273.10"


async def test_no_tenant_ever_sees_another_ones_rows(source: SourceSettings) -> None:
    found, nothing = await ask(source, BY_ORDER, (7,), (8,), tenant="99")
    assert ([row["id"] for row in found], nothing) == ([2], [])
    other = Shape("public.parts", (("company", True),))
    assert await ask(source, other, ([99, 4711],), ([4711],), tenant="99") == [[found[0]], []]
    hostile = ("4711 OR true", "99' OR '1'='1", "", "4711; --")
    for tenant in hostile:
        [answer] = await ask(source, BY_ORDER, (7,), tenant=tenant)
        assert isinstance(answer, ValueUnfit)  # the column is a number


@pytest.mark.parametrize("kind", ["text", "citext", "char(10)", "numeric"])
async def test_a_tenant_that_is_only_equal_is_another_one(source: SourceSettings, kind: str) -> None:
    pair = ("12.0", "12") if kind == "numeric" else ("ACME", "acme")
    await run(
        source.dsn,
        "CREATE EXTENSION citext",
        f"CREATE TABLE owned (id int PRIMARY KEY, owner {kind})",
        f"INSERT INTO owned VALUES (1, '{pair[0]}'), (2, '{pair[1]}')",
    )
    settings = replace(source, tables={"public.owned": TableSettings("owner")})
    tenant = pair[1].ljust(10) if kind == "char(10)" else pair[1]
    [rows] = await ask(settings, Shape("public.owned", ()), (), tenant=tenant)
    assert [row["id"] for row in rows] == [2]


@pytest.mark.parametrize(
    "value",
    [
        "A' OR true --",
        "'; DROP TABLE parts; --",
        "\\",
        "$1",
        "%s",
        "{A,B}",
        '","',
        "ñ😀",
        "NULL",
        "ABCDE",
        "",
    ],
)
async def test_a_hostile_value_is_only_a_value(source: SourceSettings, value: str) -> None:
    async with await psycopg.AsyncConnection.connect(source.dsn, autocommit=True) as connection:
        await connection.execute("INSERT INTO countries VALUES (%s, 'it')", [value])
    one, listed = Shape("public.countries", (("code", False),)), Shape("public.countries", (("code", True),))
    assert await ask(source, one, (value,)) == [[{"code": value, "name": "it"}]]
    assert await ask(source, listed, ([value, "nothing"],)) == [[{"code": value, "name": "it"}]]
    # longer than varchar(4) allows: compared as it is, not cut to what would fit
    assert await ask(source, by("code"), (value + "A    ",)) == [[]]


COMPARED = [
    ("id", "3", [3]),
    ("id", Decimal(3), [3]),
    ("qty", Decimal("2.5"), [3]),
    ("qty", Decimal("2.504"), []),
    ("qty", Decimal("1.2731E+3"), [1]),
    ("at", "2026-11-24T03:28:19.832462Z", [3]),
    ("at", "2026-11-24T00:28:19.832462-03:00", [3]),
    ("raw", "AP8=", [3]),
    ("pad", "p", [1, 3]),
    ("pad", "p   ", [1, 3]),
    ("code", "B'\"", [1]),
    ('od"d $1 %s', "x", [3]),
    ("wo", None, []),
    ("code", True, []),
]


async def test_a_value_is_compared_as_its_columns_type(source: SourceSettings) -> None:
    for column, value, ids in COMPARED:
        [rows] = await ask(source, by(column), (value,))
        assert [row["id"] for row in rows] == ids, (column, value)


UNFIT: list[tuple[str, Any]] = [
    ("id", "seven"),
    ("id", 2**40),
    ("id", Decimal("1.5")),
    ("id", {"a": 1}),
    ("code", "a\0"),
    ("code", "\ud800"),
    ("raw", "%"),
]


async def test_a_value_that_does_not_fit_is_its_own_reads_mistake_alone(source: SourceSettings) -> None:
    for column, value in UNFIT:
        fine = {"id": 3, "code": "A", "raw": "AP8="}[column]
        good, bad, also_good = await ask(source, by(column), (fine,), (value,), (fine,))
        assert isinstance(bad, ValueUnfit), (column, value)
        assert [row["id"] for row in good] == [row["id"] for row in also_good] == [3]


async def test_lists_columns_order_and_limits(source: SourceSettings) -> None:
    listed = Shape(
        "public.parts", (("id", True), ("wo", False)), (Order("qty", descending=True),), columns=("id",)
    )
    assert await ask(source, listed, ([1, "3", 4], 7), ([], 7)) == [[{"id": 1}, {"id": 3}], []]
    first = by("wo", many=False, order=(Order("qty"),))
    assert [[row["id"] for row in rows] for rows in await ask(source, first, (7,), (99,))] == [[3], []]
    few = by("wo", limit=1)
    more, enough = await ask(source, few, (7,), (8,))
    assert [len(more), len(enough)] == [2, 1]  # one more than allowed tells that there are more
    assert len((await ask(source, Shape("public.countries", ()), ()))[0]) == 2


REFUSED = [
    (Shape("public.unlisted", (("id", False),)), "bridge.yaml lists"),
    (Shape("public.gone", (("id", False),)), "is not there"),
    (by("secret"), "is excluded in bridge.yaml"),
    (by("id", columns=("secret",)), "is excluded in bridge.yaml"),
    (by("id", order=(Order("secret"),)), "is excluded in bridge.yaml"),
    (by("nothing"), "no column 'nothing'"),
    (Shape("public.loose", (("n", False),)), "say with order_by"),
]


async def test_what_cannot_be_read_says_why(source: SourceSettings) -> None:
    for shape, said in REFUSED:
        with pytest.raises(ReadRefused, match=said):
            await ask(source, shape, (1,))
        async with session(source) as opened:
            with pytest.raises(ReadRefused, match=said):
                await opened.check(shape)
    async with session(source) as opened:
        await opened.check(BY_ORDER)
        await opened.check(Shape("public.countries", (("code", True),)))


async def test_rows_that_are_too_large_are_not_taken(
    source: SourceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.row_reads.session.MOST_BYTES", 30)
    large, small = await ask(source, by("wo", columns=("at", "code")), (7,), (8,))
    assert isinstance(large, TooLarge)
    assert small == [{"at": None, "code": None}]


async def test_a_role_without_rights_is_told_of_them(source: SourceSettings) -> None:
    role = f"reader_{conninfo_to_dict(source.dsn)['dbname']}"
    await run(
        source.dsn,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        "ALTER TABLE parts ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT ON countries TO {role}",
    )
    reader = replace(source, read_dsn=make_conninfo(source.dsn, user=role, password="x"))
    try:
        with pytest.raises(ReadRefused, match=r"may not read public\.parts"):
            await ask(reader, BY_ORDER, (7,))
        # what is excluded need not be granted
        granted = 'id, company, wo, code, pad, qty, at, raw, "od""d $1 %s"'
        await run(source.dsn, f"GRANT SELECT ({granted}) ON parts TO {role}")
        with pytest.raises(ReadRefused, match="row-level security"):
            await ask(reader, BY_ORDER, (7,))
        async with session(reader) as opened:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                await opened._connection.execute("CREATE TABLE x ()")
    finally:
        await run(source.dsn, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def test_a_table_that_changed_is_described_anew(source: SourceSettings) -> None:
    async with session(source) as opened:
        asked = Question(BY_ORDER, "4711", [(7,)])
        await opened.read(asked)
        await run(source.dsn, "ALTER TABLE parts ADD more text")
        with pytest.raises(TableChanged):
            await opened.read(asked)
    [rows] = await ask(source, BY_ORDER, (7,))
    assert rows[0]["more"] is None


async def test_what_takes_too_long_is_ended(source: SourceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.row_reads.session.TIMEOUT_S", 1)
    async with await psycopg.AsyncConnection.connect(source.dsn) as other:
        await other.execute("LOCK TABLE parts")
        with pytest.raises(ReadTooSlow):
            await ask(source, BY_ORDER, (7,))


async def test_it_tells_what_was_visible(source: SourceSettings) -> None:
    async with (
        await psycopg.AsyncConnection.connect(source.dsn) as writer,
        session(source) as opened,
    ):
        await writer.execute("UPDATE parts SET wo = 70 WHERE id = 3")
        cursor = await writer.execute("SELECT pg_current_xact_id()::text")
        row = await cursor.fetchone()
        assert row is not None
        xid = int(row[0])
        asked = Question(BY_ORDER, "4711", [(70,), (71,)])
        before = await opened.read(asked)
        await writer.commit()
        after = await opened.read(asked)
    assert isinstance(before.seen, Snapshot)
    assert (before.seen.sees(xid, 0), after.seen.sees(xid, 0)) == (False, True)
    assert [len(rows) for rows in counted(before.rows)] == [0, 0]
    assert [len(rows) for rows in counted(after.rows)] == [1, 0]


async def test_every_kind_of_value_has_its_events_form_and_is_compared(source: SourceSettings) -> None:
    await run(
        source.dsn,
        "CREATE EXTENSION hstore",
        "CREATE TYPE mood AS ENUM ('fine', 'so so')",
        "CREATE DOMAIN small AS int CHECK (VALUE < 10)",
        "CREATE DOMAIN moods AS mood[]",
        """CREATE TABLE kinds (id bigint PRIMARY KEY, company int, m mood, s small, ms moods, h hstore, j jsonb, ns numeric[],
           span tstzrange, b bool, f float8, p point)""",
        """INSERT INTO kinds VALUES (9007199254740993, 1, 'so so', 3, '{fine,NULL}', '"a b"=>"1", c=>NULL', '{"x": 1.50}',
           '{1.10,NaN}', '[2026-01-01Z,)', true, 'Infinity', '(1,2)')""",
    )
    settings = replace(source, tables={"public.kinds": TableSettings("company")})
    expected = {
        "id": 9007199254740993,
        "company": 1,
        "m": "so so",
        "s": 3,
        "ms": ["fine", None],
        "h": {"a b": "1", "c": None},
        "j": {"x": Decimal("1.50")},
        "ns": [Decimal("1.10"), "NaN"],
        "span": '["2026-01-01 00:00:00+00",)',
        "b": True,
        "f": "Infinity",
        "p": "(1,2)",
    }
    for column in ("id", "m", "s", "b", "f", "span"):
        shape = Shape("public.kinds", ((column, False),))
        assert await ask(settings, shape, (expected[column],), tenant="1") == [[expected]]
        listed = Shape("public.kinds", ((column, True),))
        assert await ask(settings, listed, ([expected[column]],), tenant="1") == [[expected]]
    assert await ask(settings, Shape("public.kinds", (("h", False),)), ('"c"=>NULL, "a b"=>"1"',), tenant="1")
    [unfit] = await ask(settings, Shape("public.kinds", (("s", False),)), (11,), tenant="1")
    assert unfit == []  # what the domain does not allow is nowhere, and no error
    with pytest.raises(ReadRefused, match="cannot be compared"):
        await ask(settings, Shape("public.kinds", (("p", False),)), ("(1,2)",), tenant="1")


def counted(rows: Sequence[Any]) -> list[Any]:
    assert not any(isinstance(found, Exception) for found in rows)
    return list(rows)
