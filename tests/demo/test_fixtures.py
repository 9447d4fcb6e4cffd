"""The shared fixtures give what they promise."""

import nats
import psycopg

from bridge.demo.nats_server import EmbeddedNats


async def test_a_database_is_empty_and_can_be_captured(database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        tables = await connection.execute("SELECT count(*) FROM pg_stat_user_tables")
        assert await tables.fetchone() == (0,)
        await connection.execute("SELECT pg_create_logical_replication_slot('left_behind', 'pgoutput')")
        level = await connection.execute("SHOW wal_level")
        assert await level.fetchone() == ("logical",)


async def test_a_dropped_database_takes_its_slots_along(database: str) -> None:
    """Runs after the test above, whose slot would still be there."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        slots = await connection.execute(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'left_behind'"
        )
        assert await slots.fetchone() == (0,)


async def test_a_namespace_is_the_tests_own(nats_server: EmbeddedNats, namespace: str) -> None:
    client = await nats.connect(nats_server.url)
    stream = await client.jetstream().add_stream(
        name=f"{namespace}-EVENTS", subjects=[f"{namespace}.events.>"]
    )
    await client.jetstream().create_key_value(bucket=f"{namespace}-LANES")
    assert stream.state.messages == 0
    await client.close()


async def test_no_stream_of_earlier_tests_is_left(nats_server: EmbeddedNats) -> None:
    client = await nats.connect(nats_server.url)
    assert (await client.jetstream().account_info()).streams == 0
    await client.close()
