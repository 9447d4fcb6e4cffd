"""`bridge` beside a bridge.yaml and tenant acme, and the dead letters that it is about."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from bridge.cli.main import main
from eventbus.connection import connect
from eventbus.jetstream import JetStream, StoredMessage
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from tests.pipeline.burying import Graveyard

TENANT = """\
key: "4711"
connections:
  erp: {connector: rest, base_url: https://erp.example}
routes:
  orders: {mapping: order, connection: erp}
"""
MAPPING = """\
source: {table: public.orders, operations: [insert, update]}
connector: rest
repeat: upsert
request:
  method: PUT
  path: "/api/orders/{{ key.id }}"
  headers: {Idempotency-Key: "{{ delivery.id }}"}
  body: {n: "{{ after.n }}", centre: "{{ after.n | lookup('centres') }}"}
"""
CSV = "n,centre\n1,north\n2,south\n3,east\n"
LANES = 16


class Cli:
    """Called with the words of a command; code: the exit code that must come."""

    def __init__(self, folder: Path, url: str, namespace: str) -> None:
        self.folder = folder
        self.nats = replace(NatsSettings(servers=(url,)), namespace=namespace)
        sizes = ", ".join(
            f"{stream}: {{max_bytes: 64MB}}" for stream in ("events", "deliveries", "attempts", "dlq")
        )
        (folder / "bridge.yaml").write_text(
            f"nats: {{servers: ['{url}'], namespace: {namespace}, sync_interval: 2m}}\nstreams: {{{sizes}}}\n"
        )
        self.tenant(MAPPING)

    def tenant(self, mapping: str, centres: str = CSV) -> None:
        for name, text in (
            ("tenant.yaml", TENANT),
            ("mappings/order.yaml", mapping),
            ("lookups/centres.csv", centres),
        ):
            file = self.folder / "tenants/acme" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def __call__(self, *words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(main, words)
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert done.exit_code == code, done.output
        return done

    def json(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(*words, "--json", code=code).stdout.splitlines()]

    def bury(self, work: Callable[[Graveyard], Awaitable[object]]) -> None:
        async def job(jetstream: JetStream) -> None:
            await work(Graveyard(jetstream, Subjects(self.nats.namespace), LANES))

        self._do(job)

    def stored(self, stream: str) -> list[StoredMessage]:
        """What it holds, in order."""
        found: list[StoredMessage] = []

        async def job(jetstream: JetStream) -> None:
            reading = Reading(Subjects(self.nats.namespace).stream(stream), [])
            async with OrderedReader(jetstream, reading) as reader:
                there = reader.what_is_there()
                found.extend(
                    [StoredMessage(one.subject, one.seq, one.headers, one.payload) async for one in there]
                )

        self._do(job)
        return found

    def copies(self) -> list[StoredMessage]:
        """What was replayed."""
        return [one for one in self.stored("DELIVERIES") if "Bridge-Replay" in one.headers]

    def _do(self, job: Callable[[JetStream], Awaitable[None]]) -> None:
        async def work() -> None:
            async with await connect(self.nats, name="test", reconnect=False) as connection:
                await job(JetStream(connection))

        asyncio.run(work())
