"""`bridge mapping check --config`: the SQL that it prints is the one index that all mappings of a table need."""

import asyncio
from pathlib import Path

import psycopg
from click.testing import CliRunner

from bridge.cli.main import main

MAPPING = "source: {{table: public.orders}}\nwhen: changed('{}')\nconnector: rest\nrequest: {{method: POST, path: /x}}\n"


async def test_the_index_has_the_tenant_and_what_any_mapping_compares(tmp_path: Path, database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "CREATE TABLE orders (tenant int NOT NULL, id int PRIMARY KEY, state text NOT NULL, kind text NOT NULL)"
        )
        (tmp_path / "bridge.yaml").write_text(
            f"sources: {{shop: {{dsn: '{database}', tables: {{public.orders: {{tenant_column: tenant}}}}}}}}\n"
        )
        for column in ("state", "kind"):
            (tmp_path / f"{column}.yaml").write_text(MAPPING.format(column))
        command = ["mapping", "check", str(tmp_path), "--config", str(tmp_path / "bridge.yaml")]
        found = await asyncio.to_thread(CliRunner().invoke, main, command)
        assert found.exit_code == 1
        [sql] = {line.strip() for line in found.stdout.splitlines() if "CREATE" in line}
        assert "(tenant, id, kind, state);" in sql
        await connection.execute(sql)
        await connection.execute("ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_bridge_identity")
        assert (await asyncio.to_thread(CliRunner().invoke, main, command)).exit_code == 0
