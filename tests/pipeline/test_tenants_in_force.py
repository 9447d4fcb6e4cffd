"""What a worker delivers by changes while a delivery is on its way through it."""

import asyncio
from dataclasses import replace

import pytest

from bridge.demo.erp_plain import PlainErp
from connectors.protocol import Delivered, NotKept
from eventbus.buckets import Bucket
from pipeline.secrets import SecretStore
from pipeline.tenants.in_force import NotReady, RouteInForce, TenantsInForce
from pipeline.tenants.model import encode_tenant
from pipeline.tenants.replaced_secrets import ReplacedSecrets
from tests.connectors.issuing import CLIENT, CLIENT_SECRET, IssuingErp
from tests.pipeline.delivering import LOOPBACK, Bus, acme, eventually

KEY = bytes(32)
SECRET = {"type": "bearer", "token": "${secret:erp}"}


async def found_again(tenants: TenantsInForce, revision: int) -> RouteInForce:
    async def ask() -> RouteInForce | None:
        return tenants.find("acme", "orders")

    found = await eventually(ask, lambda found: found is not None and found.tenant.revision == revision)
    assert found is not None
    return found


async def test_a_replaced_version_opens_nothing(shop: Bus, erp: PlainErp) -> None:
    tenants = TenantsInForce(shop.subjects, (), LOOPBACK)
    bucket = Bucket(shop.jetstream, shop.subjects.bucket("TENANTS"))
    first = await bucket.put("acme", encode_tenant(acme(erp)))
    ready = asyncio.Event()
    following = asyncio.create_task(tenants.follow(shop.jetstream, ready))
    await ready.wait()
    old = await found_again(tenants, first)
    second = await bucket.put("acme", encode_tenant(acme(erp)))
    new = await found_again(tenants, second)
    with pytest.raises(NotReady, match="changed"):
        await tenants.connector(old)
    assert await tenants.connector(new) is await tenants.connector(new)
    following.cancel()
    await tenants.aclose()


async def test_a_secret_that_changes_while_it_is_read_is_not_kept(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = acme(erp)
    tenant = replace(tenant, connections={"erp": replace(tenant.connections["erp"], auth=SECRET)})
    secrets = SecretStore(shop.jetstream, shop.subjects, [KEY])
    await secrets.set("acme", "erp", "old")
    tenants = TenantsInForce(shop.subjects, [KEY], LOOPBACK)
    revision = await Bucket(shop.jetstream, shop.subjects.bucket("TENANTS")).put(
        "acme", encode_tenant(tenant)
    )
    ready = asyncio.Event()
    following = asyncio.create_task(tenants.follow(shop.jetstream, ready))
    await ready.wait()
    found = await found_again(tenants, revision)
    resolve = SecretStore.resolve

    async def slowly(self: SecretStore, *args: object) -> object:
        answer = await resolve(self, *args)  # type: ignore[arg-type]  # passed on as they came
        await secrets.set("acme", "erp", "new")
        await eventually(closed, lambda times: times > before)
        return answer

    async def closed() -> int:
        return tenants.closed

    before = tenants.closed
    monkeypatch.setattr(SecretStore, "resolve", slowly)
    with pytest.raises(NotReady, match="changed"):
        await tenants.connector(found)
    monkeypatch.undo()
    await tenants.connector(found)
    following.cancel()
    await tenants.aclose()


async def test_tenants_share_the_texts_of_their_mappings(shop: Bus, erp: PlainErp) -> None:
    await shop.apply(acme(erp), replace(acme(erp), name="globex", key="4712"))
    tenants, ready = TenantsInForce(shop.subjects, (), LOOPBACK), asyncio.Event()
    following = asyncio.create_task(tenants.follow(shop.jetstream, ready))
    await ready.wait()
    ours, theirs = tenants.find("acme", "orders"), tenants.find("globex", "orders")
    assert ours is not None
    assert theirs is not None
    assert ours.tenant.mappings["order"].text is theirs.tenant.mappings["order"].text
    following.cancel()
    await tenants.aclose()


async def test_a_replaced_refresh_token_survives_a_restart_and_reopens_nothing_of_ours(shop: Bus) -> None:
    async with IssuingErp() as erp:
        auth = {
            "type": "oauth2_refresh_token",
            "token_url": f"{erp.base_url}/oauth/token",
            "client_id": CLIENT,
            "client_secret": "${secret:client}",
            "refresh_token": "${secret:refresh}",
        }
        tenant = acme(erp)
        tenant = replace(tenant, connections={"erp": replace(tenant.connections["erp"], auth=auth)})
        secrets = SecretStore(shop.jetstream, shop.subjects, [KEY])
        await secrets.set("acme", "client", CLIENT_SECRET)
        await secrets.set("acme", "refresh", erp.refresh_token)
        bucket = Bucket(shop.jetstream, shop.subjects.bucket("TENANTS"))
        revision = await bucket.put("acme", encode_tenant(tenant))
        for start in range(2):
            tenants = TenantsInForce(shop.subjects, [KEY], LOOPBACK)
            following = asyncio.create_task(tenants.follow(shop.jetstream, asyncio.Event()))
            found = await found_again(tenants, revision)
            connector, closed = await tenants.connector(found), tenants.closed
            for number in range(2):
                prepared = connector.prepare(
                    {"method": "PUT", "path": f"/api/orders/{number}", "body": {}}, "k"
                )
                assert isinstance(await connector.send(prepared), Delivered)
                erp.end_passes()
            assert (
                await secrets.get("acme", "refresh") == erp.refresh_token == f"refresh-token-{2 * start + 3}"
            )
            await eventually(lambda: _closed(tenants), lambda times: times >= closed + 2)  # noqa: B023  awaited here
            assert await tenants.connector(found) is connector
            await secrets.set("acme", "client", CLIENT_SECRET)
            await eventually(lambda: _closed(tenants), lambda times: times >= closed + 3)  # noqa: B023
            assert await tenants.connector(found) is not connector
            following.cancel()
            await tenants.aclose()


async def _closed(tenants: TenantsInForce) -> int:
    return tenants.closed


async def test_a_secret_set_meanwhile_is_not_replaced(shop: Bus) -> None:
    secrets = SecretStore(shop.jetstream, shop.subjects, [KEY])
    await secrets.set("acme", "refresh", "set-by-ana")
    replaced = ReplacedSecrets(lambda: secrets, "acme", {"refresh_token": "${secret:refresh}"})
    with pytest.raises(NotKept, match="was set meanwhile"):
        await replaced.keep("refresh_token", "first", "second")
    await replaced.keep("refresh_token", "set-by-ana", "third")
    await replaced.keep("refresh_token", "set-by-ana", "third")  # as where the first answer was lost
    assert await secrets.get("acme", "refresh") == "third"
