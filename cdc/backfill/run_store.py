"""The records of a source's backfills in bucket BACKFILLS."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from cdc.backfill.run_record import RunRecord, decode_record
from eventbus.buckets import Bucket, Entry, RevisionConflict
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects

_NAME = re.compile(r"[A-Za-z0-9_=-]+")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A record at a revision."""

    run: str
    record: RunRecord
    revision: int


class RunStore:
    """Methods raise as Bucket's do."""

    def __init__(self, jetstream: JetStream, subjects: Subjects, source: str) -> None:
        self._bucket = Bucket(jetstream, subjects.bucket("BACKFILLS"))
        self._source = source

    async def all(self) -> list[StoredRun]:
        """By the moment of their last change."""
        return [
            found for entry in await self._bucket.entries(f"{self._source}.*") if (found := self._read(entry))
        ]

    async def get(self, run: str) -> StoredRun | None:
        """`run`: whatever somebody wrote; a wildcard is nobody's name."""
        if not _NAME.fullmatch(run):
            return None
        entry = await self._bucket.get(self._key(run))
        return None if entry is None else self._read(entry)

    async def create(self, run: str, record: RunRecord) -> None:
        """Raises RevisionConflict where there is one of this name."""
        await self._bucket.create(self._key(run), record.encode())

    async def change(self, run: str, change: Callable[[RunRecord], RunRecord | None]) -> RunRecord | None:
        """Writes what `change` makes of the record as it is; None: there is none, or `change` left it as it is."""
        while (found := await self.get(run)) is not None:
            changed = change(found.record)
            if changed is None:
                return None
            try:
                await self._bucket.update(self._key(run), changed.encode(), found.revision)
            except RevisionConflict:
                continue
            return changed
        return None

    async def follow(self) -> AsyncIterator[list[StoredRun]]:
        """All records, and then each that changes."""
        async with self._bucket.watch(f"{self._source}.*") as watch:
            entries = watch.initial
            while True:
                yield [found for entry in entries if (found := self._read(entry))]
                entries = await watch.next()

    def _key(self, run: str) -> str:
        return f"{self._source}.{run}"

    def _read(self, entry: Entry) -> StoredRun | None:
        if entry.value is None:
            return None
        try:
            record = decode_record(entry.value)
        except ValueError as error:
            log.warning("a backfill's record is skipped", key=entry.key, because=str(error))
            return None
        return StoredRun(entry.key.partition(".")[2], record, entry.revision)
