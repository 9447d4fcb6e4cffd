"""What the keeper asks of the streams."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from eventbus.errors import JetStreamError
from eventbus.jetstream import STREAM_NOT_FOUND, JetStream, StoredMessage
from eventbus.subjects import Subjects
from pipeline.keeping.purge import ConsumerFloor, Filling

RIPE_S = 60.0
"""In a cluster a consumer may be served by a replica that does not have the youngest messages yet: to it they are nothing
that waits. So nothing younger is looked at there."""


@dataclass(frozen=True, slots=True)
class StreamOf:
    """A stream, what of it is to be purged, and for how long that is kept."""

    name: str
    subject: str
    keep_s: float


async def fullness(jetstream: JetStream, stream: str) -> float:
    """0.0 empty, 1.0 full. Raises as JetStream does."""
    return _filling(await _info(jetstream, stream)).full


async def filling_of(jetstream: JetStream, stream: StreamOf, urgency: float) -> tuple[Filling, int]:
    """The stream as it is, and up to which sequence it is older than it is kept, by the server's clock.

    What else the stream holds may be older than all that is to be purged. urgency: see Filling.
    """
    info = await _info(jetstream, stream.name)
    now, found = datetime.fromisoformat(info["ts"]).timestamp(), _filling(info)
    first = await jetstream.next_message(stream.name, stream.subject, max(1, found.first_seq))
    first_seq = found.last_seq + 1 if first is None else first.seq
    last_seq = found.last_seq
    if info["config"]["num_replicas"] > 1:
        last_seq = await _old_up_to(jetstream, stream, found.last_seq, now - RIPE_S)
    old = await _old_up_to(jetstream, stream, last_seq, now - stream.keep_s)
    return replace(found, first_seq=first_seq, last_seq=last_seq, urgency=urgency), old


async def _info(jetstream: JetStream, stream: str) -> dict[str, Any]:
    info = await jetstream.stream_info(stream)
    if info is None:
        raise JetStreamError(stream, 404, STREAM_NOT_FOUND, "somebody deleted the stream")
    return info


def _filling(info: dict[str, Any]) -> Filling:
    state = info["state"]
    return Filling(state["first_seq"], state["last_seq"], state["bytes"], info["config"]["max_bytes"])


async def _old_up_to(jetstream: JetStream, stream: StreamOf, last_seq: int, since: float) -> int:
    """Up to there, at most up to `last_seq`, nothing was stored since. last_seq: as it was before we ask."""
    found = await jetstream.first_since(stream.name, stream.subject, since)
    return last_seq if found is None else min(found.seq - 1, last_seq)


def floor_of(info: dict[str, Any] | None) -> ConsumerFloor | None:
    """What CONSUMER.INFO says; None where there is no such consumer."""
    if info is None:
        return None
    return ConsumerFloor(info["ack_floor"]["stream_seq"], info["num_pending"] + info["num_ack_pending"])


async def positions_of_sources(jetstream: JetStream, subjects: Subjects) -> dict[str, StoredMessage]:
    """The position of each source that has one, by name."""
    stream, pattern = subjects.stream("EVENTS"), subjects.all_positions
    info: dict[str, Any] = await jetstream.stream_info(stream, {"subjects_filter": pattern}) or {}
    found: dict[str, StoredMessage] = {}
    for subject in info.get("state", {}).get("subjects") or ():
        message = await jetstream.last_message(stream, subject)
        if message is not None:
            found[subject.removeprefix(pattern[:-1])] = message
    return found
