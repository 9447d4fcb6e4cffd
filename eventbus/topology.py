"""The streams and buckets as they should be, compared with those that are (docs/architecture.md, "Streams and buckets").

Every command creates what is missing and refuses what differs: a stream that ages out or forgets would lose changes
without a word.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eventbus.errors import EventBusError, JetStreamError, NatsRefused
from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings, StreamSettings
from eventbus.subjects import Subjects

Config = dict[str, Any]

LANES_KEY = "fracttal-bridge.lanes"
ADVISORIES_MAX_BYTES = 64 * 2**20
MAX_CONSUMERS = 100_000
TENANT_VERSIONS = 64
_NAME_TAKEN = 10058
_NO_ROOM = 10047
_NO_JETSTREAM = (503, 10039, 10076)


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of a stream that is not as it should be."""

    stream: str
    field: str
    wanted: object
    found: object

    def __str__(self) -> str:
        return f"stream {self.stream}: {self.field} is {self.found!r}, bridge.yaml asks for {self.wanted!r}"


class TopologyDiffers(EventBusError):
    """Streams differ from what the settings ask for."""

    remedy = "let bridge.yaml say what the stream has, or change the stream (`nats stream edit`)"

    def __init__(self, differences: list[Difference]) -> None:
        super().__init__(f"{'; '.join(map(str, differences))}; {self.remedy}")
        self.differences = differences


class LanesDiffer(TopologyDiffers):
    """The number of lanes is another than when DELIVERIES was made: it is fixed from then on."""

    remedy = "let bridge.yaml say what the stream has"


class NoRoom(EventBusError):
    """The server cannot reserve what a stream asks for."""


def desired_streams(nats: NatsSettings, streams: StreamSettings) -> list[Config]:
    """Every stream's configuration; buckets are streams too."""
    subjects = Subjects(nats.namespace)

    def stream(name: str, max_bytes: int, **more: object) -> Config:
        return {
            "name": subjects.stream(name),
            "subjects": subjects.stream_subjects(name),
            "storage": "file",
            "retention": "limits",
            "num_replicas": nats.replicas,
            "max_bytes": max_bytes,
            "max_age": 0,
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "discard": "new",
            "allow_direct": True,
        } | more

    lanes = {LANES_KEY: str(nats.lanes)}
    atomic = {"allow_atomic": True, "allow_rollup_hdrs": True}
    return [
        # webhooks' markers expire; events do not
        stream("EVENTS", streams.events_max_bytes, **atomic, allow_msg_ttl=True),
        stream(
            "DELIVERIES", streams.deliveries_max_bytes, **atomic, max_consumers=MAX_CONSUMERS, metadata=lanes
        ),
        stream("ADVISORIES", ADVISORIES_MAX_BYTES),
        # one message a subject: the dead letter, later the tombstone in its place, which may expire
        stream("DLQ", streams.dlq_max_bytes, max_msgs_per_subject=1, allow_msg_ttl=True),
        stream(
            "ATTEMPTS", streams.attempts_max_bytes, discard="old", max_age=int(streams.attempts_keep * 1e9)
        ),
        *(
            bucket(subjects.bucket(name), nats.replicas, history=history)
            for name, history in (("LANES", 1), ("TENANTS", TENANT_VERSIONS), ("SECRETS", 1))
        ),
        bucket(subjects.bucket("RETRY"), nats.replicas) | {"allow_msg_ttl": True},
        object_bucket(subjects.bucket("BIG_EVENTS"), nats.replicas),
        bucket(subjects.bucket("BACKFILLS"), nats.replicas),
        bucket(subjects.bucket("PAUSES"), nats.replicas),
        # a worker's key lives a few seconds longer than its worker
        bucket(subjects.bucket("MEMBERS"), nats.replicas) | {"allow_msg_ttl": True},
        bucket(subjects.bucket("SAVED"), nats.replicas),
    ]


def bucket(name: str, replicas: int, history: int = 1) -> Config:
    """A key-value bucket (ADR-8 of nats-architecture-and-design)."""
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": history,
        "max_age": 0,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
    }


def object_bucket(name: str, replicas: int) -> Config:
    """An object store (ADR-20 of nats-architecture-and-design)."""
    return {
        "name": f"OBJ_{name}",
        "subjects": [f"$O.{name}.C.>", f"$O.{name}.M.>"],
        "storage": "file",
        "num_replicas": replicas,
        "max_age": 0,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


def differences(wanted: Config, found: Config) -> list[Difference]:
    """Field by field, of those that `wanted` names; of the metadata only our own."""
    pairs = dict(wanted)
    metadata = pairs.pop("metadata", {})
    rows = [(field, value, found.get(field)) for field, value in pairs.items()]
    rows += [
        (f"metadata {key}", value, found.get("metadata", {}).get(key)) for key, value in metadata.items()
    ]
    return [
        Difference(wanted["name"], field, value, actual)
        for field, value, actual in rows
        if not _same(value, actual)
    ]


def _same(wanted: object, actual: object) -> bool:
    if isinstance(wanted, list) and isinstance(actual, list):
        return sorted(wanted) == sorted(actual)
    return wanted == actual or (actual is None and wanted in (False, 0, -1))


async def ensure_topology(jetstream: JetStream, desired: Iterable[Config]) -> list[str]:
    """Creates what is missing; the names of what was made.

    What is missing although later ones are there was deleted. Its sequences must not come again: dead letters, retry
    records and what running workers know to be settled are named by them. So it begins with the microseconds since
    the epoch, above all that it ever gave.

    Raises LanesDiffer, TopologyDiffers (with every difference), NoRoom, NatsRefused (no JetStream).
    """
    await _check_jetstream(jetstream)
    made: list[str] = []
    found: list[Difference] = []
    pairs = [(config, await jetstream.stream_info(config["name"])) for config in desired]
    for place, (config, there) in enumerate(pairs):
        info = there
        if info is None:
            again = any(later for _, later in pairs[place + 1 :])
            begin = {"first_seq": time.time_ns() // 1_000} if again else {}
            info = await _create(jetstream, config | begin)
            made.append(config["name"])
        found += differences(config, info["config"])
    if any(LANES_KEY in difference.field for difference in found):
        raise LanesDiffer(found)
    if found:
        raise TopologyDiffers(found)
    return made


async def _check_jetstream(jetstream: JetStream) -> None:
    try:
        await jetstream.call("INFO")
    except JetStreamError as error:
        if error.err_code not in _NO_JETSTREAM:
            raise
        raise NatsRefused(
            f"NATS at {jetstream.connection.servers} has no JetStream for us: {error.description};"
            " start nats-server with `-js`, or enable JetStream for the account"
        ) from None


async def _create(jetstream: JetStream, config: Config) -> dict[str, Any]:
    try:
        return await jetstream.create_stream(config)
    except JetStreamError as error:
        if error.err_code == _NO_ROOM:
            raise NoRoom(
                f"the server cannot reserve {config.get('max_bytes')} bytes for stream {config['name']}:"
                f" {error.description}; lower streams.*.max_bytes or give JetStream more storage"
            ) from None
        if error.err_code != _NAME_TAKEN:
            raise
    # somebody made it at the same moment, perhaps with other settings
    info = await jetstream.stream_info(config["name"])
    if info is None:
        raise EventBusError(f"stream {config['name']} was made and deleted by somebody else meanwhile")
    return info
