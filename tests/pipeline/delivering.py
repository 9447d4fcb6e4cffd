"""A tenant, its ERP, and the way between EVENTS and it: events are put by hand, no PostgreSQL is needed."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any, TypeVar

import msgspec

from bridge.demo.erp_plain import TOKEN, PlainErp
from bridge.demo.erp_server import ErpServer
from connectors.egress import EgressPolicy
from eventbus.buckets import Bucket
from eventbus.connection import Connection, connect
from eventbus.errors import ConnectionLost
from eventbus.event import HEADER_BACKFILL_ROUTE, HEADER_EVENT_ID, HEADER_OBJECT
from eventbus.jetstream import JetStream, StoredMessage
from eventbus.objects import ObjectStore
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.patience import patiently
from eventbus.pull_consumer import PIN_GROUP, PullConsumer, Source, pinned_consumer
from eventbus.settings import DAY, NatsSettings, StreamSettings
from eventbus.settling import Settling
from eventbus.subjects import Subjects
from eventbus.topology import desired_streams, ensure_topology
from eventbus.wire import header_lines
from pipeline.keeping.keeper import KeeperSettings
from pipeline.lanes.lease import Lease
from pipeline.lanes.takeover import State, Suspect
from pipeline.mapping_text import MappingText
from pipeline.reconnecting import reconnecting
from pipeline.routes.trouble import Trouble
from pipeline.routing.router import Router
from pipeline.rows.row_reads import RowReader
from pipeline.tenants.apply import Application
from pipeline.tenants.model import BreakerPolicy, RetryPolicy, Route, RouteSource, Tenant
from pipeline.tenants.model import Connection as Endpoint
from pipeline.worker import Worker, WorkerSettings

MB = 2**20
STREAMS = StreamSettings(
    events_max_bytes=64 * MB, deliveries_max_bytes=64 * MB, attempts_max_bytes=16 * MB, dlq_max_bytes=16 * MB
)
KEEPER = KeeperSettings(7 * DAY, DAY)
LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
QUICK = RetryPolicy(max_attempts=5, initial_s=0.05, factor=1.5, max_s=0.5, jitter=0.2)
UPSERT = """
source: {table: public.orders, operations: [insert, update]}
connector: rest
repeat: upsert
request:
  method: PUT
  path: "/api/orders/{{ key.id }}"
  body: {n: "{{ after.n }}"}
