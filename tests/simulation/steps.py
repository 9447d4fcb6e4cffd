"""Tasks of the product, from one of their awaits to the next; and the source that is captured in the simulation."""

import types
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from cdc.settings import SourceSettings
from tests.cdc.pgoutput_stream import TABLES

SOURCE = SourceSettings("s", "", TABLES)
T = TypeVar("T")


def steps(task: Callable[[], Awaitable[T]]) -> Generator[None, None, T]:
    """A task, from one of its awaits to the next."""
    return (yield from task().__await__())


@types.coroutine
def pause(times: int = 1) -> Generator[None]:
    for _ in range(times):
        yield


@contextmanager
def instead(members: Sequence[tuple[types.ModuleType, str, Any]]) -> Iterator[None]:
    """Other things under these names for a while: as `unittest.mock.patch`, which takes as long as the shortest runs."""
    before = [getattr(module, name) for module, name, _ in members]
    for module, name, value in members:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(members, before, strict=True):
            setattr(module, name, value)
