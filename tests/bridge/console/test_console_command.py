"""`bridge console` as a process: from a partner's webhook to the tenant's ERP, and a stop in order."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from bridge.console.signature import sign
from bridge.demo.erp_plain import PlainErp
from bridge.demo.nats_server import EmbeddedNats
from pipeline.tenants.model import RouteSource
from tests.bridge.console.sending import ORDER, SECRET, WRITTEN, Sender
from tests.pipeline.delivering import STREAMS, Bus, acme, eventually, order_at_erp

DEADLINE_S = 60
MAPPING = """
source: {table: intake.order.created, operations: [message]}
connector: rest
repeat: upsert
request:
  method: PUT
  path: "/api/orders/{{ key.id }}"
  body: {n: "{{ after.data.n }}"}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


class Console:
    """The running command."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.port = port

    async def ready(self) -> None:
        async with httpx.AsyncClient(base_url=self.url) as client:

            async def status() -> int:
                try:
                    return (await client.get("/readyz")).status_code
                except httpx.TransportError:
                    return 0

            await eventually(status, lambda found: found == 200, DEADLINE_S)

    async def ended(self) -> tuple[int, str]:
        """Exit code and log."""
        _, log = await asyncio.wait_for(self.process.communicate(), DEADLINE_S)
        assert self.process.returncode is not None
        return self.process.returncode, log.decode()


def configure(folder: Path, url: str, namespace: str, intake: str) -> None:
    limits = ", ".join(
        f"{name}: {{max_bytes: {size}B}}"
        for name, size in (
            ("events", STREAMS.events_max_bytes),
            ("deliveries", STREAMS.deliveries_max_bytes),
            ("attempts", STREAMS.attempts_max_bytes),
            ("dlq", STREAMS.dlq_max_bytes),
        )
    )
    (folder / "bridge.yaml").write_text(
        f"nats: {{servers: ['{url}'], namespace: {namespace}, lanes: 2}}\nstreams: {{{limits}}}\n{intake}"
    )


async def start(folder: Path) -> Console:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("bridge"), "console", "--listen", str(port)),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PARTNER_WEBHOOK_SECRET": WRITTEN},
    )
    return Console(process, port)


@pytest.fixture
async def console(
    tmp_path: Path, shop: Bus, nats_server: EmbeddedNats, namespace: str
) -> AsyncIterator[Console]:
    intake = "intake: {partner: {secret: '${PARTNER_WEBHOOK_SECRET}', key: data.id}}\n"
    configure(tmp_path, nats_server.url, namespace, intake)
    running = await start(tmp_path)
    yield running
    if running.process.returncode is None:
        running.process.kill()
    await running.process.communicate()


async def test_a_webhook_reaches_the_erp_once(console: Console, shop: Bus) -> None:
    async with PlainErp() as erp:
        tenant = acme(erp, MAPPING)
        route = replace(tenant.routes["orders"], source=RouteSource("intake.order.created", ("message",)))
        await shop.apply(replace(tenant, routes={"orders": route}))
        shop.route()
        shop.work()
        await console.ready()
        async with httpx.AsyncClient(base_url=console.url, timeout=30) as client:
            sender = Sender(client)
            for number in (1, 1, 2, 3, 2):
                payload = ORDER | {"data": {"id": 7, "n": number}}
                assert (await sender.send(f"msg_{number}", payload)).status_code == 202
            assert (await sender.send("msg_4", ORDER | {"type": "order.deleted"})).status_code == 202
        await shop.settled_of(3)
        assert order_at_erp(erp) == {"7": [1, 2, 3]}
        assert [attempt["delivery_id"] for attempt in await shop.attempts()] == [
            f"partner:wmsg=5F{number}/acme/orders".replace("=5F", "_") for number in (1, 2, 3)
        ]


async def test_what_is_under_way_at_sigterm_is_answered(console: Console, shop: Bus) -> None:
    async with PlainErp() as erp:
        await shop.apply(acme(erp))
    await console.ready()
    body, now = json.dumps(ORDER).encode(), str(int(time.time()))
    reader, writer = await asyncio.open_connection("127.0.0.1", console.port)
    writer.write(
        b"POST /intake/partner/acme HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nwebhook-id: 1\r\nwebhook-timestamp: %b\r\nwebhook-signature: %b\r\n"
        b"Expect: 100-continue\r\n\r\n" % (len(body), now.encode(), sign(SECRET, "1", now, body).encode())
    )
    # now it is sure to be under way
    assert b"100 Continue" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    console.process.send_signal(signal.SIGTERM)

    async def refused() -> bool:
        try:
            _, tried = await asyncio.open_connection("127.0.0.1", console.port)
            tried.close()
            await tried.wait_closed()
        except OSError:  # refused, or reset: it was in the queue of a socket that is closed
            return True
        return False

    await eventually(refused, bool)
    writer.write(body)
    assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 202")
    writer.close()
    await writer.wait_closed()
    code, log = await console.ended()
    assert code == 0
    assert [message.headers["Bridge-Event-Id"] for message in await shop.stored("EVENTS", "events.>")] == [
        "partner:w1"
    ]
    assert "accepted" in [json.loads(line).get("outcome") for line in log.splitlines()]
    assert WRITTEN not in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("intake", "complaint"),
    [
        ("", "has no `intake`"),
        (
            "intake: {partner: {secret: hush}}\n",
            "bridge.yaml:3:28: intake.partner.secret: not a webhook secret",
        ),
    ],
)
async def test_without_anybody_to_hear_it_does_not_begin(intake: str, complaint: str, tmp_path: Path) -> None:
    configure(tmp_path, "nats://127.0.0.1:1", "", intake)
    running = await start(tmp_path)
    code, log = await running.ended()
    assert code == 2
    assert complaint in log
    assert "hush" not in log


async def test_without_a_server_it_ends_with_3(tmp_path: Path) -> None:
    configure(tmp_path, "nats://127.0.0.1:1", "", "intake: {partner: {}}\n")
    assert (await (await start(tmp_path)).ended())[0] == 3
