"""The jail for commands, which wait for each answer: one for the whole process, with a thread and a loop of its own.

It starts with the first question, and ends with the process.
"""

import asyncio
import atexit
import csv
import io
import threading
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import msgspec

from connectors.protocol import Outcome
from pipeline.jail.frames import MappingSource
from pipeline.jail.pool import RenderPool
from pipeline.jail.renderer import JailedMapping, Renderer
from pipeline.jail.work import CasesGiven
from pipeline.jail.zone_files import zone_file
from pipeline.mapping import Lookup, MappingFacts, Rendered, RenderInput, Result
from pipeline.mapping_text import MappingText

T = TypeVar("T")


class BlockingJail:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="jail", daemon=True)
        self._thread.start()
        self.renderer = Renderer(RenderPool())
        self.facts: dict[bytes, MappingFacts] = {}
        """Of what `compiled` was asked, by all that it depends on."""

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
    # even what the renderer knows costs a wait for its thread, and thousands of tenants ask for the same
    asked = msgspec.json.encode((name, text, headers))
    if asked not in found.facts:
        source = MappingSource.of(text, headers)
        found.facts[asked] = found.wait(found.renderer.mapping("", name, text.file, source)).facts
    return found.facts[asked]


@dataclass(frozen=True, slots=True)
class BlockingMapping:
    """A mapping in the jail, for whoever waits."""

    facts: MappingFacts
    _mapping: JailedMapping

    def render(self, given: RenderInput) -> Result:
        """See JailedMapping.render."""
        return jail().wait(self._mapping.render(given))

    def classify(self, outcome: Outcome, given: RenderInput, rendered: Rendered | None = None) -> Outcome:
        """See JailedMapping.classify."""
        return jail().wait(self._mapping.classify(outcome, given, rendered))


def mapping_of(text: MappingText, name: str, lookups: Mapping[str, str] | None) -> BlockingMapping:
    """lookups: the texts of the crosswalks, by name. Raises MappingInvalid, RendererBroken."""
    found, source = jail(), MappingSource.of(text, None if lookups is None else dict(lookups))
    mapping = found.wait(found.renderer.mapping("", name, text.file, source))
    return BlockingMapping(mapping.facts, mapping)


def case_problems(
    text: MappingText, given: CasesGiven, lookups: Mapping[str, str], zones: Iterable[str]
) -> list[str]:
    """What is wrong with each case, in their order; empty where nothing is.

    Raises:
        MappingInvalid: with a case's own crosswalks, too. RenderError: together they take too long. RendererBroken.
    """
    found, source = jail(), MappingSource.of(text, dict(lookups))
    return found.wait(found.renderer.problems(source, given, tuple(filter(_is_zone, zones))))


def _is_zone(name: str) -> bool:
    """Of another the case tells."""
    try:
        zone_file(name)
    except (LookupError, ValueError, OSError):
        return False
    return True


def _header(lookup: Lookup) -> str:
    """A crosswalk without its rows: whether a mapping compiles depends on the columns alone."""
    key = "key"
    while key in lookup.columns:
        key += "_"
    written = io.StringIO()
    csv.writer(written).writerow([key, *lookup.columns])
    return written.getvalue()
