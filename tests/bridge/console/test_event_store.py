"""A webhook's event on a real server: once, whoever sends it how often, and whatever breaks meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from bridge.console.event_store import EventStore
from bridge.console.marker import Marker, Outcome, Refused, Stored, digest_of
from bridge.demo.nats_server import EmbeddedNats
from eventbus.connection import Connection
from eventbus.errors import JetStreamError
from eventbus.event import HEADER_EVENT_ID, HEADER_OBJECT
from eventbus.fence import Written
from eventbus.group_commit import Outgoing
from eventbus.jetstream import StoredMessage
from eventbus.objects import ObjectStore
from eventbus.wire import header_lines
from pipeline.reconnecting import reconnecting
from tests.pipeline.delivering import Bus, bus, eventually

DAY = 86_400.0
MB = 2**20


def marker(number: int | str, tenant: str = "acme") -> Marker:
    return Marker(f"partner:w{number}", tenant, "digest")


def event(bus: Bus, number: int | str, size: int = 10) -> Outgoing:
    payload = json.dumps({"id": f"partner:w{number}", "after": "x" * size}).encode()
    subject = bus.subjects.event("partner", "4711", "intake", "event", "message")
    return Outgoing(subject.encode(), b"Bridge-Event-Id: partner:w%b\r\n" % str(number).encode(), payload, ())


async def events(bus: Bus) -> list[str]:
    return [message.headers[HEADER_EVENT_ID] for message in await bus.stored("EVENTS", "events.>")]


async def markers(bus: Bus) -> list[StoredMessage]:
    return await bus.stored("EVENTS", "intake.>")


class Stores:
    """Stores as so many consoles would have them, each on a connection of its own."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._ends: list[Callable[[], Awaitable[None]]] = []

    async def one(self, within: float = 10.0) -> EventStore:
        store, attached, end = EventStore(self.bus.subjects, within), asyncio.Event(), asyncio.Event()

        async def attach(connection: Connection) -> None:
            store.attach(connection)
            attached.set()
            ending, losing = asyncio.ensure_future(end.wait()), asyncio.ensure_future(connection.lost.wait())
            await asyncio.wait((ending, losing), return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            losing.cancel()
            if not end.is_set():
                raise connection.loss()

        task = asyncio.create_task(reconnecting(self.bus.nats, "store", attach, end))

        async def ended() -> None:
            end.set()
            await task

        self._ends.append(ended)
        await asyncio.wait_for(attached.wait(), 10)
        return store

    async def put(self, store: EventStore, number: int | str, **more: Any) -> Stored | Refused | None:
        return await store.store(
            event(self.bus, number, more.pop("size", 10)), marker(number, **more), "partner", DAY
        )

    async def end(self) -> None:
        for end in self._ends:
            await end()


@pytest.fixture
async def stores(shop: Bus) -> AsyncIterator[Stores]:
    found = Stores(shop)
    yield found
    await found.end()


async def test_the_second_arrival_is_known_and_stores_nothing(stores: Stores) -> None:
    store = await stores.one()
    first, second = await stores.put(store, 1), await stores.put(store, 1)
    assert isinstance(first, Stored)
    assert isinstance(second, Stored)
    assert (first.outcome, second.outcome) == (Outcome.STORED, Outcome.KNOWN)
    assert second.by == msgspec.structs.replace(marker(1), stored=True)
    assert await events(stores.bus) == ["partner:w1"]


async def test_many_at_once_through_two_consoles_are_one_event_each(stores: Stores) -> None:
    one, other = await stores.one(), await stores.one()
    arrivals = [stores.put(store, number) for number in range(15) for store in (one, other, one)]
    outcomes = await asyncio.gather(*arrivals)
    assert all(isinstance(outcome, Stored) for outcome in outcomes)
    assert sorted(await events(stores.bus)) == sorted(f"partner:w{number}" for number in range(15))
    stored = sum(isinstance(one, Stored) and one.outcome is Outcome.STORED for one in outcomes)
    assert stored == 15


async def test_another_tenants_id_is_told_by_its_marker(stores: Stores) -> None:
    store = await stores.one()
    await stores.put(store, 1)
    found = await stores.put(store, 1, tenant="globex")
    assert isinstance(found, Stored)
    assert (found.outcome, found.by.tenant) == (Outcome.KNOWN, "acme")


async def test_an_id_is_known_until_its_markers_expire_and_the_event_stays(stores: Stores) -> None:
    store = await stores.one()
    await store.store(event(stores.bus, 1), marker(1), "partner", DAY)
    assert [found.headers["Nats-TTL"] for found in await markers(stores.bus)] == ["86400s"] * 2
    await store.store(event(stores.bus, 2), marker(2), "partner", 1.0)
    await eventually(lambda: markers(stores.bus), lambda found: len(found) == 2, within=60.0)
    again = await store.store(event(stores.bus, 2), marker(2), "partner", 1.0)
    assert isinstance(again, Stored)
    assert again.outcome is Outcome.STORED
    assert await events(stores.bus) == ["partner:w1", "partner:w2", "partner:w2"]


async def test_what_is_purged_behind_its_readers_is_known_all_the_same(stores: Stores) -> None:
    store = await stores.one()
    await stores.put(store, 1)
    subjects = stores.bus.subjects
    await stores.bus.jetstream.purge_stream(subjects.stream("EVENTS"), subject=subjects.all_events)
    found = await stores.put(store, 1)
    assert isinstance(found, Stored)
    assert found.outcome is Outcome.KNOWN


@pytest.mark.parametrize("torn_after", [1, 2])
async def test_a_torn_batch_is_mended_by_the_next_arrival(stores: Stores, torn_after: int) -> None:
    jetstream, mine = stores.bus.jetstream, marker(1)
    opened = stores.bus.subjects.webhook("partner", digest_of(mine.id))
    await jetstream.publish(opened, msgspec.json.encode(mine), header_lines({"Nats-TTL": "60s"}))
    if torn_after == 2:
        await jetstream.publish(event(stores.bus, 1).subject.decode(), b"{}", event(stores.bus, 1).headers)
    await stores.bus.change(1, 1)  # others go on
    store = await stores.one()
    for _ in range(2):
        assert isinstance(await stores.put(store, 1), Stored)
    assert (await events(stores.bus)).count("partner:w1") == 1
    last = (await markers(stores.bus))[-1]
    assert json.loads(last.payload)["stored"] is True


async def test_several_mend_a_torn_batch_at_once(stores: Stores) -> None:
    jetstream = stores.bus.jetstream
    for number in range(8):
        subject = stores.bus.subjects.webhook("partner", digest_of(marker(number).id))
        await jetstream.publish(subject, msgspec.json.encode(marker(number)))
    pair = [await stores.one(), await stores.one()]
    outcomes = await asyncio.gather(*(stores.put(store, number) for number in range(8) for store in pair))
    assert all(isinstance(outcome, Stored) for outcome in outcomes)
    assert sorted(await events(stores.bus)) == sorted(f"partner:w{number}" for number in range(8))


async def test_an_answer_that_is_lost_is_looked_up(stores: Stores) -> None:
    store = await stores.one()
    within = store._bus
    assert within is not None
    real, lost = within.store, []

    async def deaf(*words: Any, alone: bool) -> Written:
        written = await real(*words, alone=alone)
        lost.append(written)
        return Written(None)

    within.store = deaf  # type: ignore[method-assign, assignment]  # the answer is lost here
    found = await stores.put(store, 1)
    assert isinstance(found, Stored)
    assert found.outcome is Outcome.KNOWN
    assert [written.seq is None for written in lost] == [False]
    assert await events(stores.bus) == ["partner:w1"]


async def test_a_big_event_goes_to_the_object_store_once(stores: Stores) -> None:
    one, other = await stores.one(), await stores.one()
    outcomes = await asyncio.gather(*(stores.put(store, 1, size=2 * MB) for store in (one, other)))
    assert all(isinstance(outcome, Stored) for outcome in outcomes)
    (message,) = await stores.bus.stored("EVENTS", "events.>")
    assert message.payload == b""
    objects = ObjectStore(stores.bus.jetstream, stores.bus.subjects.bucket("BIG_EVENTS"))
    assert await objects.get(message.headers[HEADER_OBJECT]) == event(stores.bus, 1, 2 * MB).payload
    # nobody's attempt leaves anything
    assert len(await _objects(stores.bus)) == 1
    assert isinstance(await stores.put(one, 1, size=2 * MB), Stored)
    assert len(await _objects(stores.bus)) == 1


async def test_a_full_stream_refuses_and_keeps_no_part(stores: Stores) -> None:
    stream = stores.bus.subjects.stream("EVENTS")
    info = await stores.bus.jetstream.stream_info(stream)
    assert info is not None
    await stores.bus.jetstream.update_stream(info["config"] | {"max_bytes": 2_000})
    store = await stores.one()
    refused = await stores.put(store, 1, size=5_000)
    assert refused == Refused(10077, surely=True)
    assert (await events(stores.bus), await markers(stores.bus)) == ([], [])
    await stores.bus.jetstream.update_stream(info["config"] | {"max_bytes": 200})
    assert await stores.put(store, 2, size=2 * MB) == Refused(10077, surely=True)
    assert await _objects(stores.bus) == []
    await stores.bus.jetstream.update_stream(info["config"])
    assert isinstance(await stores.put(store, 1, size=5_000), Stored)
    assert (await events(stores.bus)).count("partner:w1") == 1


async def test_a_flood_shares_batches(stores: Stores) -> None:
    store = await stores.one()
    await stores.put(store, 7)
    outcomes = await asyncio.gather(*(stores.put(store, number) for number in range(700)))
    assert {isinstance(outcome, Stored) for outcome in outcomes} == {True}
    stored = await stores.bus.stored("EVENTS", "events.>")
    assert sorted(await events(stores.bus)) == sorted(f"partner:w{number}" for number in range(700))
    assert len({message.headers["Nats-Batch-Id"] for message in stored}) < 20


async def test_without_an_answer_it_is_not_known(stores: Stores) -> None:
    store = await stores.one(within=0.5)
    await stores.bus.jetstream.call(f"STREAM.DELETE.{stores.bus.subjects.stream('EVENTS')}")
    with pytest.raises(JetStreamError, match="stream not found"):
        await stores.put(store, 1)


async def test_a_server_that_is_killed_again_and_again_stores_each_once(own_nats: EmbeddedNats) -> None:
    async with bus(own_nats.url, "kill") as shop:
        stores, reached = Stores(shop), asyncio.Queue[int]()
        numbers = range(60)

        async def arrive(store: EventStore) -> None:
            for number in numbers:
                while not isinstance(await stores.put(store, number), Stored):
                    pass
                reached.put_nowait(number)

        arriving = [asyncio.create_task(arrive(await stores.one(within=60))) for _ in range(2)]
        for part in (10, 25, 40):
            while await asyncio.wait_for(reached.get(), 60) < part:
                pass
            await own_nats.kill()
            await own_nats.start()
        await asyncio.gather(*arriving)
        assert sorted(await events(shop)) == sorted(f"partner:w{number}" for number in numbers)
        await stores.end()


async def _objects(bus: Bus) -> list[str]:
    bucket = bus.subjects.bucket("BIG_EVENTS")
    info = await bus.jetstream.stream_info(f"OBJ_{bucket}", {"subjects_filter": f"$O.{bucket}.M.>"})
    assert info is not None
    return list(info["state"].get("subjects") or ())
