"""One event for one route: render, read what the mapping needs, render again, until there is something to do."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from pipeline.mapping import (
    ColumnsRead,
    Done,
    MappingFacts,
    Needs,
    Read,
    Rendered,
    RenderError,
    RenderInput,
    Result,
    RowsRead,
    SavedRead,
    Skipped,
    Waits,
)
from pipeline.mapping import Known as Facts
from pipeline.rows.row_reads import ReadInvalid, Row
from pipeline.yaml_tree import Mark

ROUNDS = 200
"""More renderings of one request than any mapping needs: each has to ask for something that no earlier one did."""


class Renders(Protocol):
    """A mapping, compiled elsewhere."""

    @property
    def facts(self) -> MappingFacts: ...

    async def render(self, given: RenderInput) -> Result:
        """See Mapping.render."""
        ...


class Rows(Protocol):
    """`pipeline.rows.enrichment`. tenant: its key. Raise SourceAway, SourceSlow, ReadInvalid."""

    async def rows(self, read: RowsRead, event: dict[str, Any], tenant: str) -> Sequence[Row]: ...

    async def columns(self, read: ColumnsRead, event: dict[str, Any], tenant: str) -> Row | None: ...


Saved = Callable[[SavedRead], Awaitable[Any]]
"""What another delivery of the same tenant saved; None: nothing."""


class Rendering:
    """given: grows by what is learned."""

    def __init__(self, mapping: Renders, given: RenderInput, rows: Rows, saved: Saved, tenant: str) -> None:
        """tenant: its key."""
        self._mapping = mapping
        self._rows = rows
        self._saved = saved
        self._tenant = tenant
        self.given = given

    async def next(self) -> Rendered | Skipped | Waits | Done:
        """Raises RenderError, SourceAway, SourceSlow, and what `saved` raises."""
        for _ in range(ROUNDS):
            result = await self._mapping.render(self.given)
            if not isinstance(result, Needs):
                return result
            learned = await asyncio.gather(*(self._learn(read) for read in result.reads))
            for add in learned:
                self.known(add(self.given.known))
        mark = Mark(self._mapping.facts.file, 1, 1)
        raise RenderError("limit", f"more than {ROUNDS} reads one after another", mark)

    def known(self, facts: Facts) -> None:
        """From now on."""
        self.given = replace(self.given, known=facts)

    def know(self, **more: dict[str, Any]) -> None:
        """Adds to members of what is known."""
        facts = self.given.known
        self.known(_with(facts, **{name: {**getattr(facts, name), **found} for name, found in more.items()}))

    async def _learn(self, read: Read) -> Callable[[Facts], Facts]:
        match read:
            case RowsRead():
                rows = await self._read_rows(read)
                return lambda facts: _with(facts, rows={**facts.rows, read.name: rows})
            case ColumnsRead():
                return await self._read_columns(read)
            case SavedRead():
                value = await self._saved(read)
                return lambda facts: _with(facts, saved={**facts.saved, read.id: value})

    async def _read_rows(self, read: RowsRead) -> list[dict[str, Any]]:
        try:
            rows = await self._rows.rows(read, self.given.event, self._tenant)
        except ReadInvalid as error:
            facts = self._mapping.facts
            line = next((each.line for each in facts.reads if each.name == read.name), 1)
            raise RenderError("value", f"enrich.{read.name}: {error}", Mark(facts.file, line, 1)) from None
        return [dict(row) for row in rows]

    async def _read_columns(self, read: ColumnsRead) -> Callable[[Facts], Facts]:
        why, row = "the table has no key to read it by", None
        if read.key:
            why = "the row is gone"
            try:
                row = await self._rows.columns(read, self.given.event, self._tenant)
            except ReadInvalid as error:
                why = str(error)
        if row is None:
            return lambda facts: _with(facts, unreadable=why)
        return lambda facts: _with(facts, columns={**facts.columns, **row})


def _with(facts: Facts, **more: Any) -> Facts:
    return msgspec.structs.replace(facts, **more)
