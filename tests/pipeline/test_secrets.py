"""Secrets: sealed for their tenant and name, listed without values, resolved where a connection names them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest

from bridge.demo.nats_server import EmbeddedNats
from eventbus.buckets import Bucket, Entry
from eventbus.connection import connect
from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects
from eventbus.topology import bucket, ensure_topology
from pipeline.sealing import SealBroken, open_sealed, seal
from pipeline.secrets import SecretStore, SecretUnusable, resolved

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
NOW = datetime(2026, 11, 24, 3, 28, 19, tzinfo=UTC)


def test_a_secret_opens_with_its_key_in_its_place() -> None:
    assert open_sealed([KEY], "acme", "sap", seal(KEY, "acme", "sap", "señor·🔑", NOW)) == "señor·🔑"


def test_the_same_secret_is_never_sealed_alike() -> None:
    one, two = (seal(KEY, "acme", "sap", "geheim", NOW) for _ in range(2))
    assert one.sealed != two.sealed
    assert b"geheim" not in msgspec.json.encode(one)


@pytest.mark.parametrize(("tenant", "name"), [("globex", "sap"), ("acme", "other")])
def test_a_secret_copied_to_another_place_does_not_open(tenant: str, name: str) -> None:
    with pytest.raises(SealBroken, match=f"bridge secret set {tenant} {name}"):
        open_sealed([KEY], tenant, name, seal(KEY, "acme", "sap", "geheim", NOW))


def test_another_key_is_told() -> None:
    with pytest.raises(SealBroken, match=r"another secrets\.key"):
        open_sealed([OTHER_KEY], "acme", "sap", seal(KEY, "acme", "sap", "geheim", NOW))


@pytest.mark.parametrize("field", ["sealed", "nonce"])
def test_changed_bytes_do_not_open(field: str) -> None:
    record = seal(KEY, "acme", "sap", "geheim", NOW)
    text = getattr(record, field)
    changed = msgspec.structs.replace(record, **{field: ("B" if text[0] == "A" else "A") + text[1:]})
    with pytest.raises(SealBroken, match="damaged"):
        open_sealed([KEY], "acme", "sap", changed)


@pytest.fixture
async def jetstream(nats_server: EmbeddedNats, namespace: str) -> AsyncIterator[JetStream]:
    settings = NatsSettings(servers=(nats_server.url,))
    async with await connect(settings, name="test", reconnect=False) as connection:
        found = JetStream(connection)
        await ensure_topology(found, [bucket(f"{namespace}-SECRETS", 1)])
        yield found


async def test_a_connections_auth_gets_its_secrets(jetstream: JetStream, namespace: str) -> None:
    store = SecretStore(jetstream, Subjects(namespace), [KEY])
    await store.set("acme", "sap_password", "old")
    await store.set("acme", "sap_password", "geheim")
    auth = {"type": "basic", "username": "${secret:x} is text", "password": "${secret:sap_password}"}
    assert await store.resolve("acme", auth) == auth | {"password": "geheim"}
    stored = await Bucket(jetstream, f"{namespace}-SECRETS").get("acme.sap_password")
    assert stored is not None
    assert stored.value is not None
    assert b"geheim" not in stored.value


async def test_the_list_has_names_and_dates(jetstream: JetStream, namespace: str) -> None:
    store = SecretStore(jetstream, Subjects(namespace), [KEY])
    before = datetime.now(UTC)
    for tenant, name in (("globex", "token"), ("acme", "b"), ("acme", "a")):
        await store.set(tenant, name, "geheim")
    without_key = SecretStore(jetstream, Subjects(namespace), ())
    found = await without_key.list()
    assert [(one.tenant, one.name) for one in found] == [("acme", "a"), ("acme", "b"), ("globex", "token")]
    assert all(before <= one.set_at <= datetime.now(UTC) for one in found)
    assert [one.name for one in await without_key.list("globex")] == ["token"]


async def test_what_is_missing_says_what_to_run(jetstream: JetStream, namespace: str) -> None:
    store = SecretStore(jetstream, Subjects(namespace), [KEY])
    with pytest.raises(
        SecretUnusable, match=r"tenant acme has no secret 'sap'; run `bridge secret set acme sap`"
    ):
        await store.resolve("acme", {"password": "${secret:sap}"})
    await store.set("acme", "sap", "geheim")
    with pytest.raises(SecretUnusable, match=r"another secrets\.key"):
        await SecretStore(jetstream, Subjects(namespace), [OTHER_KEY]).get("acme", "sap")
    with pytest.raises(SecretUnusable, match=r"needs `secrets: \{key: …\}` in bridge.yaml"):
        await SecretStore(jetstream, Subjects(namespace), ()).get("acme", "sap")
    await Bucket(jetstream, f"{namespace}-SECRETS").put("acme.sap", b"{}")
    with pytest.raises(SecretUnusable, match="cannot be read; set it again"):
        await store.get("acme", "sap")


async def test_keys_rotate_while_both_are_read(jetstream: JetStream, namespace: str) -> None:
    subjects = Subjects(namespace)
    await SecretStore(jetstream, subjects, [KEY]).set("acme", "sap", "geheim")
    store = SecretStore(jetstream, subjects, [OTHER_KEY, KEY])
    await store.set("acme", "new", "neu")
    since = [found.set_at for found in await store.list() if found.name == "sap"]
    assert [found.name for found in await store.rotate()] == ["sap"]
    assert await store.rotate() == []
    alone = SecretStore(jetstream, subjects, [OTHER_KEY])
    assert [await alone.get("acme", name) for name in ("sap", "new")] == ["geheim", "neu"]
    assert [found.set_at for found in await alone.list() if found.name == "sap"] == since


async def test_a_rotation_overwrites_nothing_that_is_set_meanwhile(
    jetstream: JetStream, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = Subjects(namespace)
    old, store = (SecretStore(jetstream, subjects, keys) for keys in ([KEY], [OTHER_KEY, KEY]))
    await old.set("acme", "sap", "before")
    found = await Bucket(jetstream, subjects.bucket("SECRETS")).entries()
    await old.set("acme", "sap", "after")

    async def entries(_bucket: Bucket) -> list[Entry]:
        return found

    monkeypatch.setattr(Bucket, "entries", entries)
    assert await store.rotate() == []
    assert await store.get("acme", "sap") == "after"


async def test_a_rotation_names_what_no_key_opens_and_does_the_rest(
    jetstream: JetStream, namespace: str
) -> None:
    subjects = Subjects(namespace)
    await SecretStore(jetstream, subjects, [b"lost" * 8]).set("acme", "sap", "geheim")
    await SecretStore(jetstream, subjects, [KEY]).set("acme", "token", "geheim")
    with pytest.raises(
        SecretUnusable, match=r"secret sap of tenant acme was sealed with another secrets\.key"
    ):
        await SecretStore(jetstream, subjects, [OTHER_KEY, KEY]).rotate()
    assert await SecretStore(jetstream, subjects, [OTHER_KEY]).get("acme", "token") == "geheim"


def test_secrets_are_put_in_place_however_deep_they_stand() -> None:
    auth = {"body": {"UserName": "manager", "deep": [{"Password": "${secret:b1}"}, "${secret:b1}"]}, "n": 25}
    found = resolved(auth, {"b1": "geheim"})
    assert found == {"body": {"UserName": "manager", "deep": [{"Password": "geheim"}, "geheim"]}, "n": 25}
