"""GraphQL end to end: from EVENTS through a mapping to PostGraphile, and read back from its tables by SQL."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from bridge.demo.postgres_server import EmbeddedPostgres
from pipeline.mapping_text import MappingText
from pipeline.tenants.model import BreakerPolicy, Connection, RetryPolicy, Route, RouteSource, Tenant
from tests.conftest import empty_database
from tests.pipeline.delivering import Bus, eventually
from tests.postgraphile import postgraphile

SCHEMA = """
CREATE SCHEMA erp;
CREATE TABLE erp.vendors (code text PRIMARY KEY, name text NOT NULL);
CREATE TABLE erp.orders (
  event text PRIMARY KEY,
  number int NOT NULL UNIQUE,
  vendor text NOT NULL REFERENCES erp.vendors,
  cost numeric(12, 2) NOT NULL CHECK (cost >= 0),
  closed_on date
);
CREATE FUNCTION erp.hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(new.cost - 7); RETURN new; END';
CREATE TRIGGER hold BEFORE INSERT ON erp.orders FOR EACH ROW WHEN (new.cost BETWEEN 7 AND 9) EXECUTE FUNCTION erp.hold();
INSERT INTO erp.vendors VALUES ('39.373.782/0019-79', 'Aceros "Ñandú" 🔩');
"""
MAPPING = """
source: {table: public.orders}
connector: graphql
request:
  query: |
    mutation Order($order: OrderInput!) {
      createOrder(input: {order: $order}) { order { number cost vendorByVendor { name } } }
    }
  variables:
    order:
      event: "{{ event.id }}"
      number: "{{ after.n }}"
      vendor: "{{ after.vendor }}"
      cost: "{{ after.cost | decimal(2) if after.cost is number else after.cost }}"
      closedOn: "{{ after.closed_on | default(omit) }}"
repeat:
  find:
    request:
      query: |
        query Sent($event: String!) { orderByEvent(event: $event) { number } }
      variables: {event: "{{ event.id }}"}
    found: body.data.orderByEvent is not none
response:
  # the event's own order is there already: what was not certain has arrived
  ok: "'orders_pkey' in body.errors[0].message"
