"""Tokens that end while deliveries are on their way: nothing is lost, nothing is sent twice, and no attempt is spent."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bridge.demo.erp_server import Reply, Step
from pipeline.tenants.model import Tenant
from tests.connectors.issuing import CLIENT, CLIENT_SECRET, IssuingErp
from tests.pipeline.delivering import UNSAFE, Bus, acme, eventually, order_at_erp


def with_tokens(erp: IssuingErp, secret: str = CLIENT_SECRET) -> Tenant:
    auth = {
        "type": "oauth2_client_credentials",
        "token_url": f"{erp.base_url}/oauth/token",
        "client_id": CLIENT,
        "client_secret": secret,
    }
    tenant = acme(erp, UNSAFE)
    return replace(tenant, connections={"erp": replace(tenant.connections["erp"], auth=auth)})


def delivered(attempts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for each in attempts if each["outcome"] == "delivered"]


async def test_tokens_that_end_all_the_time_cost_no_event_and_no_order(shop: Bus) -> None:
    async with IssuingErp() as erp:
        erp.uses = 7
        await shop.apply(with_tokens(erp))
        shop.route()
        shop.work()
        for n in range(60):
            await shop.change(n % 5, n)
        await erp.until(lambda: len(erp.effects) == 60)
        await shop.settled()
        assert order_at_erp(erp) == {str(key): list(range(key, 60, 5)) for key in range(5)}
        assert await shop.dead_letters() == []
        # a token that ended again before the request was repeated holds its delivery
        attempts = await shop.attempts()
        assert {each["attempt"] for each in attempts} == {1}
        assert {each["outcome"] for each in attempts} <= {"delivered", "unavailable"}
        assert len(erp.asked) > 5


async def test_a_token_endpoint_in_trouble_holds_the_route_and_spends_nothing(shop: Bus) -> None:
    async with IssuingErp() as erp:
        erp.script([Step(reply=Reply(503, {"error": f"busy with {CLIENT_SECRET}"})), Step(cut="before")])
        await shop.apply(with_tokens(erp))
        shop.route()
        shop.work()
        for n in range(5):
            await shop.change(n, n)
        await erp.until(lambda: len(erp.effects) == 5)
        await shop.settled()
        # they are noted a moment later
        attempts = await eventually(shop.attempts, lambda found: len(delivered(found)) == 5)
        assert {each["attempt"] for each in delivered(attempts)} == {1}
        assert "no access token" in str(attempts)
        assert CLIENT_SECRET not in str(attempts)
