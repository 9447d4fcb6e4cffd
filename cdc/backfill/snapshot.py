"""`bridge cdc start --snapshot`: a backfill of every table, once for each epoch.

They are asked for before the new epoch's position is claimed. So whoever finds that position knows that they were,
and a start in which nothing new begins asks for nothing.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count

from cdc.backfill.read_table import Refused
from cdc.backfill.request import check_table
from cdc.backfill.run_record import RunRecord, Target
from cdc.backfill.run_store import RunStore
from cdc.settings import SourceSettings
from cdc.source_errors import CaptureStopped
from cdc.start_decision import Stop
from eventbus.buckets import RevisionConflict
from eventbus.tokens import escape


async def ask_for_all(source: SourceSettings, store: RunStore, epoch: int) -> None:
    """Raises CaptureStopped where a table cannot be read, and then asks for none; SourceLost."""
    refused = [reason async for reason in _refused(source)]
    if refused:
        ways = (
            "mend it",
            "or start without --snapshot, and ask with `bridge cdc backfill` for the tables that can be",
        )
        raise CaptureStopped(Stop("snapshot_refused", f"no snapshot: {'; '.join(refused)}", ways))
    for table in source.tables:
        await _ask(store, epoch, table)


async def _ask(store: RunStore, epoch: int, table: str) -> None:
    """Open already: asked for before a crash. Ended: of an epoch of that number whose stream was deleted since."""
    for time in count(1):
        run = snapshot_run(epoch, table, time)
        with suppress(RevisionConflict):
            await store.create(run, _record(table))
            return
        held = await store.get(run)
        if held is not None and held.record.is_open:
            return


async def _refused(source: SourceSettings) -> AsyncIterator[str]:
    for table in source.tables:
        try:
            await check_table(source, _record(table))
        except Refused as refused:
            yield str(refused)


def snapshot_run(epoch: int, table: str, time: int) -> str:
    """The run's name: the same however often it is asked for."""
    again = f"={time}" if time > 1 else ""
    return f"snapshot{epoch}{again}-{escape(table)}"


def _record(table: str) -> RunRecord:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return RunRecord(target=Target(table), by="bridge cdc start --snapshot", requested=now)
