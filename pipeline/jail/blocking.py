"""The jail for commands, which wait for each answer: one for the whole process, with a thread and a loop of its own.

It starts with the first question, and ends with the process.
"""

import asyncio
import atexit
import csv
import io
import threading
from collections.abc import Coroutine, Mapping
from functools import cache
from typing import Any, TypeVar

from pipeline.jail.frames import MappingSource
from pipeline.jail.pool import RenderPool
from pipeline.jail.renderer import Renderer
from pipeline.mapping import Lookup, MappingFacts
from pipeline.mapping_text import MappingText

T = TypeVar("T")


class BlockingJail:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="jail", daemon=True)
        self._thread.start()
        self.renderer = Renderer(RenderPool())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work`, which asks `renderer`, comes to."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self.wait(self.renderer.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@cache
def jail() -> BlockingJail:
    """The one of this process."""
    found = BlockingJail()
    atexit.register(found.close)
    return found


def compiled(text: MappingText, name: str, lookups: Mapping[str, Lookup] | None = None) -> MappingFacts:
    """As `compile_stored`; only the `version` is not that of a tenant, since no row of a crosswalk is looked at.

    Raises MappingInvalid, RendererBroken.
    """
    headers = None if lookups is None else {each: _header(lookups[each]) for each in lookups}
    found = jail()
    return found.wait(found.renderer.mapping("", name, text.file, MappingSource.of(text, headers))).facts


def _header(lookup: Lookup) -> str:
    """A crosswalk without its rows: whether a mapping compiles depends on the columns alone."""
    key = "key"
    while key in lookup.columns:
        key += "_"
    written = io.StringIO()
    csv.writer(written).writerow([key, *lookup.columns])
    return written.getvalue()
