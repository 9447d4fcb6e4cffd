"""Setup where tables belong to somebody who is no superuser: who may run which script, with the real psql."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from structlog.testing import capture_logs

from bridge.demo.postgres_server import postgres_programs
from bridge.shipped_files import shipped
from cdc.lock_patience import Patience
from cdc.providers import Provider
from cdc.setup import ORDER, SetupRefused, printed, scripts, set_up
from eventbus.settings import NatsSettings
from tests.cdc.capturing import TABLES, Source, eventually
from tests.cdc.checking import findings_of

SQL = shipped("migrations")
CATALOGUES = ("pg_publication", "pg_publication_rel", "pg_description", "pg_class", "pg_proc", "pg_namespace")


@pytest.fixture
async def source(database: str) -> AsyncIterator[Source]:
    async with owned(database) as found:
        yield found


@asynccontextmanager
async def owned(database: str) -> AsyncIterator[Source]:
    """Its tables and its database's rights belong to owner_…, who is no superuser, as admin_… is none."""
    found = Source(database, NatsSettings())
    name = str(conninfo_to_dict(database)["dbname"])
    owner, admin, reader = f"owner_{name}", f"admin_{name}", f"reader_{name}"
    await found.sql(
        f"CREATE ROLE {owner} LOGIN PASSWORD 'o'",
        f"CREATE ROLE {admin} LOGIN CREATEROLE REPLICATION PASSWORD 'a'",
        f"GRANT CREATE ON DATABASE {name} TO {owner}",
        f"GRANT CREATE ON SCHEMA public TO {owner}",
        f"SET ROLE {owner}; {TABLES}",
    )
    reading = make_conninfo(database, user=reader, password="hunter2")
    found.settings = dataclasses.replace(found.settings, dsn=reading, outbox="bridge.outbox")
    yield found
    await found.sql(
        "DROP PUBLICATION IF EXISTS bridge",
        f"DROP OWNED BY {owner}, {admin} CASCADE",
        f"DROP ROLE IF EXISTS {reader}",
        f"DROP ROLE {admin}, {owner}",
    )


def login(source: Source, kind: str) -> str:
    name = str(conninfo_to_dict(source.dsn)["dbname"])
    return make_conninfo(source.dsn, user=f"{kind}_{name}", password=kind[0])


