import asyncio
import itertools
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cdc.big_events import BigEvents
from cdc.capture_stream import CaptureStream
from cdc.position import Mark
from cdc.progress import Progress, ProgressSettings
from cdc.source_errors import SourceLost
from cdc.tenure import Tenure
from eventbus.group_commit import Group
from eventbus.objects import ObjectStore
from tests.cdc.pgoutput_stream import LSN, frame, inserts, started

SLICES = 50


class Flood:
    """A slot of which no read has to wait, and a writer that always has room."""

    def __init__(self) -> None:
        self.reads = 0
        self.groups: list[Group[Mark]] = []

    async def read(self) -> list[bytes]:
        if self.reads == SLICES:
            raise SourceLost("over")
        self.reads += 1
        return [frame(payload) for payload in inserts(3, LSN + 100 * self.reads)]

    async def wait_room(self) -> None:
        pass

    def put(self, group: Group[Mark]) -> None:
        self.groups.append(group)


def stream_of(flood: Flood) -> CaptureStream:
    tenure: Any = SimpleNamespace(
        connections=SimpleNamespace(replication=flood),
        writer=flood,
        mark=Mark(0, 0, 0),
        progress=Progress(ProgressSettings(), 0.0),
    )
    return CaptureStream(cast("Tenure", tenure), started(), BigEvents(cast("ObjectStore", None), 2**20))


async def test_in_a_flood_everybody_has_a_turn_after_each_slice() -> None:
    flood = Flood()
    seen: list[int] = []

    async def other() -> None:
        for _ in itertools.count():
            seen.append(len(flood.groups))
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    with pytest.raises(SourceLost):
        await stream_of(flood).pump()
    beside.cancel()
    assert seen == list(range(1, SLICES + 1))
