"""Tenants come into force on a real server: the version first, then the routes; interrupted, the next one finishes."""

import re
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
from pipeline.tenants.apply import Application, Manner
from pipeline.tenants.listing import list_in_force
from pipeline.tenants.model import Connection, Route, RouteSource, Tenant
from pipeline.tenants.pause_store import PauseStore
from pipeline.tenants.pauses import NOT_PAUSED, Pause, Paused
from pipeline.tenants.routing import RoutingTable
from pipeline.tenants.store import NewRoutes, RoutesConflict, RoutesStore, TenantStore, VersionInvalid
from pipeline.tenants.version import Written

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
        self.pauses = PauseStore(jetstream, subjects)

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
    (found,) = await list_in_force(server.jetstream, server.subjects)
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
    (change,) = await server.application.apply([ACME], Manner(dry_run=True))
    assert change.lines
    assert await server.versions.all() == {}
    assert await list_in_force(server.jetstream, server.subjects) == []


async def test_an_interrupted_apply_is_seen_and_finished_by_the_next(server: Server) -> None:
    await server.versions.put(ACME)
    (found,) = await list_in_force(server.jetstream, server.subjects)
    assert not found.complete
    (change,) = await server.application.apply([ACME])
    assert change.lines == ("routes put into force, which an interrupted apply had left",)
    (found,) = await list_in_force(server.jetstream, server.subjects)
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
    seq, _ = await server.table("acme")
    await server.routes.put(
        [NewRoutes("acme", b'{"v":1,"tenant":"acme","revision":1,"routes":[]}', over=seq)]
    )
    with pytest.raises(RoutesConflict, match="apply again"):
        await server.routes.put([NewRoutes("acme", b"{}", over=seq)])
    with pytest.raises(EventBusError):
        await server.versions.put(replace(ACME, timezone="America/Lima"))


async def test_a_key_of_a_tenant_that_is_not_in_the_folder_is_refused(server: Server) -> None:
    await server.application.apply([ACME])
    (change,) = await server.application.apply([replace(ACME, name="renamed")])
    assert change.refusal is not None
    assert change.refusal.mistake
    assert "'4711' is the key of tenant 'acme', which is in force" in change.refusal.message


async def test_two_tenants_may_exchange_their_keys(server: Server) -> None:
    globex = replace(ACME, name="globex", key="4712")
    await server.application.apply([ACME, globex])
    await server.application.apply([replace(ACME, key="4712"), replace(globex, key="4711")])
    seq, table = await server.table("globex")
    assert table.targets(seq + 1, INSERT) == [("globex", "orders")]


async def test_a_version_that_fits_no_message_says_what_to_do(server: Server) -> None:
    huge = replace(ACME, lookups={"units": "x" * 2**20})
    (change,) = await server.application.apply([huge])
    assert change.refusal is not None
    assert change.refusal.mistake
    assert re.search(r"acme: its files come to .* shorten its lookups", change.refusal.message)
    assert await server.versions.all() == {}


async def test_a_version_of_a_newer_bridge_is_told(server: Server) -> None:
    await Bucket(server.jetstream, server.subjects.bucket("TENANTS")).put("acme", b'{"v":2}')
    with pytest.raises(VersionInvalid, match="revision 1 of tenant acme"):
        await server.versions.all()


async def test_a_key_that_moves_ends_and_begins_with_nothing_between(server: Server) -> None:
    globex = replace(ACME, name="globex", key="4712")
    await server.application.apply([ACME, globex])
    await server.application.apply([replace(ACME, key="4713"), replace(globex, key="4711")])
    (first, of_acme), (second, of_globex) = await server.table("acme"), await server.table("globex")
    assert abs(first - second) == 1
    stored = [
        await server.jetstream.message(server.subjects.stream("EVENTS"), seq) for seq in (first, second)
    ]
    assert len({message.headers["Nats-Batch-Id"] for message in stored if message}) == 1
    last = max(first, second)
    assert (of_acme.targets(last + 1, INSERT), of_globex.targets(last + 1, INSERT)) == (
        [],
        [("globex", "orders")],
    )
    assert of_acme.targets(min(first, second) - 1, INSERT) == [("acme", "orders")]


async def test_a_key_whose_routes_are_still_anothers_waits_for_them(server: Server) -> None:
    await server.application.apply([ACME])
    acme = await server.versions.get("acme")
    assert acme is not None
    await server.versions.put(replace(acme, key="4713"))  # interrupted before the routes
    globex = replace(ACME, name="globex")
    (change,) = await server.application.apply([globex])
    assert change.refusal is not None
    assert "its key '4711' is still routed to tenant acme" in change.refusal.message
    changes = await server.application.apply([replace(ACME, key="4713"), globex])
    assert [(change.refusal, change.lines) for change in changes] == [
        (None, ("routes put into force, which an interrupted apply had left",))
    ] * 2
    seq, table = await server.table("globex")
    assert table.targets(seq + 2, INSERT) == [("globex", "orders")]
    seq, table = await server.table("acme")
    assert table.targets(seq + 2, INSERT) == []


async def test_a_removal_that_was_interrupted_is_seen_and_finished(server: Server) -> None:
    await server.application.apply([ACME])
    await server.pauses.pause("acme", Paused(), Pause(0.0, "bob"))
    await server.versions.remove("acme", 1, Written("bob"))
    (found,) = await list_in_force(server.jetstream, server.subjects)
    assert (found.version.removed, found.complete) == (True, False)
    (change,) = await server.application.apply([])
    assert change.removed
    assert await list_in_force(server.jetstream, server.subjects) == []
    assert await server.pauses.get("acme") == NOT_PAUSED
    seq, table = await server.table("acme")
    assert table.targets(seq + 1, INSERT) == []


async def test_of_two_who_apply_at_once_nobody_undoes_the_other(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.application.apply([ACME])
    mine, theirs = replace(ACME, timezone="America/Lima"), replace(ACME, timezone="America/Santiago")
    everything = RoutesStore.all

    async def late(self: RoutesStore) -> object:
        monkeypatch.undo()
        await server.application.apply([theirs])
        return await everything(self)

    monkeypatch.setattr(RoutesStore, "all", late)
    (change,) = await server.application.apply([mine])
    assert change.refusal is not None
    assert "applied by somebody else at this moment; apply again" in change.refusal.message
    assert (await server.versions.all())["acme"].timezone == "America/Santiago"


async def test_a_routing_message_of_a_newer_bridge_is_told(server: Server) -> None:
    await server.jetstream.publish(
        server.subjects.routes("acme"), b'{"v":2,"tenant":"acme","revision":1,"routes":[]}'
    )
    with pytest.raises(VersionInvalid, match=r"routing message .* newer version: 2; upgrade"):
        await server.application.apply([ACME])


async def test_many_at_once_are_all_in_force(server: Server) -> None:
    many = [replace(ACME, name=f"t{number}", key=str(number)) for number in range(600)]
    changes = await server.application.apply(many)
    assert all(change.refusal is None for change in changes)
    listed = await list_in_force(server.jetstream, server.subjects)
    assert [one.complete for one in listed] == [True] * 600
    assert {one.kept for one in listed} == {1}