"""
pytestmark = pytest.mark.slow
VENDOR = "39.373.782/0019-79"
RETRY = RetryPolicy(max_attempts=50, initial_s=0.05, factor=1.2, max_s=0.2, jitter=0.2)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def erp(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[str, str]]:
    """The endpoint, and the DSN of the tables behind it. Who meets a lock waits for 0.1 s."""
    async with empty_database(postgres) as dsn:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
            await admin.execute(SCHEMA)
            await admin.execute("ALTER DATABASE " + dsn.rpartition("/")[2] + " SET lock_timeout = '100ms'")
        async with postgraphile(dsn, "erp") as url:
            yield url, dsn


@pytest.fixture
async def tables(erp: tuple[str, str]) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(erp[1], autocommit=True) as connection:
        # what the last test left under way may hold a lock for a moment
        await connection.execute("SET lock_timeout = '30s'")
        await connection.execute("TRUNCATE erp.orders")
        yield connection


def acme(url: str, timeout_s: float = 20.0) -> Tenant:
    breaker = BreakerPolicy(failures=3, window_s=60, open_s=0.3)
    return Tenant(
        "acme",
        "4711",
        connections={"erp": Connection("erp", "graphql", url, timeout_s=timeout_s, breaker=breaker)},
        routes={"orders": Route("orders", RouteSource("public.orders"), "order", "erp", retry=RETRY)},
        mappings={"order": MappingText("mappings/order.yaml", MAPPING)},
    )


@pytest.fixture
async def bus(shop: Bus, erp: tuple[str, str]) -> Bus:
    """With a tenant whose ERP it is, a router and a worker."""
    await shop.apply(acme(erp[0]))
    shop.route()
    shop.work()
    return shop


async def order(bus: Bus, key: int, **after: Any) -> None:
    row = {"id": key, "n": key, "vendor": VENDOR, "cost": 1, "closed_on": None}
    await bus.change(key, key, after={**row, **after})


async def orders(tables: psycopg.AsyncConnection[Any]) -> list[tuple[Any, ...]]:
    found = await tables.execute(
        "SELECT number, vendor, cost, closed_on::text FROM erp.orders ORDER BY number"
    )
    return await found.fetchall()


async def all_attempts(bus: Bus) -> Any:
    """Up to the one that delivered; they are noted a moment later than settled."""
    return await eventually(bus.attempts, lambda found: bool(found) and found[-1]["outcome"] == "delivered")


async def test_changes_become_rows_of_the_erp(bus: Bus, tables: psycopg.AsyncConnection[Any]) -> None:
    for key in range(1, 21):
        await order(bus, key, cost=1273.10, closed_on="2026-11-24")
    await bus.settled_of(20)
    assert await orders(tables) == [(key, VENDOR, Decimal("1273.10"), "2026-11-24") for key in range(1, 21)]
    assert await bus.dead_letters() == []


async def test_what_it_refuses_is_a_dead_letter_in_its_own_words(
    bus: Bus, tables: psycopg.AsyncConnection[Any]
) -> None:
    await order(bus, 1)
    await bus.settled_of(1)
    await order(bus, 2, n=1)
    await order(bus, 3, vendor="nobody")
    await order(bus, 4, cost=-1)
    await order(bus, 5, cost="free")
    await order(bus, 6, vendor=None)
    await order(bus, 7, n="seven")
    await order(bus, 8)
    await bus.settled_of(8)
    assert [number for number, *_ in await orders(tables)] == [1, 8]
    letters = {letter["event"]["key"]["id"]: letter for letter in await bus.dead_letters()}
    assert {letter["reason"] for letter in letters.values()} == {"rejected"}
    assert {letter["attempts"] for letter in letters.values()} == {1}
    assert {key: letter["error"]["class"] for key, letter in letters.items()} == {
        2: "23505", 3: "23503", 4: "23514", 5: "22P02", 6: "rejected", 7: "rejected",
    }  # fmt: skip
    words = {key: letter["error"]["message"] for key, letter in letters.items()}
    assert words[2] == (
        'HTTP 200: 23505 at createOrder: duplicate key value violates unique constraint "orders_number_key"'
    )
    assert '"orders_vendor_fkey"' in words[3]
    assert '"orders_cost_check"' in words[4]
    assert 'invalid input syntax for type numeric: "free"' in words[5]
    assert 'value null at "order.vendor"' in words[6]
    assert 'value "seven" at "order.number"' in words[7]


async def test_what_is_locked_for_now_is_tried_again_and_booked_once(
    bus: Bus, tables: psycopg.AsyncConnection[Any]
) -> None:
    async with tables.transaction():
        await tables.execute("LOCK erp.orders IN EXCLUSIVE MODE")
        await order(bus, 1)
        tried = await eventually(bus.attempts, lambda found: len(found) >= 2)
    await all_attempts(bus)
    await bus.settled_of(1)
    assert {attempt["outcome"] for attempt in tried} == {"retry_later"}
    assert len(await orders(tables)) == 1
    assert await bus.dead_letters() == []


async def test_what_may_have_arrived_is_looked_up_and_not_booked_again(
    bus: Bus, erp: tuple[str, str], tables: psycopg.AsyncConnection[Any]
) -> None:
    """The answer takes longer than the connection waits, and the order is booked all the same."""
    await bus.apply(acme(erp[0], timeout_s=1.0))
    await order(bus, 1, cost=9)
    attempts = await all_attempts(bus)
    await bus.settled_of(1)
    assert "uncertain" in {attempt["outcome"] for attempt in attempts}
    assert [number for number, *_ in await orders(tables)] == [1]
    assert await bus.dead_letters() == []


async def test_an_order_that_is_there_already_is_delivered(
    bus: Bus, tables: psycopg.AsyncConnection[Any]
) -> None:
    """The ERP's own key says so."""
    event = f"shop:0/{bus._number + 1:X}:1"
    await tables.execute("INSERT INTO erp.orders VALUES (%s, 7, %s, 1)", (event, VENDOR))
    await order(bus, 7)
    await bus.settled_of(1)
    assert len(await orders(tables)) == 1
    assert await bus.dead_letters() == []
