"""What docs/outbox.md shows is run, and gives what it says."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

from bridge.demo.nats_server import EmbeddedNats
from eventbus.settings import NatsSettings
from tests.cdc.capturing import TABLES, Source

GUIDE = Path(__file__).parents[2] / "docs" / "outbox.md"
BLOCK = re.compile(r"```(sql|python)\n(.*?)```", re.DOTALL)
WORK_ORDERS = "CREATE TABLE work_orders (id int PRIMARY KEY, status text)"


async def test_each_example_makes_its_message(
    database: str, nats_server: EmbeddedNats, namespace: str
) -> None:
    source = Source(database, NatsSettings((nats_server.url,), namespace, sync_interval=0.0))
    source.settings = replace(source.settings, outbox="bridge.outbox")
    await source.sql(TABLES, WORK_ORDERS, "INSERT INTO work_orders SELECT generate_series(7, 10)")
    await source.set_up()
    known = {"dsn": database}
    async with source.capturing():
        await source.captured()
        for language, code in BLOCK.findall(GUIDE.read_text()):
            if language == "sql":
                await source.sql(code)
            else:
                await asyncio.to_thread(exec, code, known)
        await source.sql(f"CALL bridge.prune_outbox('{source.settings.slot}', patience => '0')")
        await source.captured()
    events = await source.events("work-order.closed")
    assert [(e["tenant"], e["key"], e["after"]["id"]) for e in events] == [
        ("4711", {"id": number}, number) for number in (7, 8, 9, 10)
    ]
    assert await source.value("SELECT count(*) FROM work_orders WHERE status = 'closed'") == 3
