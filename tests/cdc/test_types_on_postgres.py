"""Values of every type through the WAL: what an event says, written back, is what the server holds."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc.built_in_types import BUILT_IN, form_of_message
from cdc.pgoutput import Type
from cdc.settings import TableSettings
from eventbus.event import decode_event
from eventbus.tokens import UNKNOWN_TENANT, tenant_token
from tests.cdc.json_to_text import Digits, read_exactly
from tests.cdc.typed_columns import TYPES
from tests.cdc.typed_database import Texts, TypedDatabase, listening, make_types


@pytest.fixture
async def db(database: str) -> AsyncIterator[TypedDatabase]:
    """With all types."""
    async with listening(database) as made:
        await make_types(made)
        yield made


@pytest.fixture
async def any_db(any_database: str) -> AsyncIterator[TypedDatabase]:
    """With the types that come with the server, of each version."""
    async with listening(any_database) as made:
        yield made


@pytest.fixture
async def any_typed_db(any_db: TypedDatabase) -> TypedDatabase:
    """With all types, of each version."""
    if not await any_db.rows("SELECT FROM pg_available_extensions WHERE name = 'hstore'"):
        pytest.skip("this installation comes without contrib")
    await make_types(any_db)
    return any_db


@dataclass(frozen=True)
class Change:
    """What is expected of an event: rows as the server prints them."""

    op: str
    before: Texts | None
    after: Texts | None


@dataclass(frozen=True)
class TypedTable:
    """types: of the columns c0, c1, … after `id`; tenant, key: the places of two of them."""

    types: list[str]
    rows: list[Texts]
    tenant: int
    key: int

    @property
    def settings(self) -> TableSettings:
        return TableSettings(f"c{self.tenant}", key=("id", f"c{self.key}"))

    @property
    def definition(self) -> str:
        columns = "".join(f", c{place} {name}" for place, name in enumerate(self.types))
        return f"CREATE TABLE typed (id int{columns})"

    def tenant_of(self, row: Texts) -> str | None:
        return row[1 + self.tenant]

    def written(self, row: dict[str, Any]) -> Texts:
        """A row of an event as texts that the server reads."""
        assert list(row) == ["id", *(f"c{place}" for place in range(len(self.types)))]
        values = zip(self.types, list(row.values())[1:], strict=True)
        return [row["id"], *(None if value is None else TYPES[name].written(value) for name, value in values)]


SHARES = 6
"""How many parts the types are dealt out to, so that a few examples meet each of them."""


@st.composite
def tables(draw: st.DrawFn, share: int) -> TypedTable:
    types = draw(
        st.lists(st.sampled_from(sorted(TYPES)[share::SHARES]), min_size=5, max_size=10, unique=True)
    )
    # a NULL in six
    row = st.tuples(*(st.one_of(st.none(), *[TYPES[name].texts] * 5) for name in types)).map(list)
    place = st.integers(0, len(types) - 1)
    return TypedTable(types, draw(st.lists(row, min_size=3, max_size=6)), draw(place), draw(place))


async def changed(db: TypedDatabase, table: TypedTable) -> list[Change]:
    """One transaction: every row inserted, then given the next one's values, and the first ones deleted."""
    changes: list[Change] = []
    held: list[Texts] = []
    await db.run("BEGIN")
    for number, row in enumerate(table.rows):
        values = ", ".join(["%s"] * (1 + len(row)))
        held += await db.texts(f"INSERT INTO typed VALUES ({values}) RETURNING *", [str(number), *row])
        changes.append(Change("insert", None, held[-1]))
    sets = ", ".join(f"c{place} = %s" for place in range(len(table.types)))
    for number, old in enumerate(held):
        shifted = table.rows[number - 1]
        (new,) = await db.texts(f"UPDATE typed SET {sets} WHERE id = %s RETURNING *", [*shifted, str(number)])
        held[number] = new
        if table.tenant_of(old) == table.tenant_of(new):
            changes.append(Change("update", old, new))
        else:
            changes += [Change("delete", old, None), Change("insert", None, new)]
    for old in held[:2]:
        await db.run("DELETE FROM typed WHERE id = %s", [old[0]])
        changes.append(Change("delete", old, None))
    await db.run("COMMIT")
    return changes


