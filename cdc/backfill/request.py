"""Asking for a backfill: may it be done at all, is it under way already, and if not, its record."""

import time
from dataclasses import dataclass

from cdc.backfill.read_table import Range, refuse_tenant
from cdc.backfill.run_record import RunRecord
from cdc.backfill.run_store import RunStore
from cdc.backfill.table_reader import TableReader
from cdc.settings import SourceSettings
from eventbus.buckets import RevisionConflict

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Asked:
    """The run; attached: it was open before."""

    run: str
    attached: bool


async def check_table(source: SourceSettings, record: RunRecord) -> None:
    """Raises Refused where capture would end this backfill at once, SourceLost, DsnInvalid."""
    reader = await TableReader.open(source)
    try:
        read = await reader.describe(record.target.table)
        await reader.check(read)
        refuse_tenant(read, record.target)
        await reader.estimate(read, Range(), record.target.tenant)
    finally:
        await reader.close()


async def ask(store: RunStore, record: RunRecord) -> Asked:
    """One open backfill a target; the next may be asked for once it has ended. Raises as the bucket does."""
    for stored in await store.all():
        if stored.record.is_open and stored.record.target == record.target:
            return Asked(stored.run, attached=True)
    while True:
        run = _base36(time.time_ns() // 1_000_000)
        try:
            await store.create(run, record)
        except RevisionConflict:
            continue  # somebody asked for another one within the same millisecond
        return Asked(run, attached=False)


async def cancel(store: RunStore, run: str) -> bool:
    """False where there is no such run, or it has ended."""

    def cancelled(record: RunRecord) -> RunRecord | None:
        return record.with_state("cancelled") if record.is_open else None

    return await store.change(run, cancelled) is not None


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits
