"""The few sessions through which one source's rows are read, opened when they are needed and closed when they idle."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cdc.row_reads.question import Answer, Question, ReadRefused
from cdc.row_reads.session import TIMEOUT_S, RowSession, TableChanged
from cdc.settings import SourceSettings
from cdc.source_errors import SourceLost

IDLE_S = 60.0
_SILENT_S = 2.0
"""So much longer than a statement's own time limit we wait for a server that says nothing."""


class SourceRows:
    """How many questions are asked at a time decides who asks."""

    def __init__(self, source: SourceSettings) -> None:
        self._source = source
        self._idle: list[tuple[RowSession, float]] = []
        self._busy = 0
        self._freed = asyncio.Event()

    async def read(self, question: Question) -> Answer:
        """Raises ReadRefused, ReadTooSlow, SourceLost."""
        used = bool(self._idle)
        try:
            return await self._read(question)
        except TableChanged:
            pass
        except SourceLost:
            if not used:
                raise
            await self.aclose()  # the server may have been restarted since they were opened
        try:
            return await self._read(question)
        except TableChanged:
            raise ReadRefused(f"table {question.shape.table} changes just now, or is gone") from None

    async def aclose(self) -> None:
        idle, self._idle = self._idle, []
        for session, _ in idle:
            await session.close()

    async def _read(self, question: Question) -> Answer:
        async with self._lent() as session:
            try:
                async with asyncio.timeout(TIMEOUT_S + _SILENT_S):
                    return await session.read(question)
            except TimeoutError:
                raise SourceLost(
                    f"PostgreSQL: reading {question.shape.table}: the server is silent"
                ) from None
            except TableChanged:
                await self.aclose()  # what they have prepared is as old
                raise

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[RowSession]:
        """A session that ends with an error is closed: nobody knows what it still waits for."""
        session = await self._session()
        try:
            yield session
        except BaseException:
            await _end(session)
            raise
        else:
            self._idle.append((session, time.monotonic()))
        finally:
            self._returned()

    async def _session(self) -> RowSession:
        """The one that was used last, so that the others grow old."""
        now = time.monotonic()
        while self._idle and self._idle[0][1] < now - IDLE_S:
            await _end(self._idle.pop(0)[0])
        if not self._idle:
            return await self._opened()
        self._busy += 1
        return self._idle.pop()[0]

    async def _opened(self) -> RowSession:
        self._busy += 1
        try:
            return await RowSession.open(self._source)
        except SourceLost:
            self._returned()
            # the role may have no more, perhaps: those that there are will do
            while self._busy and not self._idle:
                self._freed.clear()
                await self._freed.wait()
            if not self._idle:
                raise
        except BaseException:
            self._returned()
            raise
        self._busy += 1
        return self._idle.pop()[0]

    def _returned(self) -> None:
        self._busy -= 1
        self._freed.set()


async def _end(session: RowSession) -> None:
    with contextlib.suppress(Exception):
        await session.close()
