"""Every way of `repeat`, where an answer is lost, from EVENTS to the ERP and back, on real servers."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Call, Reply, Step
from bridge.demo.nats_server import EmbeddedNats
from pipeline.mapping import MappingText
from pipeline.tenants.model import Route, RouteSource, Tenant
from tests.pipeline.delivering import QUICK, Bus, acme, bus, eventually
from tests.pipeline.processes import Runner
from tests.pipeline.test_replaying import letters_of, open_letters, replay, replaying

MAPPING = """
source: {table: public.orders}
connector: rest
request: {method: METHOD, path: "/api/ROUTE/PATH", body: {n: "{{ after.n }}", ref: "{{ event.id }}"}}
repeat: REPEAT
response: {save: {document: "{{ body.id }}"}}
"""
FIND = """
  find:
    request: {method: GET, path: /api/find, query: {ref: "{{ event.id }}"}}
    found: body.found | length > 0
    save: {document: "{{ body.found[0] }}", found: true}
"""
REPEATS = {"upsert": "upsert", "keyed": "idempotency_key", "find": FIND, "unsafe": "unsafe"}


def mapping(route: str) -> str:
    method, path = ("PUT", "{{ key.id }}") if route == "upsert" else ("POST", "")
    text = MAPPING.replace("METHOD", method).replace("ROUTE/PATH", f"{route}/{path}".rstrip("/"))
    return text.replace("REPEAT", REPEATS[route])


class Ledger(PlainErp):
    """Books everything; knows Idempotency-Keys of `keyed` alone; GET finds what was booked for a `ref`."""

    def __init__(self) -> None:
        super().__init__()
        self._fates: dict[str, Step] = {}

    def lose(self, step: Step, *collections: str) -> None:
        """What becomes of the next request that writes to each of the collections."""
        self._fates = dict.fromkeys(collections or REPEATS, step)

    def fate(self, call: Call) -> Step:
        lost = None if call.method == "GET" else self._fates.pop(call.segments[1], None)
        return lost or super().fate(call)

    def handle(self, call: Call) -> Reply:
        if call.method == "GET":
            [ref] = parse_qs(call.query)["ref"]
            of = [
                key for (name, key), body in self.documents.items() if name == "find" and body["ref"] == ref
            ]
            return Reply(200, {"found": of})
        return super().handle(call) if call.segments[1] == "keyed" else self._book(call)

    def sent(self) -> Counter[tuple[str, str]]:
        """How often by collection and method."""
        return Counter((call.segments[1], call.method) for call in self.calls)

    def booked(self) -> Counter[str]:
        return Counter(effect.collection for effect in self.effects)


@pytest.fixture
async def erp() -> AsyncIterator[Ledger]:
    async with Ledger() as erp:
        yield erp


def tenant(erp: PlainErp, *routes: str, **connection: Any) -> Tenant:
    made = acme(erp)
    return replace(
        made,
        connections={"erp": replace(made.connections["erp"], concurrency=8, **connection)},
        routes={name: Route(name, RouteSource("public.orders"), name, "erp", retry=QUICK) for name in routes},
        mappings={name: MappingText(f"mappings/{name}.yaml", mapping(name)) for name in routes},
    )


async def saved(shop: Bus) -> dict[str, Any]:
    """By route: the values."""
    found = {}
    for entry in await shop.stored("KV_SAVED"):
        values = json.loads(entry.payload)
        found[entry.subject.split(".")[3]] = {name: value["value"] for name, value in values.items()}
    return found


async def test_a_lost_answer_is_no_second_document_and_no_lost_one(shop: Bus, erp: Ledger) -> None:
    await shop.apply(tenant(erp, *REPEATS))
    shop.route()
    shop.work()
    erp.lose(Step(cut="after"))
    await shop.change(1, 5)
    await shop.settled_of(4)
    assert erp.booked() == Counter(upsert=1, keyed=1, find=1, unsafe=1)
    wanted = {("upsert", "PUT"): 2, ("keyed", "POST"): 2, ("unsafe", "POST"): 1}
    assert erp.sent() == wanted | {("find", "POST"): 1, ("find", "GET"): 1}
    keys = {call.idempotency_key for call in erp.calls}
    assert keys == {f"shop:0/1:1/acme/{route}" for route in REPEATS}
    found = await saved(shop)
    assert found.keys() == {"upsert", "keyed", "find"}
    number = next(key for collection, key in erp.documents if collection == "find")
    assert found["find"] == {"document": number, "found": True}

    erp.calls.clear()
    erp.effects.clear()
    erp.lose(Step(cut="before"))
    await shop.change(2, 6)
    await shop.settled_of(8)
    assert erp.booked() == Counter(upsert=1, keyed=1, find=1)
    assert erp.sent() == wanted | {("find", "POST"): 2, ("find", "GET"): 1}
    assert {(each["route"], each["reason"]) for each in await shop.dead_letters()} == {
        ("unsafe", "uncertain")
    }


async def test_nothing_is_sent_again_as_long_as_the_lookup_does_not_say(shop: Bus, erp: Ledger) -> None:
    refused = Reply(400, {"message": "no such filter"})
    looked_up = [Reply(500), Reply(503, None, {"Retry-After": "0"}), refused]
    erp.lose(Step(cut="after"))
    erp.script([*(Step(reply) for reply in looked_up)])
    await shop.apply(tenant(erp, "find"))
    shop.route()
    shop.work()
    await shop.change(1, 5)
    [letter] = await letters_of(shop, 1)
    assert letter.reason == "uncertain"
    attempts = await eventually(shop.attempts, lambda found: len(found) == 4)
    assert [(each["outcome"], each["then"], each["attempt"]) for each in attempts] == [
        ("uncertain", "retry", 1),
        ("retry_later", "retry", 2),
        ("unavailable", "hold", 3),
        ("rejected", "dead_letter", 3),
    ]
    # who replays it asks again, and sends nothing before there is an answer
    await replaying(shop).settle(letter.id, replay())
    await eventually(lambda: open_letters(shop), lambda found: not found)
    await shop.settled()
    assert erp.sent() == {("find", "POST"): 1, ("find", "GET"): 4}
    assert (await saved(shop))["find"]["found"] is True


async def test_a_throttle_that_only_the_mapping_sees_rests_the_connection(shop: Bus, erp: Ledger) -> None:
    made = tenant(erp, "upsert", "keyed")
    rules = "response: {throttle: status == 400 and body.code == 'SLOW', "
    text = MappingText("mappings/upsert.yaml", mapping("upsert").replace("response: {", rules))
    await shop.apply(replace(made, mappings={**made.mappings, "upsert": text}))
    erp.lose(Step(Reply(400, {"code": "SLOW"}, {"Retry-After": "1"})), "upsert")
    shop.route()
    shop.work()
    await shop.change(1, 6)
    told = await eventually(shop.attempts, lambda found: len(found) >= 2)
    assert {(each["route"], each["outcome"]) for each in told[:2]} == {
        ("upsert", "throttled"),
        ("keyed", "delivered"),
    }
    throttled, *_ = (call for call in erp.calls if call.segments[1] == "upsert")
    await shop.change(2, 7)
    await shop.settled_of(4)
    assert min(call.at for call in erp.calls[2:]) - throttled.at >= QUICK.max_s
    attempts = await eventually(shop.attempts, lambda found: len(found) == 5)
    assert {each["attempt"] for each in attempts} == {1}


@pytest.mark.slow
async def test_a_worker_killed_before_it_knew_the_answer(
    nats_server: EmbeddedNats, namespace: str, erp: Ledger, tmp_path: Path
) -> None:
    async with bus(nats_server.url, namespace) as shop:
        held = asyncio.Event()
        await shop.apply(tenant(erp, *REPEATS, timeout_s=60.0))
        shop.route()
        worker = Runner(shop, tmp_path, "worker")
        await worker.start()
        try:
            # a breaker that nobody has asked yet lets one through at a time
            erp.lose(Step(Reply(200, {"id": "x"})))
            await shop.change(9, 1)
            await erp.until(lambda: len(erp.calls) == 4, timeout_s=40)
            await shop.settled_of(4)
            erp.calls.clear()
            erp.lose(Step(hold=held))
            await shop.change(1, 5)
            await erp.until(lambda: len(erp.calls) == 4, timeout_s=30)
            await worker.kill()
            held.set()
            await erp.until(lambda: len(erp.effects) == 4)  # the ERP carries out what it has, whoever asked
            await worker.start()
            await shop.settled(40)
            assert await worker.stop() == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                await worker.kill()
        assert erp.booked() == Counter(upsert=1, keyed=1, find=1, unsafe=1)
        assert erp.sent() == {
            ("upsert", "PUT"): 2,
            ("keyed", "POST"): 2,
            ("find", "POST"): 1,
            ("find", "GET"): 1,
            ("unsafe", "POST"): 1,
        }
        [letter] = await shop.dead_letters()
        assert (letter["route"], letter["reason"]) == ("unsafe", "uncertain")
        assert letter["error"]["class"] == "interrupted"
        assert (await saved(shop))["find"]["found"] is True