async def psql(dsn: str, text: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(str(postgres_programs() / "psql"), "--no-psqlrc", "--quiet", dsn),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate(text.encode())
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def catalogue(source: Source) -> list[Any]:
    """Every version of every row that setup could touch."""
    rows: list[Any] = []
    for name in CATALOGUES:
        rows += await source.sql(f"SELECT '{name}', xmin::text, ctid::text FROM {name} ORDER BY ctid")
    reader = conninfo_to_dict(source.settings.dsn)["user"]
    return rows + await source.sql(f"SELECT xmin::text, ctid::text FROM pg_authid WHERE rolname = '{reader}'")


def test_every_migration_has_its_place_in_the_order() -> None:
    assert sorted(ORDER) == sorted(file.stem for file in SQL.glob("*.sql"))


async def test_each_script_runs_as_its_holder_and_again_without_a_change(any_database: str) -> None:
    async with owned(any_database) as source:
        await each_script_runs_as_its_holder(source)


async def each_script_runs_as_its_holder(source: Source) -> None:
    found = printed(scripts(source.settings, SQL))
    assert list(found) == ["the owner of the tables", "a superuser"]
    assert "hunter2" not in "".join(found.values())
    by_holder = zip((login(source, "owner"), source.dsn), found.values(), strict=True)
    logins = list(by_holder)
    for dsn, text in logins:
        assert await psql(dsn, text) == (0, "")
    before = await catalogue(source)
    for dsn, text in logins:
        assert await psql(dsn, text) == (0, "")
    assert await catalogue(source) == before
    rows = "SELECT pubowner::regrole::text ~ '^owner_', pubviaroot, pubtruncate FROM pg_publication"
    assert await source.sql(rows) == [(True, True, True)]
    tables = "SELECT schemaname || '.' || tablename FROM pg_publication_tables ORDER BY 1"
    assert await source.sql(tables) == [("bridge.outbox",), ("public.marks",), ("public.orders",)]
    await source.sql(f"ALTER ROLE {user(source.settings.dsn)} PASSWORD 'hunter2'")
    assert {*(await findings_of(source.settings))} == {"wal_keep_unbounded"}  # the shared server has no limit
    await source.sql(f"CALL bridge.prune_outbox('{source.settings.slot}')")


async def test_running_it_again_writes_no_wal(source: Source) -> None:
    await set_up(source.settings, source.dsn, SQL)

    async def written() -> int:
        async with await psycopg.AsyncConnection.connect(source.dsn, autocommit=True) as connection:
            for script in scripts(source.settings, SQL):
                await connection.execute(script.text.encode())
            await connection.execute("SELECT pg_stat_force_next_flush()")
            cursor = await connection.execute(
                "SELECT wal_records FROM pg_stat_get_backend_wal(pg_backend_pid())"
            )
            row = await cursor.fetchone()
            assert row is not None
            return int(row[0])

    await written()  # may set hint bits
    assert await written() == 0


async def test_a_wrong_holder_is_told_what_it_takes(source: Source) -> None:
    owner, admin = printed(scripts(source.settings, SQL)).values()
    code, errors = await psql(login(source, "admin"), owner)
    assert (code, "permission denied" in errors) == (3, True)
    code, errors = await psql(login(source, "admin"), admin)
    assert (code, "no publication bridge made by fracttal-bridge" in errors) == (3, True)
    assert (await psql(login(source, "owner"), owner))[0] == 0
    code, errors = await psql(login(source, "owner"), admin)
    assert (code, "permission denied" in errors) == (3, True)


async def test_an_administrator_who_is_no_superuser_needs_the_owners_membership(source: Source) -> None:
    found = printed(scripts(source.settings, SQL, Provider.CLOUDSQL))
    assert list(found)[1] == "the administrator (cloudsqlsuperuser, such as postgres)"
    owner, admin = found.values()
    assert (await psql(login(source, "owner"), owner))[0] == 0
    code, errors = await psql(login(source, "admin"), admin)
    assert code == 3
    assert "may not note there where the slot begins" in errors
    remedy = next(line for line in errors.splitlines() if "HINT" in line).partition("administrator: ")[2]
    await source.sql(remedy)
    assert await psql(login(source, "admin"), admin) == (0, "")
    assert await source.sql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{source.settings.slot}'")


async def test_on_rds_membership_stands_for_replication(source: Source) -> None:
    await source.sql("CREATE ROLE rds_replication", "CREATE ROLE rds_superuser")
    try:
        await source.sql(f"GRANT rds_replication TO {user(login(source, 'admin'))} WITH ADMIN OPTION")
        role = scripts(source.settings, SQL, Provider.RDS)[2]
        assert role.holder == "the master user (rds_superuser)"
        for _ in range(2):
            assert await psql(login(source, "admin"), role.text) == (0, "")
        reader = user(source.settings.dsn)
        query = f"SELECT pg_has_role('{reader}', 'rds_replication', 'MEMBER'), rolreplication, rolconnlimit FROM pg_roles WHERE rolname = '{reader}'"
        assert await source.sql(query) == [(True, False, 10)]
        await set_up(source.settings, source.dsn, SQL)  # recognises the provider by itself
        assert await source.sql(query) == [(True, False, 10)]
    finally:
        await source.sql(f"DROP ROLE IF EXISTS {user(source.settings.dsn)}")
        await source.sql("DROP ROLE rds_replication", "DROP ROLE rds_superuser")


async def test_rds_is_not_said_of_another_server(source: Source) -> None:
    with pytest.raises(SetupRefused, match=r"neither RDS nor Aurora\. Say another --provider"):
        await set_up(source.settings, source.dsn, SQL, Provider.RDS)


def user(dsn: str) -> str:
    return str(conninfo_to_dict(dsn)["user"])


async def test_what_was_made_says_so(source: Source) -> None:
    await set_up(source.settings, source.dsn, SQL)
    comments = await source.sql(
        "SELECT obj_description('bridge.outbox'::regclass, 'pg_class'), obj_description('bridge'::regnamespace, 'pg_namespace'), "
        f"shobj_description('{user(source.settings.dsn)}'::regrole, 'pg_authid'), obj_description(oid, 'pg_publication') FROM pg_publication"
    )
    assert [json.loads(comment)["made_by"] for comment in comments[0]] == ["fracttal-bridge"] * 4


IMPATIENT = Patience(tries=2, pause_s=0.05, lock_timeout="600ms", slot_lock_timeout="600ms")


async def test_who_holds_the_lock_is_named(source: Source) -> None:
    holding = make_conninfo(source.dsn, application_name="nightly report")
    async with await psycopg.AsyncConnection.connect(holding) as holder:
        await holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE -- a secret")
        with capture_logs() as logs, pytest.raises(SetupRefused) as refused:
            await set_up(source.settings, source.dsn, SQL, patience=IMPATIENT)
        assert [(line["event"], line["attempt"]) for line in logs] == [("trying again", 1)]
        said = str(refused.value)
        assert f"process {holder.info.backend_pid} (role postgres, application 'nightly report'" in said
        assert "LOCK TABLE …" in said
        assert "given up after 2 tries" in said
        assert "secret" not in said
    assert await source.sql("SELECT FROM pg_publication") == []


async def test_a_transaction_that_keeps_the_slot_from_being_made_is_named(source: Source) -> None:
    async with await psycopg.AsyncConnection.connect(source.dsn) as holder:
        await holder.execute("INSERT INTO marks DEFAULT VALUES")
        with pytest.raises(SetupRefused, match=f"0003_slot waits .* process {holder.info.backend_pid}"):
            await set_up(source.settings, source.dsn, SQL, patience=IMPATIENT)
    assert await source.sql("SELECT obj_description(oid) ~ 'slot' FROM pg_publication") == [(False,)]


async def test_it_goes_on_once_the_lock_is_gone(source: Source) -> None:
    async with await psycopg.AsyncConnection.connect(source.dsn) as holder:
        await holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with capture_logs() as logs:
            patience = dataclasses.replace(IMPATIENT, tries=20)
            setting_up = asyncio.create_task(set_up(source.settings, source.dsn, SQL, patience=patience))

            async def told() -> bool:
                return any("LOCK TABLE" in line.get("because", "") for line in logs)

            await eventually(told, bool)
            await holder.rollback()
            await asyncio.wait_for(setting_up, 20)
