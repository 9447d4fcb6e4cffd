"""Which runs are begun first."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from cdc.backfill.backfills import Backfills
from cdc.backfill.run_record import RunRecord, Target
from cdc.backfill.run_store import StoredRun
from cdc.event_assembly import Origin
from cdc.position import Mark, RunMark
from eventbus.subjects import Subjects


class Store:
    async def follow(self) -> AsyncIterator[list[StoredRun]]:
        yield [StoredRun(run, RunRecord(target=Target("public.t")), 1) for run in ("a", "b", "c")]
        await asyncio.Event().wait()


async def test_those_that_had_begun_go_on_before_others_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    over = asyncio.Event()

    async def whole(_self: Backfills, run: str, _record: RunRecord) -> None:
        begun.append(run)
        if len(begun) == 3:
            over.set()

    monkeypatch.setattr(Backfills, "_whole", whole)
    stream: Any = SimpleNamespace(runs=(RunMark("c", "public.t"),), listen=print, watch=print)
    tenure: Any = SimpleNamespace(mark=Mark(0, 0, 0))
    store: Any = Store()
    running = asyncio.create_task(Backfills(tenure, stream, store, Origin("shop", "db", 1, Subjects())).run())
    async with asyncio.timeout(10):
        await over.wait()
    running.cancel()
    await asyncio.wait((running,))
    assert begun == ["c", "a", "b"]
