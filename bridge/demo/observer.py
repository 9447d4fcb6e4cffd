"""What the demo shows while it runs, and what it judges by at the end: read from the outside, as anybody could."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from bridge.demo.erp_server import Effect as ErpEffect
from bridge.demo.judge import Change, Effect, number_in
from bridge.demo.workload import NETSUITE_TENANT, PLAIN_TENANT, SAP_TENANT
from eventbus.event import decode_event
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects

_TENANT_KEYS = {"acme": SAP_TENANT, "globex": NETSUITE_TENANT, "initech": PLAIN_TENANT}
ROUTES = ("acme/purchase-requisitions", "globex/vendors", "initech/work-requests")
_HISTORY = "SELECT table_name AS table, op, old, new FROM demo.history ORDER BY seq"


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages in each stream."""

    captured: int = 0
    routed: int = 0
    attempts: int = 0
    dead_lettered: int = 0


async def read_counts(jetstream: JetStream, subjects: Subjects) -> Counts:
    """How many messages the streams hold."""

    async def count(stream: str, subject: str) -> int:
        info = await jetstream.stream_info(subjects.stream(stream), {"subjects_filter": subject})
        return sum(((info or {}).get("state", {}).get("subjects") or {}).values())

    return Counts(
        captured=await count("EVENTS", subjects.all_events),
        routed=await count("DELIVERIES", subjects.all_deliveries),
        attempts=await count("ATTEMPTS", f"{subjects.prefix}attempts.>"),
        dead_lettered=await count("DLQ", f"{subjects.prefix}dlq.>"),
    )


async def read_history(dsn: str) -> Sequence[Change]:
    """Every committed change, in the order of its row."""
    async with (
        await psycopg.AsyncConnection.connect(dsn) as connection,
        connection.cursor(row_factory=class_row(Change)) as cursor,
    ):
        return await (await cursor.execute(_HISTORY)).fetchall()


async def read_dead_letters(jetstream: JetStream, subjects: Subjects) -> list[Effect]:
    """Which changes ended in the DLQ, and why."""
    found: list[Effect] = []
    stream, start = subjects.stream("DLQ"), 1
    while message := await jetstream.next_message(stream, f"{subjects.prefix}dlq.>", start):
        start = message.seq + 1
        letter = decode_event(message.payload)
        row = letter["event"]["after"]
        number = number_in(row.get("description") or row["name"])
        found.append(Effect(_TENANT_KEYS[letter["tenant"]], number, letter["reason"]))
    return found


async def read_latest(jetstream: JetStream, subjects: Subjects) -> dict[str, str]:
    """The last attempt of each route, in words: what it sent, what came back, what is done next."""
    found = {}
    for route in ROUTES:
        message = await jetstream.last_message(
            subjects.stream("ATTEMPTS"), subjects.attempt(*route.split("/"))
        )
        if message is not None:
            found[route] = _attempt_text(decode_event(message.payload))
    return found


def _attempt_text(record: Mapping[str, Any]) -> str:
    status = f" ({record['status']})" if record["status"] else ""
    said = f": {record['message'][:60]}" if record.get("message") else ""
    number = f", attempt {record['attempt']}" if record["attempt"] > 1 else ""
    return f"{record['outcome']}{status}{number} → {record['then'].replace('_', ' ')}{said}"


def effect_of(tenant_key: str, effect: ErpEffect) -> Effect:
    """A line of an ERP's log in the judge's terms."""
    return Effect(tenant_key, number_in(_text(tenant_key, effect.body)))


def _text(tenant_key: str, body: Any) -> str:
    if tenant_key == SAP_TENANT:
        return str(body["to_PurchaseReqnItem"][0]["PurchaseRequisitionItemText"])
    return str(body["companyName" if tenant_key == NETSUITE_TENANT else "text"])