async def says(db: TypedDatabase, table: TypedTable, row: dict[str, Any] | None) -> Texts | None:
    """An event's row, read by the server and printed again; a number as the event has it."""
    if row is None:
        return None
    casts = ", ".join(f"%s::{name}" for name in ("int", *table.types))
    (texts,) = await db.texts(f"SELECT {casts}", table.written(row))
    return [
        str(value) if isinstance(value, Digits) else text
        for value, text in zip(row.values(), texts, strict=True)
    ]


async def round_trip(db: TypedDatabase, table: TypedTable) -> None:
    await db.run("DROP TABLE IF EXISTS typed")
    await db.run(table.definition)
    await db.run("ALTER TABLE typed REPLICA IDENTITY FULL")
    changes = await changed(db, table)
    messages = await db.captured(table.settings)
    assert len(messages) == len(changes)
    for message, change in zip(messages, changes, strict=True):
        event = read_exactly(message.payload)
        decode_event(message.payload)
        assert event["op"] == change.op
        assert await says(db, table, event["before"]) == change.before
        assert await says(db, table, event["after"]) == change.after
        row = event["after"] or event["before"]
        assert event["key"] == {name: row[name] for name in ("id", f"c{table.key}")}
        tenant = table.tenant_of(change.after or change.before or [])
        assert event["tenant"] == tenant
        token = UNKNOWN_TENANT if tenant is None else tenant_token(tenant)
        assert message.subject.decode().split(".")[2] == token


BUILT_IN_SQL = """
SELECT t.oid::int, t.typname::text, format_type(t.oid, NULL), coalesce(e.oid, 0)::int, coalesce(e.typdelim, ',')::text
FROM pg_type t LEFT JOIN pg_type e ON e.typarray = t.oid
WHERE t.oid < 10000 AND t.typtype <> 'p' AND NOT coalesce(e.typtype = 'p', false)
AND t.typname NOT IN ('pg_attribute', '_pg_attribute')
AND NOT (t.typtype = 'c' AND t.typrelid IN (SELECT oid FROM pg_class WHERE relisshared))
"""
"""Types that a column may have (rows of pg_attribute hold a pseudo-type): OID, name, name in SQL, element's OID and its delimiter, where it is an array."""


async def test_every_type_that_comes_with_the_server_is_known_by_its_oid(any_db: TypedDatabase) -> None:
    db = any_db
    found = await db.rows(BUILT_IN_SQL)
    assert len(found) > 160
    for oid, name, _, element, delimiter in found:
        assert form_of_message(Type(oid, "pg_catalog", name)) is BUILT_IN[oid]
        if element:
            assert BUILT_IN[oid].to_json(f"{{NULL{delimiter}NULL}}") == "[null,null]"
    columns = ", ".join(f"c{oid} {name}" for oid, _, name, _, _ in found)
    await db.run("CREATE DOMAIN addresses AS inet[]")
    await db.run(f"CREATE TABLE typed (id addresses, seen information_schema.time_stamp, {columns})")
    await db.run("INSERT INTO typed VALUES ('{10.0.0.1}', '2026-11-24 03:28:19+00')")
    (message,) = await db.captured(TableSettings(key=("id",)))
    after = decode_event(message.payload)["after"]
    assert (after["id"], after["seen"]) == (["10.0.0.1"], "2026-11-24T03:28:19Z")
    assert set(list(after.values())[2:]) == {None}
    assert db.asked == set()


NO_INPUT = {
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
}


async def test_random_rows_are_of_every_type(db: TypedDatabase) -> None:
    """Nobody makes values of those without input; xml needs a server that was built with it."""
    names = [f"'{name}'::regtype" for name in TYPES]
    made = {
        name
        for (name,) in await db.rows(f"SELECT typname::text FROM pg_type WHERE oid IN ({','.join(names)})")
    }
    missing = {name for _, name, _, _, _ in await db.rows(BUILT_IN_SQL)} - made
    rows = {name for name in missing if name.removeprefix("_") in {"pg_type", "pg_proc", "pg_class"}}
    assert missing - rows - NO_INPUT == {"xml", "_xml", "_gtsvector"}


CATALOGUES = ("pg_class", "pg_type", "pg_proc", "pg_constraint", "pg_index", "pg_rewrite", "pg_aggregate")


