"""Every case of every shipped mapping against the simulated ERP it goes with: taken, and never made twice."""

from collections.abc import Callable
from contextlib import aclosing

import pytest

from bridge.demo.erp_server import Call, Reply, Step
from bridge.demo.simulated_erps import SIMULATED_ERPS
from connectors.protocol import RetryLater, Throttled, Uncertain
from tests.templates.attempts import connect
from tests.templates.shipping import (
    Shipped,
    again,
    delivered,
    delivery_of,
    documents_of,
    kinds,
    shipped_cases,
)

ERPS = ("business_central", "business_one", "netsuite", "sap")
CASES = [pytest.param(each, id=each.id) for erp in ERPS for each in shipped_cases(erp)]
FIRST = [
    pytest.param(each, id=each.mapping)
    for each in {case.mapping: case for erp in ERPS for case in reversed(shipped_cases(erp))}.values()
]
LOCKED = {
    "business_central": Reply(500, {"error": {"code": "Internal_TenantUnavailable", "message": "x"}}),
    "business_one": Reply(400, {"error": {"code": -2039, "message": {"lang": "en-us", "value": "x"}}}),
    "netsuite": Reply(400, {"o:errorDetails": [{"o:errorCode": "RCRD_HAS_BEEN_CHANGED", "detail": "x"}]}),
    "sap": Reply(400, {"error": {"code": "56/393", "message": {"lang": "en", "value": "x"}}}),
}


def writes(call: Call) -> bool:
    return call.method != "GET" and "token" not in call.path and not call.path.endswith("/Login")


def first_write(step: Step) -> Callable[[Call], Step]:
    """The trouble that the first request which changes something meets, and no other one."""
    met: list[Call] = []

    def happens(call: Call) -> Step:
        if met or not writes(call):
            return Step()
        met.append(call)
        return step

    return happens


@pytest.mark.parametrize("shipped", CASES)
async def test_its_erp_takes_it_once_however_often_it_is_sent(shipped: Shipped) -> None:
    async with SIMULATED_ERPS[shipped.erp].make() as erp, aclosing(connect(shipped.erp, erp)) as connector:
        delivery = delivery_of(shipped, connector)
        done = await delivered(delivery)
        assert done, delivery.outcomes
        made, left = len(erp.effects), documents_of(erp)
        assert made >= 1 or "create" not in shipped.case.expected.get("requests", {"create": ...})
        repeated = again(delivery)
        done_again = await delivered(repeated)
        assert done_again, repeated.outcomes
        assert (len(erp.effects), documents_of(erp)) == (made, left)
        assert done.save.keys() == done_again.save.keys()


@pytest.mark.parametrize("shipped", FIRST)
async def test_what_was_done_and_not_answered_is_not_done_again(shipped: Shipped) -> None:
    async with SIMULATED_ERPS[shipped.erp].make() as erp, aclosing(connect(shipped.erp, erp)) as connector:
        erp.trouble = first_write(Step(cut="after"))
        delivery = delivery_of(shipped, connector)
        assert await delivered(delivery), delivery.outcomes
        assert Uncertain.__name__ in kinds(delivery)
        keys = [(effect.collection, effect.key, effect.action) for effect in erp.effects]
        assert len(set(keys)) == len(keys)
        assert [action for _, _, action in keys] == ["created"]


@pytest.mark.parametrize("shipped", FIRST)
async def test_a_lock_passes_and_too_much_is_too_much(shipped: Shipped) -> None:
    for fate, kind in (
        (Step(LOCKED[shipped.erp]), RetryLater),
        (Step(Reply(429, {"error": "x"})), Throttled),
    ):
        async with (
            SIMULATED_ERPS[shipped.erp].make() as erp,
            aclosing(connect(shipped.erp, erp)) as connector,
        ):
            erp.trouble = first_write(fate)
            delivery = delivery_of(shipped, connector)
            assert await delivered(delivery), delivery.outcomes
            assert kind.__name__ in kinds(delivery)
            assert len(erp.effects) == 1
