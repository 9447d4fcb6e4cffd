"""The last events of a route, found from the stream's end."""

from pipeline.recent_events import RecentEvents
from pipeline.tenants.model import Route, RouteSource
from tests.pipeline.delivering import Bus


async def test_the_last_events_that_a_route_wants(shop: Bus) -> None:
    recent = RecentEvents(shop.jetstream, shop.subjects)
    route = Route("orders", RouteSource("public.orders"), "order", "erp")
    assert await recent.of(route, "4711", 3) == []
    for n in range(20):
        await shop.change(n, n)
        await shop.change(n, n, tenant="99")
        await shop.change(n, n, tenant="_")
    await shop.big_change(1, 20)
    assert [event["after"]["n"] for event in await recent.of(route, "4711", 3)] == [18, 19, 20]
    assert [event["after"]["n"] for event in await recent.of(route, "4711", 100)] == list(range(21))
    assert [event["tenant"] for event in await recent.of(route, "99", 2)] == ["99", "99"]
    everybody = Route("orders", RouteSource("public.orders", tenant_any=True), "order", "erp")
    assert {event["tenant"] for event in await recent.of(everybody, "4711", 10)} == {"4711", "_"}
    reads = Route("orders", RouteSource("public.orders", ("read",)), "order", "erp")
    await shop.read(7, 7)
    assert [event["after"]["n"] for event in await recent.of(reads, "4711", 5)] == [7]
