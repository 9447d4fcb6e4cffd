"""What is paused: the record, the bucket that two people may write at once, and what a worker knows of it."""

import asyncio

import pytest

from bridge.demo.erp_plain import PlainErp
from eventbus.buckets import Bucket
from pipeline.tenants.in_force import TenantsInForce
from pipeline.tenants.pause_store import PauseChange, PausesInvalid, PauseStore
from pipeline.tenants.pauses import NOT_PAUSED, Pause, Paused, TenantPauses, decode_pauses, encode_pauses
from tests.pipeline.delivering import LOOPBACK, Bus, acme, eventually

FIRST, LATER = Pause(10.0, "ana@vm", "their server moves"), Pause(20.0, "bob@vm")
WHOLE, ORDERS, ERP = Paused(), Paused(route="orders"), Paused(connection="erp")


@pytest.fixture
def store(shop: Bus) -> PauseStore:
    return PauseStore(shop.jetstream, shop.subjects)


@pytest.mark.parametrize("what", [WHOLE, ORDERS, ERP], ids=str)
def test_a_route_is_held_by_its_own_pause_its_tenants_and_its_connections(what: Paused) -> None:
    pauses = NOT_PAUSED.changed(what, FIRST)
    assert pauses.holding("orders", "erp") == FIRST
    assert pauses.holding("other", "else") == (FIRST if what == WHOLE else None)
    assert pauses.all() == [(what, FIRST)]
    assert pauses.changed(what, None) == NOT_PAUSED


def test_of_several_the_oldest_is_told_and_each_ends_alone() -> None:
    pauses = NOT_PAUSED.changed(WHOLE, LATER).changed(ORDERS, FIRST).changed(ERP, LATER)
    assert pauses.holding("orders", "erp") == FIRST
    assert pauses.changed(ORDERS, None).holding("orders", "erp") == LATER
    assert pauses.changed(WHOLE, None).changed(ERP, None).holding("orders", "erp") == FIRST
    assert [what for what, _ in pauses.all()] == [WHOLE, ORDERS, ERP]


def test_the_record_comes_back_as_it_was() -> None:
    pauses = TenantPauses(FIRST, {"orders": LATER}, {"erp": FIRST})
    assert decode_pauses(encode_pauses(pauses)) == pauses


async def test_the_first_pause_stays_and_ends_once(store: PauseStore) -> None:
    assert await store.get("acme") == NOT_PAUSED
    assert await store.pause("acme", ORDERS, FIRST) == PauseChange(None, FIRST)
    assert await store.pause("acme", ORDERS, LATER) == PauseChange(FIRST, FIRST)
    assert (await store.all())["acme"].get(ORDERS) == FIRST
    assert await store.resume("acme", ORDERS) == PauseChange(FIRST, None)
    assert await store.resume("acme", ORDERS) == PauseChange(None, None)
    assert await store.get("acme") == NOT_PAUSED


async def test_of_many_who_pause_and_resume_at_once_none_is_lost(store: PauseStore) -> None:
    names = [f"r{number}" for number in range(12)]
    await asyncio.gather(*(store.pause("acme", Paused(route=name), FIRST) for name in names))
    assert set((await store.get("acme")).routes) == set(names)
    await asyncio.gather(
        *(store.resume("acme", Paused(route=name)) for name in names[1:]), store.pause("acme", ERP, LATER)
    )
    assert await store.get("acme") == TenantPauses(routes={"r0": FIRST}, connections={"erp": LATER})


async def test_a_worker_is_told_of_pauses_also_of_those_made_while_it_was_away(
    shop: Bus, erp: PlainErp, store: PauseStore
) -> None:
    await shop.apply(acme(erp))
    tenants, told = TenantsInForce(shop.subjects, (), LOOPBACK), asyncio.Queue[str]()
    end = tenants.tell(told.put_nowait)

    async def follow() -> asyncio.Task[None]:
        ready = asyncio.Event()
        following = asyncio.create_task(tenants.follow(shop.jetstream, ready))
        await ready.wait()
        return following

    async def held() -> Pause | None:
        found = tenants.find("acme", "orders")
        assert found is not None
        return tenants.pause_of(found)

    await store.pause("acme", ERP, FIRST)
    following = await follow()
    assert await held() == FIRST
    while not told.empty():
        told.get_nowait()
    await store.resume("acme", ERP)
    async with asyncio.timeout(5):
        assert await told.get() == "acme"
    assert await held() is None
    following.cancel()
    await store.pause("acme", WHOLE, LATER)
    following = await follow()
    assert await held() == LATER
    end()
    while not told.empty():
        told.get_nowait()
    await store.resume("acme", WHOLE)
    await eventually(held, lambda pause: pause is None)
    assert told.empty()
    following.cancel()
    await tenants.aclose()


async def test_what_cannot_be_read_is_paused(shop: Bus, erp: PlainErp, store: PauseStore) -> None:
    await shop.apply(acme(erp))
    await Bucket(shop.jetstream, shop.subjects.bucket("PAUSES")).put("acme", b'{"tenant": 1}')
    with pytest.raises(PausesInvalid, match=r"paused of tenant acme .*upgrade"):
        await store.get("acme")
    tenants, ready = TenantsInForce(shop.subjects, (), LOOPBACK), asyncio.Event()
    following = asyncio.create_task(tenants.follow(shop.jetstream, ready))
    await ready.wait()
    found = tenants.find("acme", "orders")
    assert found is not None
    pause = tenants.pause_of(found)
    assert pause is not None
    assert "upgrade" in pause.why
    following.cancel()
    await tenants.aclose()
