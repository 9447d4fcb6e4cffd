"""A worker that ends at any step of a route's leaving and coming back loses nothing and reorders no key (rules R6, R7)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge.demo.erp_plain import PlainErp
from pipeline.lanes.takeover import CreateConsumer, DeleteConsumer
from pipeline.lanes.work import DeliveryMissed
from pipeline.routes.attach import Drain, Park, TakeBack
from pipeline.routes.detach import Halt, LetGo, Record
from pipeline.routes.session import InspectOwn, ReadOwnDeadLetters
from pipeline.routes.steps import RouteSteps
from tests.pipeline.delivering import Bus, acme, eventually, order_at_erp

TOTAL = 150
KEYS = 5


def _is(step: object, kind: type, phase: str) -> bool:
    if isinstance(step, Record):
        return kind is Record and step.trouble is not None and step.trouble.phase == phase
    return isinstance(step, kind)


@pytest.mark.parametrize(
    ("kind", "phase"),
    [
        pytest.param(Record, "on", id="its state says that it is apart", marks=pytest.mark.slow),
        pytest.param(Halt, "", id="its sends have ended", marks=pytest.mark.slow),
        pytest.param(CreateConsumer, "", id="its consumer is made", marks=pytest.mark.slow),
        pytest.param(LetGo, "", id="its lane has let go", marks=pytest.mark.slow),
        pytest.param(InspectOwn, "", id="its consumer is inspected", marks=pytest.mark.slow),
        pytest.param(ReadOwnDeadLetters, "", id="its session begins", marks=pytest.mark.slow),
        pytest.param(Park, "", id="its lane keeps what is new", marks=pytest.mark.slow),
        pytest.param(Drain, "", id="its consumer is drained", marks=pytest.mark.slow),
        pytest.param(Record, "off", id="its state says that it is back"),
        pytest.param(DeleteConsumer, "", id="its consumer is deleted", marks=pytest.mark.slow),
        pytest.param(TakeBack, "", id="its lane has it", marks=pytest.mark.slow),
    ],
)
async def test_a_crash_when(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch, kind: type, phase: str
) -> None:
    crashed: asyncio.Future[asyncio.Task[None]] = asyncio.get_running_loop().create_future()
    perform = RouteSteps._answer

    async def answer(steps: RouteSteps, step: Any) -> Any:
        done = await perform(steps, step)
        if _is(step, kind, phase) and not crashed.done():
            crashed.set_result(shop.crash())
            await asyncio.Event().wait()
        return done

    monkeypatch.setattr(RouteSteps, "_answer", answer)
    await shop.apply(acme(erp))
    shop.route()
    shop.work(me="first")
    feeding = asyncio.create_task(_feed(shop))
    await erp.until(lambda: len(erp.effects) >= 10)
    erp.unavailable()
    await eventually(shop.apart, lambda found: bool(found) or crashed.done())
    await erp.up()
    async with asyncio.timeout(20):
        ended = await crashed
        await asyncio.wait([ended])
    shop.work(me="first")  # as a worker of that name finds its own lease, and need not wait for it
    await feeding
    await erp.until(lambda: len(erp.effects) >= TOTAL, timeout_s=30)
    await shop.back()
    await shop.settled()
    assert order_at_erp(erp) == {str(key): list(range(key, TOTAL, KEYS)) for key in range(KEYS)}
    assert await shop.dead_letters() == []


async def _feed(shop: Bus) -> None:
    for n in range(TOTAL):
        await shop.change(n % KEYS, n)
        await asyncio.sleep(0.01)


async def test_a_lane_keeps_nothing_for_a_route_whose_coming_back_failed(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain, failed = RouteSteps._drain, asyncio.Event()

    async def missing_one(steps: RouteSteps) -> Any:
        if failed.is_set():
            return await drain(steps)
        erp.unavailable()
        await shop.change(1, TOTAL)
        await eventually(_of(lambda: len(steps.parked)), lambda parked: parked == 1)
        failed.set()
        raise DeliveryMissed("as if a delivery had not come")

    monkeypatch.setattr(RouteSteps, "_drain", missing_one)
    await shop.apply(acme(erp))
    shop.route()
    shop.work()
    erp.unavailable()
    for n in range(KEYS):
        await shop.change(n, n)
    await eventually(shop.apart, bool)
    await erp.up()
    await failed.wait()
    await eventually(shop.kept_by_lanes, lambda kept: kept == 0)
    assert await shop.own_consumers() != []
    await erp.up()
    await erp.until(lambda: len(erp.effects) == KEYS + 1)
    await shop.back()


def _of(ask: Callable[[], int]) -> Callable[[], Awaitable[int]]:
    async def asked() -> int:
        return ask()

    return asked