"""
UNSAFE = UPSERT.replace("repeat: upsert", "repeat: unsafe")

T = TypeVar("T")


async def eventually(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], within: float = 40.0) -> T:
    """What `ask` answers, once it holds. Fails after `within` seconds with the last answer."""
    found: Any = None
    try:
        async with asyncio.timeout(within):
            while not holds(found := await ask()):  # noqa: ASYNC110 — what is asked is a server
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {within} s; the last answer: {found!r}") from None
    result: T = found
    return result


def acme(erp: ErpServer, mapping: str = UPSERT, **route: Any) -> Tenant:
    """Tenant acme, key 4711, with the route `orders` to the ERP."""
    endpoint = Endpoint(
        "erp",
        "rest",
        erp.base_url,
        auth={"type": "bearer", "token": TOKEN},
        timeout_s=3.0,
        breaker=BreakerPolicy(failures=3, window_s=60, open_s=0.3),
    )
    source = RouteSource("public.orders")
    return Tenant(
        "acme",
        "4711",
        connections={"erp": endpoint},
        routes={"orders": Route("orders", source, "order", "erp", **{"retry": QUICK, **route})},
        mappings={"order": MappingText("mappings/order.yaml", mapping)},
    )


@dataclass
class Bus:
    """The streams of one namespace, and who works on them in this process."""

    nats: NatsSettings
    jetstream: JetStream
    subjects: Subjects
    streams: StreamSettings = STREAMS
    _number: int = 0
    _running: list[tuple[asyncio.Event, asyncio.Task[None]]] = field(default_factory=list)
    _router: Router | None = None

    @property
    def hindrance(self) -> str | None:
        """Of the router that was started last."""
        assert self._router
        return self._router.hindrance

    async def make_streams(self) -> None:
        await ensure_topology(self.jetstream, desired_streams(self.nats, self.streams))

    async def apply(self, *tenants: Tenant) -> None:
        await Application(self.jetstream, self.subjects).apply(tenants)

    async def change(self, key: int, n: int, **more: Any) -> int:
        """Puts an update of order `key`; its sequence in EVENTS."""
        self._number += 1
        event: dict[str, Any] = {
            "v": 1,
            "id": f"shop:0/{self._number:X}:1",
            "op": "update",
            "tenant": "4711",
            "source": {"name": "shop", "schema": "public", "table": "orders"},
            "key": {"id": key},
            "before": None,
            "after": {"id": key, "n": n},
        } | more
        return await self.put(json.dumps(event).encode(), event["id"], event["tenant"])

    async def put(self, payload: bytes, event_id: str, tenant: str = "4711") -> int:
        subject = self.subjects.event("shop", tenant, "public", "orders", "update")
        return await self.jetstream.publish(subject, payload, header_lines({HEADER_EVENT_ID: event_id}))

    async def read(self, key: int, n: int, route: str | None = None) -> None:
        """As a backfill does, for one route or for all that want it."""
        source = {"name": "shop", "schema": "public", "table": "orders"}
        event = {
            "op": "read",
            "tenant": "4711",
            "source": source,
            "key": {"id": key},
            "before": None,
            "after": {"id": key, "n": n},
        }
        subject = self.subjects.event("shop", "4711", "public", "orders", "read")
        headers = {HEADER_EVENT_ID: f"shop:bone:{key}"} | ({HEADER_BACKFILL_ROUTE: route} if route else {})
        await self.jetstream.publish(subject, json.dumps(event).encode(), header_lines(headers))

    async def big_change(self, key: int, n: int) -> None:
        """As `change`, of an event that is an object."""
        event_id = f"shop:0/B{n:X}:1"
        event = {
            "op": "update",
            "tenant": "4711",
            "source": {"name": "shop", "schema": "public", "table": "orders"},
            "key": {"id": key},
            "after": {"id": key, "n": n, "photo": "x" * 2 * MB},
        }
        objects = ObjectStore(self.jetstream, self.subjects.bucket("BIG_EVENTS"))
        await objects.put(event_id, json.dumps(event).encode())
        subject = self.subjects.event("shop", "4711", "public", "orders", "update")
        headers = header_lines({HEADER_EVENT_ID: event_id, HEADER_OBJECT: event_id})
        await self.jetstream.publish(subject, b"", headers)

    def route(self) -> Callable[[], Awaitable[None]]:
        """Starts a router; returns what stops it in order."""
        me = secrets.token_hex(4)

        async def run(connection: Connection, stop: asyncio.Event) -> None:
            self._router = Router(connection, self.subjects, self.nats.lanes, me)
            await self._router.run(stop)

        return self._start("router", run)

    def work(
        self,
        deadline_s: float = 600.0,
        patience_s: float = 20.0,
        keeper: KeeperSettings = KEEPER,
        me: str | None = None,
        reader: RowReader | None = None,
    ) -> Callable[[], Awaitable[None]]:
        """me: its name; the next of that name need not wait for the lanes of the last."""
        me = me or secrets.token_hex(4)
        settings = WorkerSettings(me, self.nats.lanes, deadline_s, keeper, patience_s)
        worker = Worker(self.subjects, settings, secrets_keys=(), egress=LOOPBACK)
        if reader is not None:
            worker.reads_rows_with(reader)
        return self._start("worker", worker.run, worker.aclose)

    def _start(
        self,
        name: str,
        run: Callable[[Connection, asyncio.Event], Awaitable[None]],
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> Callable[[], Awaitable[None]]:
        stop = asyncio.Event()

        async def job() -> None:
            try:
                await reconnecting(self.nats, name, lambda connection: run(connection, stop), stop)
            finally:
                if close is not None:
                    await close()

        task = asyncio.create_task(job())
        self._running.append((stop, task))

        async def end() -> None:
            stop.set()
            await task

        return end

    def crash(self) -> asyncio.Task[None]:
        """Ends the last that was started, without giving it the time to say so; what is ended then."""
        _, task = self._running[-1]
        task.cancel()
        return task

    async def crash_worker(self) -> None:
        """As `crash`, of the worker, and until it is gone."""
        async with asyncio.timeout(20):
            await asyncio.wait([self.crash()])

    async def end(self) -> None:
        for stop, task in self._running:
            stop.set()
            task.cancel()
        if self._running:
            await asyncio.wait([task for _, task in self._running])

    async def stored(self, stream: str, subject: str = "") -> list[StoredMessage]:
        """Everything a stream (or `KV_` bucket) holds, of a subject where one is named, in order.

        A server that was killed a moment ago is waited for.
        """
        async with asyncio.timeout(20):
            return await patiently(
                lambda: self._stored(stream, subject), _is_connection_lost, first=0.02, longest=0.2
            )

    async def _stored(self, stream: str, subject: str) -> list[StoredMessage]:
        bucket, _, name = stream.rpartition("_")
        full = f"{bucket}_{self.subjects.bucket(name)}" if bucket else self.subjects.stream(stream)
        wanted = [self.subjects.prefix + subject] if not bucket and subject else []
        async with OrderedReader(self.jetstream, Reading(full, wanted)) as reader:
            # what expires or is purged meanwhile is not waited for
            return [
                StoredMessage(message.subject, message.seq, message.headers, message.payload)
                async for message in reader.what_is_there()
            ]

    async def dead_letters(self) -> list[Mapping[str, Any]]:
        return [json.loads(message.payload) for message in await self.stored("DLQ", "dlq.>")]

    async def attempts(self) -> list[Mapping[str, Any]]:
        return [json.loads(message.payload) for message in await self.stored("ATTEMPTS", "attempts.>")]

    async def advisories(self) -> list[Mapping[str, Any]]:
        return [json.loads(message.payload) for message in await self.stored("ADVISORIES")]

    async def terminate(self, delivery: StoredMessage, reason: str) -> None:
        """As somebody would who has the NATS client at hand."""
        lane = self.subjects.parse_delivery(delivery.subject).lane
        subject = f"$JS.ACK.{self.subjects.stream('DELIVERIES')}.lane-{lane}.1.{delivery.seq}.1.0.0"
        await self.jetstream.connection.request(subject, f"+TERM {reason}".encode())

    async def crashed_owners(self, lane: int, suspect: int) -> None:
        """Leaves the lane as owners would that were killed three times, the last two while they handled `suspect`."""
        stream, name = self.subjects.stream("DELIVERIES"), f"lane-{lane}"
        await self.jetstream.create_consumer(
            stream, pinned_consumer(name, self.subjects.lane(lane), max_ack_pending=10_000)
        )
        settling = Settling(self.jetstream.connection)
        consumer = PullConsumer(self.jetstream.connection, Source(stream, name, PIN_GROUP), 10)
        await consumer.start()
        for times in range(3):
            messages = await consumer.next()
            while times < 2 and len(messages) < 2:
                messages += await consumer.next()
            if times < 2:
                await settling.nak(messages)
        await consumer.stop()
        bucket = Bucket(self.jetstream, self.subjects.bucket("LANES"))
        await bucket.put(f"lease.{lane}", msgspec.json.encode(Lease("somebody.else", time.time())))
        await bucket.put(f"state.{lane}", msgspec.json.encode(State(3, Suspect(suspect, 2))))

    async def crashed_apart(self, lane: int, suspect: int) -> None:
        """As `crashed_owners`, of the one route that is apart; its lane's owner has left before."""
        bucket = Bucket(self.jetstream, self.subjects.bucket("LANES"))
        entry = await bucket.get(f"state.{lane}")
        assert entry is not None
        assert entry.value is not None
        state = msgspec.json.decode(entry.value, type=State)
        [name] = await self.own_consumers()
        settling = Settling(self.jetstream.connection)
        source = Source(self.subjects.stream("DELIVERIES"), name, PIN_GROUP)
        consumer = PullConsumer(self.jetstream.connection, source, 10)
        await consumer.start()
        for _ in range(3):
            messages = await consumer.next()
            while len(messages) < 2:
                messages += await consumer.next()
            await settling.nak(messages)
        await consumer.stop()
        crashed = msgspec.structs.replace(state, suspect=Suspect(suspect, 2), crashes=1)
        await bucket.put(f"lease.{lane}", msgspec.json.encode(Lease("somebody.else", time.time())))
        await bucket.put(f"state.{lane}", msgspec.json.encode(crashed))

    async def unsettled(self) -> int:
        """Deliveries that no lane and no route apart from it has settled, delivered or not. None is certain: 0."""
        found = await self._consumers()
        left = sum(each["num_ack_pending"] + each["num_pending"] for each in found)
        return left or int(not await self._are_all(found))

    async def _are_all(self, consumers: list[dict[str, Any]]) -> bool:
        """Whether no delivery was in none of these, which were asked one after the other.

        A route that left its lane meanwhile has a consumer that was not asked, and a lane that nobody has owned yet none.
        """
        stream = self.subjects.stream("DELIVERIES")
        reached = {each["name"]: each["delivered"]["stream_seq"] for each in consumers}
        for lane in range(self.nats.lanes):
            last = await self.jetstream.last_message(stream, self.subjects.lane(lane))
            if last and reached.get(f"lane-{lane}", 0) < last.seq:
                return False
        return set(await self.jetstream.consumer_names(stream)) == reached.keys()

    async def kept_by_lanes(self) -> int:
        """What the lanes have been given and have not settled."""
        found = [
            each for each in await self._consumers() if not self.subjects.parse_own_consumer(each["name"])
        ]
        return sum(each["num_ack_pending"] for each in found)

    async def _consumers(self) -> list[dict[str, Any]]:
        stream = self.subjects.stream("DELIVERIES")
        names = await self.jetstream.consumer_names(stream)
        found = [await self.jetstream.consumer_info(stream, name) for name in names]
        return [info for info in found if info]

    async def apart(self) -> dict[str, Trouble]:
        """What the lanes' states say of routes in trouble, and of those that were lately."""
        states = Bucket(self.jetstream, self.subjects.bucket("LANES"))
        found: dict[str, Trouble] = {}
        for entry in await states.entries("state.*"):
            assert entry.value is not None
            found |= msgspec.json.decode(entry.value, type=State).routes
        return found

    async def own_consumers(self) -> list[str]:
        """The consumers of routes that are apart."""
        names = await self.jetstream.consumer_names(self.subjects.stream("DELIVERIES"))
        return [name for name in names if self.subjects.parse_own_consumer(name)]

    async def back(self, within: float = 40.0) -> None:
        """Waits until every route that was apart is its lane's again."""
        await eventually(self.own_consumers, lambda found: not found, within)

    async def settled_of(self, deliveries: int) -> None:
        """Waits until so many deliveries are routed, and all are settled."""
        await eventually(
            lambda: self.stored("DELIVERIES", "deliveries.>"), lambda found: len(found) >= deliveries
        )
        await self.settled()

    async def settled(self, within: float = 40.0) -> None:
        await eventually(self.unsettled, lambda left: left == 0, within)


@contextlib.asynccontextmanager
async def bus(
    url: str, namespace: str, lanes: int = 2, streams: StreamSettings = STREAMS
) -> AsyncIterator[Bus]:
    nats = replace(NatsSettings(servers=(url,)), namespace=namespace, lanes=lanes)
    async with await connect(nats, name="test", reconnect=True) as connection:
        found = Bus(nats, JetStream(connection), Subjects(namespace), streams)
        await found.make_streams()
        try:
            yield found
        finally:
            await found.end()


def order_at_erp(erp: PlainErp) -> dict[str, list[int]]:
    """Of each order the numbers that the ERP took, in the ERP's order."""
    numbers: dict[str, list[int]] = {}
    for effect in erp.effects:
        numbers.setdefault(effect.key, []).append(effect.body["n"])
    return numbers


def _is_connection_lost(error: BaseException) -> bool:
    return isinstance(error, ConnectionLost)
