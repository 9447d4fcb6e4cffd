"""Where streamed transactions wait for their commit once they are too large for memory: unnamed temporary files.

A file is gone when the process is, whatever ends it: after a restart PostgreSQL sends its transaction again.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from typing import BinaryIO, TypeVar

from cdc.streamed_transactions import CannotStream, StreamedTransaction, records

MEMORY = 8 * 2**20
"""Bytes of all open transactions together that stay in memory."""
SLICE = 1 << 16
"""Bytes read back at once, give or take a frame: as much as is decoded before the event loop turns."""
T = TypeVar("T")


class TransactionSpool:
    """One tenure's files. One caller at a time."""

    def __init__(self) -> None:
        self._files: dict[int, BinaryIO] = {}

    async def settle(self, transactions: Mapping[int, StreamedTransaction]) -> None:
        """Call it after every burst of frames, with all open transactions. Raises CannotStream: no room."""
        for xid in self._files.keys() - transactions.keys():
            self._files.pop(xid).close()
        size = sum(len(transaction.tail) for transaction in transactions.values())
        while size > MEMORY:
            largest = max(transactions.values(), key=lambda transaction: len(transaction.tail))
            size -= len(largest.tail)
            await self._store(largest)

    async def read(self, transaction: StreamedTransaction) -> AsyncIterator[list[bytes]]:
        """Its frames, a slice at a time. Raises CannotStream."""
        at, wanted = 0, SLICE
        while at < transaction.length:
            frames, used = records(await self._log(transaction, at, wanted))
            if frames:
                yield frames
                at, wanted = at + used, SLICE
            else:
                wanted = used

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    async def _log(self, transaction: StreamedTransaction, at: int, size: int) -> bytes:
        behind = at - transaction.stored
        if behind >= 0:
            return bytes(memoryview(transaction.tail)[behind : behind + size])
        file = self._files[transaction.xid].fileno()
        return await _on_disk(transaction, lambda: os.pread(file, min(size, -behind), at))

    async def _store(self, transaction: StreamedTransaction) -> None:
        xid = transaction.xid
        if xid not in self._files:
            self._files[xid] = await _on_disk(transaction, _unnamed_file)
        file = self._files[xid].fileno()
        await _on_disk(transaction, lambda: _write(file, transaction.tail, transaction.stored))
        transaction.tail_stored()


def _unnamed_file() -> BinaryIO:
    return tempfile.TemporaryFile(buffering=0)


def _write(file: int, log: bytearray, at: int) -> None:
    with memoryview(log) as view:
        written = 0
        while written < len(view):
            written += os.pwrite(file, view[written:], at + written)


async def _on_disk(transaction: StreamedTransaction, act: Callable[[], T]) -> T:
    acting = asyncio.ensure_future(asyncio.to_thread(act))
    try:
        return await asyncio.shield(acting)
    except asyncio.CancelledError:
        # the file may be closed, and its number given to a socket, only when the thread is through with it
        await asyncio.wait((acting,))
        raise
    except OSError as error:
        raise CannotStream(
            f"transaction {transaction.xid}, {transaction.length >> 20} MB of it so far, cannot wait for its commit in "
            f"{_folder()}: {error.strerror or error}; make room there, set TMPDIR to another folder, or let PostgreSQL "
            "keep large transactions: `streaming: false` in bridge.yaml"
        ) from None


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "a temporary folder"
