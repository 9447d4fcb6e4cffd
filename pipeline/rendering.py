"""One event for one route: render, read what the mapping needs, render again, until there is something to do."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from pipeline.mapping import (
    ColumnsRead,
    Done,
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
from pipeline.row_reads import ReadInvalid, Row
from pipeline.yaml_tree import Mark

ROUNDS = 200
"""More renderings of one request than any mapping needs: each has to ask for something that no earlier one did."""

Render = Callable[[RenderInput], Awaitable[Result]]


class Rows(Protocol):
    """`pipeline.enrichment`. tenant: its key. Raise SourceAway, SourceSlow, ReadInvalid."""

    async def rows(self, read: RowsRead, event: dict[str, Any], tenant: str) -> Sequence[Row]: ...

    async def columns(self, read: ColumnsRead, event: dict[str, Any], tenant: str) -> Row | None: ...


Saved = Callable[[SavedRead], Awaitable[Any]]
"""What another delivery of the same tenant saved; None: nothing."""


class Rendering:
    """given: grows by what is learned."""

    def __init__(self, render: Render, given: RenderInput, rows: Rows, saved: Saved, tenant: str) -> None:
        """tenant: its key."""
        self._render = render
        self._rows = rows
        self._saved = saved
        self._tenant = tenant
        self.given = given

    async def next(self) -> Rendered | Skipped | Waits | Done:
        """Raises RenderError, SourceAway, SourceSlow, and what `saved` raises."""
        for _ in range(ROUNDS):
            result = await self._render(self.given)
            if not isinstance(result, Needs):
                return result
            learned = await asyncio.gather(*(self._learn(read) for read in result.reads))
            for add in learned:
                self.known(add(self.given.known))
        raise RenderError("limit", f"more than {ROUNDS} reads one after another", Mark("", 1, 1))

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
                rows = await self._checked(
                    self._rows.rows(read, self.given.event, self._tenant), f"enrich.{read.name}"
                )
                return lambda facts: _with(facts, rows={**facts.rows, read.name: [dict(row) for row in rows]})
            case ColumnsRead():
                if not read.key:
                    return lambda facts: _with(facts, unreadable="the table has no key to read it by")
                row = await self._checked(
                    self._rows.columns(read, self.given.event, self._tenant), "a column that came unchanged"
                )
                if row is None:
                    return lambda facts: _with(facts, unreadable="the row is gone")
                return lambda facts: _with(facts, columns={**facts.columns, **row})
            case SavedRead():
                value = await self._saved(read)
                return lambda facts: _with(facts, saved={**facts.saved, read.id: value})

    async def _checked(self, asked: Awaitable[Any], what: str) -> Any:
        try:
            return await asked
        except ReadInvalid as error:
            raise RenderError("enrich", f"{what}: {error}", Mark("", 1, 1)) from None


def _with(facts: Facts, **more: Any) -> Facts:
    return msgspec.structs.replace(facts, **more)
