"""Where the time from commit to ERP goes: the moments that the streams keep of each event, laid side by side.

A message's stored time is the server's, an attempt's beginning the worker's; all run on this machine. What a hop shows
holds the wait for the one before it to be *confirmed*, too.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any

from bench.delivery_bus import Arrival, percentiles
from eventbus.connection import connect
from eventbus.event import HEADER_EVENT_ID
from eventbus.jetstream import JetStream
from eventbus.message import Message
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects

HOPS = ("commit → EVENTS", "EVENTS → DELIVERIES", "DELIVERIES → sending", "sending → ERP")


async def hops(url: str, arrivals: Iterable[Arrival], committed: Mapping[int, float]) -> dict[str, Any]:
    """Percentiles of each hop in milliseconds; committed: when each row was, by the `sequence` in its request."""
    subjects, moments = Subjects(), dict[str, list[float]]()
    sequences: dict[str, int] = {}
    async with await connect(NatsSettings(servers=(url,)), name="bench", reconnect=False) as connection:
        jetstream = JetStream(connection)
        async for message in _all(jetstream, subjects.stream("EVENTS"), subjects.all_events):
            sequence = int(json.loads(message.payload)["after"]["id"])
            if sequence in committed:
                sequences[message.headers[HEADER_EVENT_ID]] = sequence
                moments[message.headers[HEADER_EVENT_ID]] = [committed[sequence], message.time]
        async for message in _all(jetstream, subjects.stream("DELIVERIES"), subjects.all_deliveries):
            _add(moments, message.headers[HEADER_EVENT_ID], message.time)
        async for message in _all(jetstream, subjects.stream("ATTEMPTS"), "attempts.>"):
            attempt = json.loads(message.payload)
            _add(moments, attempt["event_id"], datetime.fromisoformat(attempt["began"]).timestamp())
    arrived = {int(arrival.body["sequence"]): arrival.at for arrival in arrivals}
    for event_id, sequence in sequences.items():
        _add(moments, event_id, arrived[sequence])
    whole = [found for found in moments.values() if len(found) == len(HOPS) + 1]
    return {
        name: percentiles(found[place + 1] - found[place] for found in whole)
        for place, name in enumerate(HOPS)
    }


def _add(moments: dict[str, list[float]], event_id: str, moment: float) -> None:
    if event_id in moments:
        moments[event_id].append(moment)


async def _all(jetstream: JetStream, stream: str, subject: str) -> AsyncIterator[Message]:
    async with OrderedReader(jetstream, Reading(stream, [subject])) as reader:
        async for message in reader.what_is_there():
            yield message
