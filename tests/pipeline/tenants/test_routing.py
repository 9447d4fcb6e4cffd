"""The routing table against its definition: at every moment an event goes where the last apply before it said."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus.subjects import EventSubject, Subjects
from eventbus.tokens import tenant_token
from pipeline.tenants.model import Route, RouteSource, Tenant
from pipeline.tenants.routing import RoutingInvalid, RoutingTable, next_routes, read_routes

TABLES = ("public.work_orders", "public.items")
OPS = ("insert", "update", "delete")
KEYS = ("4711", "4712", "_")

sources = st.builds(
    RouteSource,
    table=st.sampled_from(TABLES),
    operations=st.sets(st.sampled_from(OPS), min_size=1).map(lambda ops: tuple(sorted(ops))),
    tenant_any=st.booleans(),
)
routes = st.dictionaries(st.sampled_from(("a", "b", "c")), sources, max_size=3)
steps = st.lists(st.tuples(st.sampled_from(("acme", "globex")), st.sampled_from(KEYS), routes), max_size=12)


def tenant_with(name: str, key: str, wanted: dict[str, RouteSource]) -> Tenant:
    return Tenant(
        name, key, routes={r: Route(r, source, "m", "c") for r, source in wanted.items()}, revision=1
    )


def _of_reads(tenant: Tenant) -> Tenant:
    routes = tenant.routes.values()
    return replace(
        tenant,
        routes={r.name: replace(r, source=replace(r.source, operations=("read",))) for r in routes},
    )


def events() -> list[EventSubject]:
    tokens = [tenant_token(key) for key in KEYS] + ["_", "~"]
    tables = [table.split(".") for table in TABLES]
    return [EventSubject("s", t, schema, table, op) for t in tokens for schema, table in tables for op in OPS]


def expected(in_force: dict[str, Tenant], event: EventSubject) -> list[tuple[str, str]]:
    return sorted(
        (tenant.name, route.name)
        for tenant in in_force.values()
        for route in tenant.routes.values()
        if route.source.table == f"{event.schema}.{event.table}"
        and event.op in route.source.operations
        and (
            event.tenant == tenant_token(tenant.key)
            or (route.source.tenant_any and event.tenant in ("_", "~"))
        )
    )


@settings(max_examples=150, deadline=None)
@given(steps, st.integers(0, 30))
def test_every_event_goes_where_the_last_apply_before_it_said(
    applies: list[tuple[str, str, dict[str, RouteSource]]], passed: int
) -> None:
    # message of apply i at sequence 2i+2, an event of every kind at every other sequence
    in_force: dict[str, Tenant] = {}
    history: list[dict[str, Tenant]] = [{}]
    stored: dict[str, tuple[int, bytes]] = {}
    table = RoutingTable()
    for index, (name, key, wanted) in enumerate(applies):
        seq = 2 * index + 2
        tenant = tenant_with(name, key, wanted)
        before = read_routes(*stored[name]) if name in stored else None
        message = next_routes(before, tenant, passed=min(passed, seq))
        if message is not None:
            stored[name] = (seq, message)
            table.put(seq, message)
        in_force = in_force | {name: tenant}
        history.append(in_force)
    restarted = RoutingTable()
    for seq, message in stored.values():
        restarted.put(seq, message)
    for moment, held in enumerate(history):
        seq = 2 * moment + 1
        if seq <= passed:
            continue  # every router is past it: spans that ended there may be forgotten
        for event in events():
            assert table.targets(seq, event) == expected(held, event)
            read = replace(event, op="read")
            # whatever its operations, where the route is asked for by name
            named = expected({name: _of_reads(tenant) for name, tenant in held.items()}, read)
            for target in [("acme", "a"), ("globex", "b")]:
                assert table.named(seq, read, target) == [target] * (target in named)
            assert restarted.targets(seq, event) == table.targets(seq, event)


def test_a_new_route_starts_behind_its_own_message_and_a_removed_one_ends_with_it() -> None:
    source = RouteSource("public.work_orders")
    event = EventSubject("s", "4711", "public", "work_orders", "insert")
    first = next_routes(None, tenant_with("acme", "4711", {"a": source}), passed=0)
    assert first is not None
    last = next_routes(read_routes(10, first), tenant_with("acme", "4711", {}), passed=0)
    assert last is not None
    table = RoutingTable()
    table.put(20, last)
    assert [seq for seq in range(5, 25) if table.targets(seq, event)] == list(range(11, 21))


def test_nothing_is_published_where_nothing_changes() -> None:
    tenant = tenant_with("acme", "4711", {"a": RouteSource("public.items")})
    first = next_routes(None, tenant, passed=0)
    assert first is not None
    assert next_routes(read_routes(10, first), tenant, passed=0) is None


def test_a_span_is_forgotten_once_every_router_is_past_its_end() -> None:
    empty = tenant_with("acme", "4711", {})
    message = next_routes(None, tenant_with("acme", "4711", {"a": RouteSource("public.items")}), passed=0)
    assert message is not None
    message = next_routes(read_routes(10, message), empty, passed=5)
    assert message is not None
    ended = read_routes(20, message)
    again = tenant_with("acme", "4711", {"b": RouteSource("public.items")})
    still = next_routes(ended, again, passed=19)
    gone = next_routes(ended, again, passed=20)
    assert still is not None
    assert gone is not None
    assert [span.filter.route for span in read_routes(30, still).spans] == ["a", "b"]
    assert [span.filter.route for span in read_routes(30, gone).spans] == ["b"]


def test_names_and_values_that_no_subject_holds_are_found_by_their_tokens() -> None:
    tenant = tenant_with("acme", "a.b c", {"a": RouteSource("Öffentlich.Work Orders")})
    message = next_routes(None, tenant, passed=0)
    assert message is not None
    table = RoutingTable()
    table.put(1, message)
    subjects = Subjects()
    subject = subjects.event("s", tenant_token("a.b c"), "Öffentlich", "Work Orders", "insert")
    assert table.targets(2, subjects.parse_event(subject)) == [("acme", "a")]


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"v":2,"tenant":"a","revision":1,"routes":[]}', b"\xff"])
def test_an_unreadable_message_is_refused_and_the_table_keeps_what_it_had(payload: bytes) -> None:
    table = RoutingTable()
    message = next_routes(None, tenant_with("acme", "4711", {"a": RouteSource("public.items")}), passed=0)
    assert message is not None
    table.put(1, message)
    with pytest.raises(RoutingInvalid, match="sequence 2"):
        table.put(2, payload)
    assert table.targets(3, EventSubject("s", "4711", "public", "items", "insert")) == [("acme", "a")]
