"""What the keeper asks of the streams."""

import time
from dataclasses import replace
from typing import Any

from eventbus.errors import JetStreamError
from eventbus.jetstream import STREAM_NOT_FOUND, JetStream, StoredMessage
from eventbus.subjects import Subjects
from pipeline.purge import ConsumerFloor, Filling


async def state_of(jetstream: JetStream, stream: str) -> Filling:
    """Raises as JetStream does."""
    info = await jetstream.stream_info(stream)
    if info is None:
        raise JetStreamError(stream, 404, STREAM_NOT_FOUND, "somebody deleted the stream")
    state = info["state"]
    return Filling(state["first_seq"], state["last_seq"], state["bytes"], info["config"]["max_bytes"])


async def filling_of(jetstream: JetStream, stream: str, subject: str, urgency: float) -> Filling:
    """As `state_of`; what else the stream holds than `subject` may be older than all of that."""
    found = await state_of(jetstream, stream)
    first = await jetstream.next_message(stream, subject, max(1, found.first_seq))
    first_seq = found.last_seq + 1 if first is None else first.seq
    return replace(found, first_seq=first_seq, urgency=urgency)


async def old_up_to(jetstream: JetStream, stream: str, subject: str, filling: Filling, keep_s: float) -> int:
    """Up to this sequence everything of the subject is older than `keep_s`. filling: as it was before we ask."""
    found = await jetstream.first_since(stream, subject, time.time() - keep_s)
    return filling.last_seq if found is None else min(found.seq - 1, filling.last_seq)


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
