"""Asking for a snapshot: once for each epoch that begins, whatever is remembered of others."""

from typing import Any

import pytest

from cdc.backfill import snapshot
from cdc.backfill.run_record import RunRecord
from cdc.backfill.run_store import StoredRun
from cdc.settings import SourceSettings, TableSettings
from eventbus.buckets import RevisionConflict

SOURCE = SourceSettings("shop", "host=h", {"public.a": TableSettings()}, "slot", "bridge")


class Store:
    def __init__(self) -> None:
        self.records: dict[str, RunRecord] = {}

    async def create(self, run: str, record: RunRecord) -> None:
        if run in self.records:
            raise RevisionConflict(run)
        self.records[run] = record

    async def get(self, run: str) -> StoredRun:
        return StoredRun(run, self.records[run], 1)


async def test_what_was_asked_for_before_a_crash_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "check_table", _can_be_read)
    store: Any = Store()
    for _ in range(2):
        await snapshot.ask_for_all(SOURCE, store, 1)
    assert [*store.records] == ["snapshot1-public=2Ea"]


async def test_a_snapshot_that_ended_before_the_stream_was_deleted_is_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "check_table", _can_be_read)
    store: Any = Store()
    await snapshot.ask_for_all(SOURCE, store, 1)
    store.records["snapshot1-public=2Ea"] = store.records["snapshot1-public=2Ea"].with_state("done")
    for _ in range(2):
        await snapshot.ask_for_all(SOURCE, store, 1)
    assert [*store.records] == ["snapshot1-public=2Ea", "snapshot1=2-public=2Ea"]


async def _can_be_read(_source: SourceSettings, _record: RunRecord) -> None:
    pass
