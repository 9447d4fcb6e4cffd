"""Every stream is made as it should be, and one that differs is refused."""

from dataclasses import replace

import pytest

from eventbus.jetstream import JetStream
from eventbus.settings import NatsSettings, StreamSettings
from eventbus.topology import (
    LanesDiffer,
    NoRoom,
    TopologyDiffers,
    desired_streams,
    differences,
    ensure_topology,
)

STREAMS = StreamSettings.embedded()


async def test_what_is_missing_is_made_once(jetstream: JetStream, namespace: str) -> None:
    desired = desired_streams(NatsSettings(namespace=namespace), STREAMS)
    made = await ensure_topology(jetstream, desired)
    assert len(made) == len(desired)
    assert f"{namespace}-EVENTS" in made
    assert await ensure_topology(jetstream, desired) == []


async def test_what_differs_is_refused_with_both_values(jetstream: JetStream, namespace: str) -> None:
    settings = NatsSettings(namespace=namespace)
    await ensure_topology(jetstream, desired_streams(settings, STREAMS))
    other = replace(STREAMS, events_max_bytes=2**20, attempts_keep=60.0)
    with pytest.raises(TopologyDiffers) as error:
        await ensure_topology(jetstream, desired_streams(settings, other))
    assert not isinstance(error.value, LanesDiffer)
    assert [(one.stream, one.field, one.wanted, one.found) for one in error.value.differences] == [
        (f"{namespace}-EVENTS", "max_bytes", 2**20, STREAMS.events_max_bytes),
        (f"{namespace}-ATTEMPTS", "max_age", 60 * 10**9, int(STREAMS.attempts_keep * 1e9)),
    ]
    assert f"stream {namespace}-EVENTS: max_bytes is" in str(error.value)
    assert "nats stream edit" in str(error.value)


async def test_other_lanes_are_refused_as_such(jetstream: JetStream, namespace: str) -> None:
    settings = NatsSettings(namespace=namespace, lanes=4)
    await ensure_topology(jetstream, desired_streams(settings, STREAMS))
    with pytest.raises(LanesDiffer, match=r"lanes is '4', bridge.yaml asks for '8'"):
        await ensure_topology(jetstream, desired_streams(replace(settings, lanes=8), STREAMS))


async def test_more_than_the_server_can_reserve_is_said(jetstream: JetStream, namespace: str) -> None:
    huge = replace(STREAMS, events_max_bytes=2**60)
    with pytest.raises(NoRoom, match=f"{namespace}-EVENTS"):
        await ensure_topology(jetstream, desired_streams(NatsSettings(namespace=namespace), huge))


def test_nothing_that_must_arrive_ages_out() -> None:
    for stream in desired_streams(NatsSettings(), STREAMS):
        ages = stream["name"] == "ATTEMPTS"
        assert (stream["discard"] == "old", stream["max_age"] > 0) == (ages, ages)


def test_the_order_of_subjects_is_no_difference() -> None:
    wanted = {"name": "S", "subjects": ["a", "b"], "allow_msg_ttl": False, "metadata": {"ours": "1"}}
    assert not differences(wanted, {"name": "S", "subjects": ["b", "a"], "metadata": {"ours": "1", "x": "2"}})
    assert [str(one) for one in differences(wanted, {"name": "S", "subjects": ["a"]})] == [
        "stream S: subjects is ['a'], bridge.yaml asks for ['a', 'b']",
        "stream S: metadata ours is None, bridge.yaml asks for '1'",
    ]


async def test_a_tombstone_replaces_a_dead_letter_and_keeps_another_from_being_written(
    jetstream: JetStream, namespace: str
) -> None:
    await ensure_topology(jetstream, desired_streams(NatsSettings(namespace=namespace), STREAMS))
    subject = f"{namespace}.dlq.acme.orders.7"
    first = await jetstream.publish(subject, b"letter", b"Nats-Expected-Last-Subject-Sequence: 0\r\n")
    expected = b"Nats-Expected-Last-Subject-Sequence: %d\r\nNats-TTL: 3600s\r\n" % first
    second = await jetstream.publish(subject, b"tombstone", expected)
    found = await jetstream.last_message(f"{namespace}-DLQ", subject)
    assert found is not None
    assert (found.seq, found.payload) == (second, b"tombstone")
    assert await jetstream.message(f"{namespace}-DLQ", first) is None
