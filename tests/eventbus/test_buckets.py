"""Buckets and objects against a real server."""

import asyncio

import pytest

from bridge.demo.nats_server import EmbeddedNats
from eventbus import topology
from eventbus.buckets import Bucket, Entry, RevisionConflict
from eventbus.connection import connect
from eventbus.jetstream import JetStream
from eventbus.objects import CHUNK, ObjectDamaged, ObjectMissing, ObjectStore
from eventbus.settings import NatsSettings


@pytest.fixture
async def bucket(jetstream: JetStream, namespace: str) -> Bucket:
    name = f"{namespace}-RETRY"
    await jetstream.create_stream(topology.bucket(name, 1, history=3) | {"allow_msg_ttl": True})
    return Bucket(jetstream, name)


@pytest.fixture
async def objects(jetstream: JetStream, namespace: str) -> ObjectStore:
    name = f"{namespace}-BIG_EVENTS"
    await jetstream.create_stream(topology.object_bucket(name, 1))
    return ObjectStore(jetstream, name)


async def test_only_one_of_two_writers_of_a_revision_succeeds(bucket: Bucket) -> None:
    first = await bucket.create("lease.3", b"a")
    with pytest.raises(RevisionConflict):
        await bucket.create("lease.3", b"b")
    second = await bucket.update("lease.3", b"a2", first)
    with pytest.raises(RevisionConflict, match=r"lease\.3"):
        await bucket.update("lease.3", b"b", first)
    assert await bucket.get("lease.3") == Entry("lease.3", b"a2", second)
    assert await bucket.get("lease.4") is None


async def test_a_deleted_key_can_be_created_again(bucket: Bucket) -> None:
    first = await bucket.create("k", b"1")
    with pytest.raises(RevisionConflict):
        await bucket.delete("k", first + 1)
    await bucket.delete("k", first)
    found = await bucket.get("k")
    assert found is not None
    assert found.value is None
    await bucket.create("k", b"2")
    assert [entry.value for entry in await bucket.history("k")] == [b"1", None, b"2"]


async def test_a_key_expires_by_itself(bucket: Bucket) -> None:
    await bucket.create("k", b"1", expires=1)
    async with bucket.watch() as watch, asyncio.timeout(10):
        assert [entry.value for entry in watch.initial] == [b"1"]
        while await bucket.get("k"):  # noqa: ASYNC110 - a key expires without a signal
            await asyncio.sleep(0.05)
    assert await bucket.entries() == []


async def test_a_watch_shows_what_is_there_and_then_what_changes(bucket: Bucket) -> None:
    await bucket.put("acme.a", b"1")
    await bucket.put("acme.a", b"2")
    await bucket.put("other.a", b"3")
    await bucket.put("acme.b", b"4")
    await bucket.delete("acme.b")
    async with bucket.watch("acme.*") as watch, asyncio.timeout(10):
        assert [(entry.key, entry.value) for entry in watch.initial] == [("acme.a", b"2"), ("acme.b", None)]
        revision = await bucket.put("acme.c", b"5")
        assert await watch.next() == [Entry("acme.c", b"5", revision)]
    assert [entry.key for entry in await bucket.entries("acme.>")] == ["acme.a", "acme.c"]
    assert [entry.key for entry in await bucket.entries()] == ["acme.a", "other.a", "acme.c"]


async def test_a_watch_goes_on_after_the_server_was_killed(own_nats: EmbeddedNats) -> None:
    settings = NatsSettings(servers=(own_nats.url,))
    async with await connect(settings, name="test", reconnect=True) as connection:
        jetstream = JetStream(connection)
        await jetstream.create_stream(topology.bucket("TENANTS", 1))
        bucket = Bucket(jetstream, "TENANTS")
        await bucket.put("acme", b"1")
        async with bucket.watch() as watch, asyncio.timeout(30):
            await own_nats.kill()
            await own_nats.start()
            async with await connect(settings, name="other", reconnect=False) as other:
                await Bucket(JetStream(other), "TENANTS").put("acme", b"2")
            assert [entry.value for entry in await watch.next()] == [b"2"]


@pytest.mark.parametrize("key", ["", ".a", "a.", "a..b", "a b", "a*", "ä"])
async def test_what_is_no_key_is_refused(bucket: Bucket, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        await bucket.get(key)


@pytest.mark.parametrize("size", [0, 1, CHUNK, 20 * CHUNK + 1])
async def test_an_object_is_read_as_it_was_written(objects: ObjectStore, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    await objects.put("fracttal:0/16B3748:3", data)
    assert await objects.get("fracttal:0/16B3748:3") == data
    await objects.put("fracttal:0/16B3748:3", data + b"!")
    assert await objects.get("fracttal:0/16B3748:3") == data + b"!"


async def test_a_deleted_object_leaves_nothing(
    objects: ObjectStore, jetstream: JetStream, namespace: str
) -> None:
    await objects.put("a", b"x" * 3 * CHUNK)
    await objects.put("a", b"x" * 3 * CHUNK)
    await objects.delete("a")
    await objects.delete("a")
    with pytest.raises(ObjectMissing, match="object a "):
        await objects.get("a")
    info = await jetstream.stream_info(f"OBJ_{namespace}-BIG_EVENTS")
    assert info is not None
    assert info["state"]["messages"] == 0


async def test_an_object_without_all_its_chunks_is_damaged(
    objects: ObjectStore, jetstream: JetStream, namespace: str
) -> None:
    await objects.put("a", b"x" * 3 * CHUNK)
    await jetstream.purge_stream(
        f"OBJ_{namespace}-BIG_EVENTS", subject=f"$O.{namespace}-BIG_EVENTS.C.>", below=2
    )
    with pytest.raises(ObjectDamaged, match="object a "):
        await objects.get("a")
