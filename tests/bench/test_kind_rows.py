"""What `bench.kinds` measures is deliveries: each kind's order is rendered, sent, and booked by the ERP that answers at once."""

import asyncio
from ipaddress import ip_network
from statistics import median

import pytest

from bench.delivery_bus import BenchTenant, EventWriter
from bench.erp_sink import Log, Sink
from bench.kind_rows import KINDS, BenchKind
from bench.kinds import of_rounds
from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Delivered
from eventbus.event import decode_event
from pipeline.mapping import Rendered, RenderInput, compile_mapping


def test_each_of_our_kinds_is_measured() -> None:
    assert set(KINDS) == set(registry._KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
async def test_an_order_is_delivered(kind: BenchKind) -> None:
    _, payload, _ = EventWriter(None)._event(BenchTenant(1, kind=kind), 0.0)  # type: ignore[arg-type]
    mapping = compile_mapping(kind.mapping, file="order.yaml", name="order")
    rendered = mapping.render(RenderInput(decode_event(payload), "t1", "order", {}, "id"))
    assert isinstance(rendered, Rendered)
    log = Log()
    server = await asyncio.get_running_loop().create_server(lambda: Sink(log, kind), "127.0.0.1", 0)
    settings = ConnectionSettings(
        f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/t1",
        options=kind.connection,
        files=kind.files,
        egress=EgressPolicy((ip_network("127.0.0.0/8"),)),
    )
    registry.check_settings(kind.name, settings)
    connector = registry.open_connector(kind.name, settings)
    outcome = await connector.send(connector.prepare(rendered.request, "id"))
    await connector.aclose()
    server.close()
    assert isinstance(outcome, Delivered)
    [(_, _, body)] = log.requests
    assert b"WO-1" in body


def test_rounds_become_medians_and_ratios() -> None:
    def measured(rate: int, cost: int) -> dict[str, int]:
        return {"per_second": rate, "worker_us": cost, "renderers_us": 30}

    rounds = [
        {"rest": measured(3_000, 300), "graphql": measured(2_600, 330)},
        {"rest": measured(1_000, 400), "graphql": measured(900, 480)},
        {"rest": measured(2_900, 310), "graphql": measured(2_500, 341)},
    ]
    rest, graphql = of_rounds(rounds)
    assert (rest["per_second"], rest["of_rest"]) == (2_900, 1.0)
    assert graphql == {
        "kind": "graphql",
        "per_second": 2_500,
        "worker_us": 341,
        "renderers_us": 30,
        "of_rest": median([1.1, 1.2, 1.1]),
        "asked": 2_500,
    }
