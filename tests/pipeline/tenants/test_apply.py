"""Tenants come into force on a real server: the version first, then the routes; interrupted, the next one finishes."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from bridge.demo.nats_server import EmbeddedNats
from eventbus.buckets import Bucket
from eventbus.connection import connect
from eventbus.errors import EventBusError
from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings, StreamSettings
from eventbus.subjects import EventSubject, Subjects
from eventbus.topology import desired_streams, ensure_topology
from pipeline.mapping_text import MappingText
from pipeline.problems import ConfigurationInvalid
from pipeline.tenants.apply import Application
from pipeline.tenants.model import Connection, Route, RouteSource, Tenant
from pipeline.tenants.routing import RoutingTable
from pipeline.tenants.store import RoutesConflict, RoutesStore, TenantStore, VersionInvalid, VersionTooLarge

ORDERS = Route("orders", RouteSource("public.work_orders"), "order", "sap")
ACME = Tenant(
    "acme",
    "4711",
    connections={"sap": Connection("sap", "rest", "https://sap.example")},
    routes={"orders": ORDERS},
    mappings={"order": MappingText("acme/mappings/order.yaml", "…")},
)
INSERT = EventSubject("fracttal", "4711", "public", "work_orders", "insert")


class Server:
    """Streams and buckets in a namespace of the test's own."""

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self.jetstream = jetstream
        self.subjects = subjects
        self.application = Application(jetstream, subjects)
        self.versions = TenantStore(jetstream, subjects)
        self.routes = RoutesStore(jetstream, subjects)

    async def table(self, tenant: str) -> tuple[int, RoutingTable]:
        """What a router makes of the tenant's message, and the message's sequence."""
        table = RoutingTable()
        found = await self.jetstream.last_message(
            self.subjects.stream("EVENTS"), self.subjects.routes(tenant)
        )
        assert found is not None
        table.put(found.seq, found.payload)
        return found.seq, table


@pytest.fixture
async def server(nats_server: EmbeddedNats, namespace: str) -> AsyncIterator[Server]:
    settings = NatsSettings(servers=(nats_server.url,), namespace=namespace)
    async with await connect(settings, name="test", reconnect=False) as connection:
        jetstream = JetStream(connection)
        await ensure_topology(jetstream, desired_streams(settings, StreamSettings.embedded()))
        yield Server(jetstream, Subjects(namespace))


async def test_a_new_tenant_comes_into_force_with_its_routes(server: Server) -> None:
    (change,) = await server.application.apply([ACME])
    assert change.revision == 1
    assert change.lines == ("new, with key '4711': 1 connection, 1 route",)
    assert await server.versions.get("acme") == replace(ACME, revision=1)
    seq, table = await server.table("acme")
    assert table.targets(seq + 1, INSERT) == [("acme", "orders")]
    (found,) = await server.application.list()
    assert found.complete


async def test_again_changes_nothing(server: Server) -> None:
    await server.application.apply([ACME])
    seq, _ = await server.table("acme")
    (change,) = await server.application.apply([ACME])
    assert (change.lines, change.revision) == ((), 1)
    assert (await server.table("acme"))[0] == seq


async def test_a_change_of_no_filter_leaves_the_routes_alone(server: Server) -> None:
    await server.application.apply([ACME])
    seq, _ = await server.table("acme")
    text = replace(
        ACME, mappings={"order": MappingText("acme/mappings/order.yaml", "new")}, timezone="America/Lima"
    )
    (change,) = await server.application.apply([text])
    assert change.lines == ("timezone: 'UTC' → 'America/Lima'", "mapping order changed")
    assert (await server.table("acme"))[0] == seq
    assert (await server.versions.all())["acme"].timezone == "America/Lima"


async def test_a_dry_run_says_it_and_does_nothing(server: Server) -> None:
    (change,) = await server.application.apply([ACME], dry_run=True)
    assert change.lines
    assert await server.versions.all() == {}
    assert await server.application.list() == []


async def test_an_interrupted_apply_is_seen_and_finished_by_the_next(server: Server) -> None:
    await server.versions.put(ACME)
    (found,) = await server.application.list()
    assert not found.complete
    (change,) = await server.application.apply([ACME])
    assert change.lines == ("routes put into force, which an interrupted apply had left",)
    (found,) = await server.application.list()
    assert found.complete
    assert (await server.application.apply([ACME]))[0].lines == ()


async def test_a_removed_route_ends_and_another_begins_at_the_same_message(server: Server) -> None:
    await server.application.apply([ACME])
    first, _ = await server.table("acme")
    other = replace(ORDERS, name="other")
    (change,) = await server.application.apply([replace(ACME, routes={"other": other})])
    assert change.lines == ("route orders removed", "route other added")
    last, table = await server.table("acme")
    assert table.targets(first + 1, INSERT) == [("acme", "orders")]
    assert table.targets(last, INSERT) == [("acme", "orders")]
    assert table.targets(last + 1, INSERT) == [("acme", "other")]


async def test_of_two_applies_at_once_one_is_told_to_apply_again(server: Server) -> None:
    await server.application.apply([ACME])
    seq, _ = await server.routes.get("acme")
    await server.routes.put("acme", b'{"v":1,"tenant":"acme","revision":1,"routes":[]}', over=seq)
    with pytest.raises(RoutesConflict, match="apply again"):
        await server.routes.put("acme", b"{}", over=seq)
    with pytest.raises(EventBusError):
        await server.versions.put(replace(ACME, timezone="America/Lima"))


async def test_a_key_of_a_tenant_that_is_not_in_the_folder_is_refused(server: Server) -> None:
    await server.application.apply([ACME])
    with pytest.raises(ConfigurationInvalid, match="'4711' is the key of tenant 'acme', which is in force"):
        await server.application.apply([replace(ACME, name="renamed")])


async def test_two_tenants_may_exchange_their_keys(server: Server) -> None:
    globex = replace(ACME, name="globex", key="4712")
    await server.application.apply([ACME, globex])
    await server.application.apply([replace(ACME, key="4712"), replace(globex, key="4711")])
    seq, table = await server.table("globex")
    assert table.targets(seq + 1, INSERT) == [("globex", "orders")]


async def test_a_version_that_fits_no_message_says_what_to_do(server: Server) -> None:
    huge = replace(ACME, lookups={"units": "x" * 2**20})
    with pytest.raises(VersionTooLarge, match=r"acme: its files come to .* shorten its lookups"):
        await server.application.apply([huge])
    assert await server.versions.all() == {}


async def test_a_version_of_a_newer_bridge_is_told(server: Server) -> None:
    await Bucket(server.jetstream, server.subjects.bucket("TENANTS")).put("acme", b'{"v":2}')
    with pytest.raises(VersionInvalid, match="revision 1 of tenant acme"):
        await server.versions.all()