@pytest.mark.parametrize("catalogue", CATALOGUES)
async def test_rows_that_the_server_made_are_what_it_says_itself(db: TypedDatabase, catalogue: str) -> None:
    await db.run(f"CREATE TABLE typed AS SELECT * FROM {catalogue} LIMIT 0")
    await db.run(f"ALTER TABLE typed ADD COLUMN whole {catalogue}, ADD COLUMN n serial")
    await db.run(f"INSERT INTO typed SELECT c.*, c FROM {catalogue} c ORDER BY random() LIMIT 300")
    printed = await db.texts("SELECT whole FROM typed ORDER BY n")
    said = [row for (row,) in await db.rows("SELECT to_jsonb(typed) - 'whole' FROM typed ORDER BY n")]
    rows = [decode_event(message.payload)["after"] for message in await db.captured(TableSettings())]
    assert rows
    assert [[row.pop("whole")] for row in rows] == printed
    for row, server in zip(rows, said, strict=True):
        assert row == {name: as_said(server[name], value) for name, value in row.items()}


def as_said(server: Any, ours: Any) -> Any:
    """What to_jsonb makes of a value, in our form: it writes oid as a string, and a vector as an array."""
    if isinstance(server, list) and isinstance(ours, str):
        return " ".join(map(str, server))
    if isinstance(server, list) and isinstance(ours, list):
        return [as_said(*pair) for pair in zip(server, ours, strict=True)]
    return int(server) if isinstance(server, str) and isinstance(ours, int) else server


HURRIED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
UNSHRUNK = (Phase.reuse, Phase.generate)
"""A failing row names its column as it is; to find a smaller one takes minutes of a server's time."""


@pytest.mark.parametrize("share", range(SHARES))
@given(data=st.data())
@settings(max_examples=30, deadline=None, phases=UNSHRUNK, suppress_health_check=HURRIED)
async def test_what_an_event_says_written_back_is_what_the_server_holds(
    db: TypedDatabase, share: int, data: st.DataObject
) -> None:
    await round_trip(db, data.draw(tables(share)))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", range(SHARES))
@given(data=st.data())
@settings(max_examples=300, deadline=None, phases=UNSHRUNK, suppress_health_check=HURRIED)
async def test_many_tables_of_random_types_on_each_version(
    any_typed_db: TypedDatabase, share: int, data: st.DataObject
) -> None:
    await round_trip(any_typed_db, data.draw(tables(share)))


async def test_values_at_the_edges_stop_nothing(any_db: TypedDatabase) -> None:
    await any_db.run("CREATE TABLE typed (id numeric, deep jsonb, odd json, nothing jsonb, items json[])")
    digits, deep = "9" * 131_072 + "." + "9" * 16_383, "[" * 5_000 + "]" * 5_000
    odd, items = r'{"a":"\u0000","a":1e9}', r'{"\"\\udead\"","{\"b\":[1.50]}"}'
    await any_db.run("INSERT INTO typed VALUES (%s, %s, %s, 'null', %s)", [digits, deep, odd, items])
    (message,) = await any_db.captured(TableSettings(key=("id",)))
    assert list(read_exactly(message.payload)["after"].values()) == [
        digits,
        deep,
        {"a": "1e9"},
        None,
        [r'"\udead"', {"b": ["1.50"]}],
    ]


async def test_bytes_that_are_no_text_look_alike_on_each_version(any_db: TypedDatabase) -> None:
    """Version 15 sends the very byte, of the text too; 16 and later an octal escape."""
    await any_db.run('CREATE TABLE typed (id "char", chars "char"[], note text, long text)')
    byte = '(-23)::"char"'
    long = "repeat('x', 70000)"
    await any_db.run(
        f"INSERT INTO typed VALUES ({byte}, ARRAY[{byte}], {byte}::text, NULL), ({byte}, NULL, NULL, {long})"
    )
    messages = await any_db.captured(TableSettings("id", key=("id",)))
    first, second = (decode_event(message.payload) for message in messages)
    assert [message.subject.split(b".")[2] for message in messages] == [b"=5C351"] * 2
    assert first["after"] == {"id": r"\351", "chars": [r"\351"], "note": r"\351", "long": None}
    assert first["key"] == second["key"] == {"id": r"\351"}
    assert first["tenant"] == second["tenant"] == r"\351"
