"""`bridge cdc check` and `bridge cdc setup` as programs: what they read, print and exit with."""

import json
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from bridge.demo.postgres_server import EmbeddedPostgres
from eventbus.settings import NatsSettings
from tests.cdc.capturing import Source
from tests.cdc.test_setup import bridge, config

MAPPING = """
source: {table: public.orders}
when: became('status', 'paid')
connector: rest
request: {method: POST, path: /orders, body: {id: "{{ key.id }}"}}
"""
TENANT = """
key: "1"
connections: {erp: {connector: rest, base_url: "https://erp.example"}}
routes: {paid: {mapping: paid, connection: erp}}
"""


@pytest.fixture
async def source(database: str) -> Source:
    found = Source(database, NatsSettings())
    await found.create()
    return found


async def checked(file: str, *more: str) -> dict[str, Any]:
    ended = await bridge("check", "--json", "--config", file, *more)
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert all({*line} == {"level", "code", "object", "message", "sql"} for line in lines), ended.error
    found = {line["code"]: line for line in lines}
    assert ended.code == int(any(line["level"] == "error" for line in lines))
    return found


async def test_what_the_tenants_folder_compares_is_an_error(source: Source, tmp_path: Path) -> None:
    file = config(tmp_path, source)
    # marks is published, and this bridge.yaml does not name it
    quiet = {"wal_keep_unbounded", "role_superuser", "table_not_configured"}
    assert {*(await checked(file))} == quiet
    folder = tmp_path / "tenants" / "acme"
    (folder / "mappings").mkdir(parents=True)
    (folder / "tenant.yaml").write_text(TENANT)
    (folder / "mappings" / "paid.yaml").write_text(MAPPING)
    found = await checked(file)
    assert {*found} == {*quiet, "compared_unknown"}
    assert "(company, id, status)" in found["compared_unknown"]["sql"]
    (folder / "tenant.yaml").write_text("routes: 7")
    assert {*(await checked(file))} == quiet


async def test_the_provider_may_be_said(source: Source, tmp_path: Path) -> None:
    file = config(tmp_path, source)
    found = await checked(file, "--provider", "rds")
    assert "parameter group" in found["wal_keep_unbounded"]["sql"]
    printed = await bridge("setup", "--print-sql", "--provider", "cloudsql", "--config", file)
    headings = [line for line in printed.out.splitlines() if line.startswith("-- Script")]
    assert headings == [
        "-- Script 1, for the owner of the tables; in the source's database, with psql",
        "-- Script 2, for the administrator (cloudsqlsuperuser, such as postgres); in the source's database, with psql",
    ]
    assert printed.out.splitlines()[-2].startswith("-- Then, where the role is new: \\password ")
    assert (await bridge("setup", "--provider", "elsewhere", "--config", file)).code == 2


async def test_printing_connects_to_nothing(source: Source, tmp_path: Path) -> None:
    unreachable = make_conninfo(source.dsn, port=1, password="hunter2")
    printed = await bridge(
        *("setup", "--print-sql", "--with", "outbox", "--json"),
        *("--config", config(tmp_path, source, dsn=unreachable)),
    )
    scripts = [json.loads(line) for line in printed.out.splitlines()]
    assert [script["number"] for script in scripts] == [1, 2]
    assert "CREATE TABLE %I.%I" in scripts[0]["sql"]
    assert "hunter2" not in printed.out
    nonsense = await bridge("setup", "--with", "inbox", "--config", config(tmp_path, source))
    assert (nonsense.code, "neither outbox nor heartbeat" in nonsense.error) == (2, True)


async def test_a_login_that_pg_hba_refuses_ends_with_3(
    own_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    source = Source(own_postgres.dsn(), NatsSettings())
    file = own_postgres._pgdata / "pg_hba.conf"
    file.write_text(f"host all stranger all reject\n{file.read_text()}")
    await source.sql("CREATE ROLE stranger LOGIN PASSWORD 's'", "SELECT pg_reload_conf()")
    stranger = own_postgres.dsn(user="stranger", password="s")
    refused = await bridge("check", "--config", config(tmp_path, source, dsn=stranger))
    assert (refused.code, "docs/dba.md shows it" in refused.error) == (3, True)
    missing = own_postgres.dsn(user="nobody_yet", password="s")
    unknown = await bridge("check", "--config", config(tmp_path, source, dsn=missing))
    assert (unknown.code, "`bridge cdc setup --admin-dsn`" in unknown.error) == (3, True)


async def test_tables_without_an_index_for_it_are_not_touched(source: Source, tmp_path: Path) -> None:
    """The check changes nothing, also where it prints SQL."""
    await source.sql("ALTER TABLE orders REPLICA IDENTITY DEFAULT", "DROP TABLE marks")
    dump = "SELECT c.relname::text, c.xmin::text, c.ctid::text FROM pg_class c ORDER BY 1, 3"
    before = await source.sql(dump)
    assert (await checked(config(tmp_path, source)))["delete_without_tenant"]["sql"]
    assert await source.sql(dump) == before
    assert (
        await source.sql("SELECT 1 FROM pg_stat_replication WHERE application_name = 'fracttal-bridge'") == []
    )
