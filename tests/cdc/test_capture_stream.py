import asyncio
import itertools
import struct
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from cdc.capture_stream import CaptureStream
from cdc.position import Mark
from cdc.progress import Progress, ProgressSettings
from cdc.source_errors import SourceLost
from cdc.tenure import Tenure
from cdc.transaction_groups import GROUP_BYTES, GROUP_EVENTS
from eventbus.big_events import BigEvents
from eventbus.group_commit import Group
from eventbus.objects import ObjectStore
from tests.cdc.pgoutput_stream import LSN, ORDERS, begin, commit, frame, insert, inserts, started

SLICES = 50
IDLE_TO = LSN - 10
KEEPALIVE = struct.pack(">cQqB", b"k", IDLE_TO, 0, 0)


class Flood:
    """A slot of which no read has to wait, and a writer that always has room."""

    room = True

    def __init__(self, slices: Iterable[list[bytes]]) -> None:
        self.slices = iter(slices)
        self.groups: list[Group[Mark]] = []

    async def read(self) -> list[bytes]:
        for frames in self.slices:
            return frames
        raise SourceLost("over")

    async def wait_room(self) -> None:
        pass

    def put(self, group: Group[Mark]) -> None:
        self.groups.append(group)

    @property
    def flushes(self) -> list[int]:
        return [group.mark.flush for group in self.groups]


class Objects:
    """A store that takes nothing before it is opened."""

    def __init__(self) -> None:
        self.asked, self.open = asyncio.Event(), asyncio.Event()

    async def put(self, _name: str, _payload: bytes) -> None:
        self.asked.set()
        await self.open.wait()


def stream_of(flood: Flood, objects: object = None) -> CaptureStream:
    tenure: Any = SimpleNamespace(
        connections=SimpleNamespace(replication=flood),
        writer=flood,
        mark=Mark(0, 0, 0),
        noted=Mark(0, 0, 0),
        progress=Progress(ProgressSettings(), 0.0),
        changed=asyncio.Event(),
        source=SimpleNamespace(name="shop"),
    )
    return CaptureStream(cast("Tenure", tenure), started(), BigEvents(cast("ObjectStore", objects), 2**20))


async def pumped(stream: CaptureStream) -> None:
    with pytest.raises(SourceLost, match="over"):
        await stream.pump()


async def test_in_a_flood_everybody_has_a_turn_after_each_slice() -> None:
    flood = Flood([frame(payload) for payload in inserts(3, LSN + 100 * n)] for n in range(SLICES))
    seen: list[int] = []

    async def other() -> None:
        for _ in itertools.count():
            seen.append(len(flood.groups))
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await pumped(stream_of(flood))
    beside.cancel()
    assert seen == list(range(1, SLICES + 1))


async def test_events_without_a_tenant_are_counted_each_and_told_with_their_tables_not_each_time() -> None:
    def counted() -> float:
        labels = {"source": "shop", "table": "public.orders"}
        return REGISTRY.get_sample_value("bridge_capture_unknown_tenant_events_total", labels) or 0.0

    before = counted()
    nobodys = [begin(LSN), *(insert(ORDERS, str(n), None, "", "") for n in range(3)), commit(LSN)]
    flood = Flood([[frame(payload) for payload in nobodys]])
    stream = stream_of(flood)
    with capture_logs() as logs:
        stream.tell_recurring()
        await pumped(stream)
        stream.tell_recurring()
        flood.slices = iter([[frame(payload) for payload in nobodys]])
        await pumped(stream)
        stream.tell_recurring()
    assert [line["events"] for line in logs] == [{"public.orders": 3}]
    assert counted() == before + 6


def until_idle() -> list[bytes]:
    """A transaction, and a keepalive that lets a position without events go further."""
    return [*map(frame, inserts(1, LSN - 100)), KEEPALIVE]


async def test_a_piece_says_no_less_than_a_position_without_events_before_it() -> None:
    flood = Flood([until_idle()])
    stream = stream_of(flood)
    await pumped(stream)
    stream.put_lone()  # and PostgreSQL has let go of it by now
    flood.slices = iter([[frame(payload) for payload in inserts(GROUP_EVENTS)]])
    await pumped(stream)
    assert flood.flushes == [LSN - 52, IDLE_TO, IDLE_TO, LSN + 48]


async def test_a_position_without_events_that_overtakes_a_waiting_piece_holds() -> None:
    flood, objects = Flood([until_idle()]), Objects()
    stream = stream_of(flood, objects)
    await pumped(stream)
    *others, end = inserts(GROUP_EVENTS + 10)
    big = insert(ORDERS, "1", "7", "", "x" * GROUP_BYTES)
    flood.slices = iter([[frame(payload) for payload in (*others, big, end)]])
    pumping = asyncio.create_task(pumped(stream))
    await asyncio.wait_for(objects.asked.wait(), 5)
    stream.put_lone()
    objects.open.set()
    await pumping
    assert flood.flushes == [LSN - 52, LSN - 52, IDLE_TO, IDLE_TO, LSN + 48]
