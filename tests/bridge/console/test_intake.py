"""`POST /intake/<source>/<tenant>` over HTTP: what each request is answered, and what it leaves in EVENTS."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from bridge import asgi_server
from bridge.asgi_server import bind
from bridge.console import request_body
from bridge.console.intake_source import IntakeSource
from bridge.console.service import Console
from bridge.demo.nats_server import EmbeddedNats
from bridge.listen import Listen
from eventbus.errors import EventBusError
from eventbus.event import HEADER_OBJECT
from eventbus.jetstream import StoredMessage
from eventbus.objects import ObjectStore
from pipeline.payload_schema import PayloadSchema
from pipeline.secrets import SecretStore
from pipeline.tenants.model import Tenant
from tests.bridge.console.sending import ORDER, SECRET, WRITTEN, Sender
from tests.pipeline.delivering import Bus, bus, eventually

KEY = b"k" * 32
KIB = 1024
SCHEMA = b'{"properties": {"data": {"properties": {"id": {"type": "integer"}}}}}'
SOURCES = {
    "partner": IntakeSource(
        "partner", (SECRET,), PayloadSchema(SCHEMA), max_bytes=2 * KIB, key=("data", "id")
    ),
    "each": IntakeSource("each"),
    "large": IntakeSource("large", (SECRET,), max_bytes=4 * KIB * KIB),
}


@asynccontextmanager
async def console(bus: Bus) -> AsyncIterator[httpx.AsyncClient]:
    listening, stop, ready = bind(Listen("127.0.0.1", 0)), asyncio.Event(), asyncio.Event()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    running = asyncio.create_task(Console(bus.nats, SOURCES, [KEY], ready).run(listening, stop))
    await asyncio.wait_for(ready.wait(), 10)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            yield client
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)


@pytest.fixture
async def client(shop: Bus) -> AsyncIterator[httpx.AsyncClient]:
    await shop.apply(Tenant("acme", "4711"), Tenant("globex", "a/b 9"))
    async with console(shop) as client:
        yield client


@pytest.fixture
def partner(client: httpx.AsyncClient) -> Sender:
    return Sender(client)


async def events(bus: Bus) -> list[StoredMessage]:
    return await bus.stored("EVENTS", "events.>")


def counted(outcome: str, source: str = "partner") -> float:
    labels = {"source": source, "outcome": outcome}
    return REGISTRY.get_sample_value("bridge_intake_requests_total", labels) or 0.0


async def test_a_signed_webhook_is_an_event_like_any_other(partner: Sender, shop: Bus) -> None:
    before = counted("accepted")
    with capture_logs() as logs:
        answer = await partner.send("msg 1")
    assert (answer.status_code, answer.json()) == (202, {"id": "partner:wmsg=201"})
    (stored,) = await events(shop)
    assert stored.subject == f"{shop.subjects.prefix}events.partner.4711.intake.order=2Ecreated.message"
    assert stored.headers["Bridge-Event-Id"] == "partner:wmsg=201"
    event = json.loads(stored.payload)
    assert (event["tenant"], event["key"], event["after"]) == ("4711", {"id": 7}, ORDER)
    assert counted("accepted") == before + 1
    (line,) = [line for line in logs if line["event"] == "webhook"]
    del line["ms"], line["log_level"], line["event"]
    assert line == {
        "source": "partner",
        "tenant": "acme",
        "webhook_id": "msg=201",
        "outcome": "accepted",
        "bytes": len(json.dumps(ORDER)),
    }


async def test_sent_again_it_is_the_same_event(partner: Sender, shop: Bus) -> None:
    answers = [await partner.send("1"), await partner.send("1"), await partner.send("1", {"other": 1})]
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, '{"id":"partner:w1"}')}
    (stored,) = await events(shop)
    assert json.loads(stored.payload)["after"] == ORDER


async def test_an_id_is_any_text(partner: Sender, shop: Bus) -> None:
    assert (await partner.send("é." + "ü" * 100)).status_code == 202
    (stored,) = await events(shop)
    assert stored.headers["Bridge-Event-Id"].startswith("partner:w=h")


async def test_a_tenant_is_named_by_its_key_too(partner: Sender, shop: Bus) -> None:
    assert (await partner.send("1", tenant=quote("key:a/b 9", safe=""))).status_code == 202
    (stored,) = await events(shop)
    assert json.loads(stored.payload)["tenant"] == "a/b 9"
    assert shop.subjects.parse_event(stored.subject).tenant == "a=2Fb=209"


async def test_an_id_used_for_another_tenant_is_told(partner: Sender, shop: Bus) -> None:
    await partner.send("1")
    answer = await partner.send("1", tenant="globex")
    assert (answer.status_code, answer.json()) == (
        409,
        {"error": "this webhook-id was used for another tenant"},
    )
    assert len(await events(shop)) == 1


@pytest.mark.parametrize(
    ("status", "outcome", "payload", "more"),
    [
        (401, "unsigned", ORDER, {"webhook_signature": "v1,AAAA"}),
        (401, "unsigned", ORDER, {"webhook_id": ""}),
        (401, "unsigned", ORDER, {"timestamp": 1_700_000_000}),
        (401, "unsigned", ORDER, {"tenant": "nobody", "webhook_signature": "v1,AAAA"}),
        (404, "unknown_tenant", ORDER, {"tenant": "nobody"}),
        (404, "unknown_tenant", ORDER, {"tenant": "key:4712"}),
        (404, "unknown_tenant", ORDER, {"tenant": "a/b"}),
        (413, "too_large", {"x": "x" * 2 * KIB}, {}),
        (415, "media_type", ORDER, {"content_type": "text/plain"}),
        (415, "media_type", ORDER, {"content_encoding": "gzip"}),
        (400, "invalid_json", b"geheim", {}),
        (422, "schema", {"data": {"id": "geheim"}}, {}),
    ],
)
async def test_what_is_refused_leaves_nothing(
    status: int, outcome: str, payload: Any, more: dict[str, Any], partner: Sender, shop: Bus
) -> None:
    before = counted(outcome)
    with capture_logs() as logs:
        answer = await partner.send("1", payload, **more)
    assert (answer.status_code, next(iter(answer.json()))) == (status, "error")
    assert counted(outcome) == before + 1
    assert [line["outcome"] for line in logs if line["event"] == "webhook"] == [outcome]
    assert "geheim" not in answer.text + str(logs)
    assert WRITTEN not in str(logs)
    assert await events(shop) == []


async def test_the_schemas_complaint_names_the_place(partner: Sender) -> None:
    answer = await partner.send("1", {"data": {"id": "x"}})
    assert answer.json() == {
        "error": "the payload does not fulfil the schema's 'type'",
        "path": "/data/id",
    }


async def test_who_cannot_sign_does_not_learn_who_is_there(client: httpx.AsyncClient) -> None:
    for source in ("partner", "each"):
        stranger = Sender(client, source, b"another secret of 24 bytes or more")
        known, unknown = await stranger.send("1"), await stranger.send("1", tenant="nobody")
        assert known.status_code == unknown.status_code == 401
        assert known.content == unknown.content
        assert {*known.headers} == {*unknown.headers}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/intake/partner/acme", 405),
        ("PUT", "/intake/partner/acme", 405),
        ("POST", "/intake/nobody/acme", 404),
        ("POST", "/intake/partner", 404),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
    ],
)
async def test_other_requests(method: str, path: str, status: int, client: httpx.AsyncClient) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    if status > 400:
        assert answer.json()["error"]


async def test_each_tenant_has_its_own_secret_and_ids(client: httpx.AsyncClient, shop: Bus) -> None:
    store = SecretStore(shop.jetstream, shop.subjects, [KEY])
    await store.set("acme", "intake_each", WRITTEN)
    await store.set("globex", "intake_each", f"{WRITTEN.replace('YSBz', 'YSBt')} {WRITTEN}")
    each = Sender(client, "each")
    answer = await eventually(
        lambda: each.send("1", tenant="globex"), lambda answer: answer.status_code == 202
    )
    assert answer.json() == {"id": "each:wglobex.1"}
    assert (await each.send("1")).json() == {"id": "each:wacme.1"}
    await store.set("acme", "intake_each", "not a secret")
    await eventually(lambda: each.send("1"), lambda answer: answer.status_code == 401)
    assert len(await events(shop)) == 2


async def test_a_tenant_applied_meanwhile_is_known(partner: Sender, shop: Bus) -> None:
    await shop.apply(Tenant("initech", "9"))
    await eventually(lambda: partner.send("1", tenant="initech"), lambda answer: answer.status_code == 202)


async def test_a_large_payload_is_an_object(client: httpx.AsyncClient, shop: Bus) -> None:
    payload = {"type": "photo", "data": "x" * (2 * KIB * KIB)}
    assert (await Sender(client, "large").send("1", payload)).status_code == 202
    (stored,) = await events(shop)
    objects = ObjectStore(shop.jetstream, shop.subjects.bucket("BIG_EVENTS"))
    assert json.loads(await objects.get(stored.headers[HEADER_OBJECT]))["after"] == payload


async def test_a_full_stream_is_told_with_when_to_come_again(partner: Sender, shop: Bus) -> None:
    stream = shop.subjects.stream("EVENTS")
    info = await shop.jetstream.stream_info(stream)
    assert info is not None
    await shop.jetstream.update_stream(info["config"] | {"max_bytes": 300})
    answer = await partner.send("1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    await shop.jetstream.update_stream(info["config"])
    assert (await partner.send("1")).status_code == 202


async def test_it_goes_on_after_the_server_was_killed(own_nats: EmbeddedNats) -> None:
    async with bus(own_nats.url, "kill") as shop:
        await shop.apply(Tenant("acme", "4711"))
        async with console(shop) as client:
            partner = Sender(client)
            assert (await partner.send("1")).status_code == 202
            await own_nats.kill()
            waiting = [asyncio.create_task(partner.send(name)) for name in ("1", "2")]
            await eventually(lambda: client.get("/readyz"), lambda answer: answer.status_code == 503)
            await own_nats.start()
            assert [(await answer).status_code for answer in waiting] == [202, 202]
            await eventually(lambda: client.get("/readyz"), lambda answer: answer.status_code == 200)
            await eventually(lambda: _applied(shop), bool)
            answer = await eventually(
                lambda: partner.send("3", tenant="globex"), lambda answer: answer.status_code == 202
            )
            assert answer.json() == {"id": "partner:w3"}
        ids = [message.headers["Bridge-Event-Id"] for message in await events(shop)]
        assert ids == ["partner:w1", "partner:w2", "partner:w3"]


async def _applied(bus: Bus) -> bool:
    """Once this test's own connection is back."""
    try:
        await bus.apply(Tenant("globex", "9"))
    except EventBusError:
        return False
    return True


async def test_a_body_that_is_larger_than_it_says_is_not_kept(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * KIB

    headers = {"content-type": "application/json"}
    answer = await client.post("/intake/partner/acme", content=chunks(), headers=headers)
    assert answer.status_code == 413


async def test_a_sender_that_stops_in_its_body_is_let_go(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "_LEAST_S", 0.2)
    head = b"POST /intake/partner/acme HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    assert b"408" in await answer_to(client, head + b"Content-Length: 100\r\n\r\n{")


async def test_a_sender_that_stops_in_its_head_is_let_go(shop: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_server, "HEAD_S", 0.2)
    async with console(shop) as client:
        assert await answer_to(client, b"POST /intake/partner/acme HTTP/1.1\r\nHost:") == b""


async def answer_to(client: httpx.AsyncClient, request: bytes) -> bytes:
    """All that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def test_bodies_held_at_once_are_bounded() -> None:
    memory = request_body.BodyMemory(3)
    with memory.share() as one, memory.share() as other:
        one.take(2)
        with pytest.raises(request_body.NoRoom):
            other.take(2)
        other.take(1)
    assert memory.held == 0
