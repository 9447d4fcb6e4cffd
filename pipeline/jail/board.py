"""Two numbers that a parent and its rendering child see at once, without a message.

at: the task that the child is about, 0 while it waits. skip: tasks up to this one need no answer any more. Written by
one side each, eight bytes at their own place, which no reader sees half written.
"""

import mmap
import os
import struct

_SIZE = mmap.PAGESIZE
_NUMBER = struct.Struct("=Q")


class Board:
    def __init__(self, file: int) -> None:
        """file: an open one of that size; it may be closed afterwards."""
        self._memory = mmap.mmap(file, _SIZE)

    @property
    def at(self) -> int:
        number: int = _NUMBER.unpack_from(self._memory, 0)[0]
        return number

    @at.setter
    def at(self, number: int) -> None:
        _NUMBER.pack_into(self._memory, 0, number)

    @property
    def skip(self) -> int:
        number: int = _NUMBER.unpack_from(self._memory, 8)[0]
        return number

    @skip.setter
    def skip(self, number: int) -> None:
        _NUMBER.pack_into(self._memory, 8, number)

    def close(self) -> None:
        self._memory.close()


def board_file() -> int:
    """A file in memory for a board: it has no name, and ends with those who have it open."""
    file = os.memfd_create("render-board", os.MFD_CLOEXEC)
    os.ftruncate(file, _SIZE)
    return file
