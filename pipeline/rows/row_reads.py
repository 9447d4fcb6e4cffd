"""Rows that a mapping asks a source for: who asks, how it is asked, and what can come of it. Pure.

`pipeline.rows.enrichment` asks; who has the database implements `RowReader` (`bridge.source_rows`): capture and delivery do
not know each other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eventbus.lsn import parse_lsn

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the change that asks stands in its source: xid, None where it is not told, and LSN of its commit, 0 likewise."""

    xid: int | None = None
    lsn: int = 0

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> "Place":
        source = event.get("source") or {}
        xid, lsn = source.get("xid"), source.get("commit_lsn")
        try:
            known = xid if isinstance(xid, int) and xid > 0 else None
            return cls(known, parse_lsn(lsn) if isinstance(lsn, str) else 0)
        except ValueError:
            return cls()


class SourceAway(Exception):
    """The source cannot be read just now: routes that read it wait until it can be."""


class TableAway(SourceAway):
    """The table cannot be read as asked, whatever the values: the route waits until somebody has mended that."""


class SourceSlow(Exception):
    """It did not answer in time, or is behind the change that asks: ask again later."""


class ReadInvalid(Exception):
    """Of one read alone: a value that its column cannot hold, or rows too large to be sent."""


@dataclass(frozen=True, slots=True)
class ReadShape:
    """What reads have in common that are asked together.

    table: `schema.table`; where: columns, and whether each is compared with a list of values; order_by: columns, and
    whether they descend, empty: the primary key's order; many: `limit` rows, and one more where there are more, else the
    first one; columns: None: all.
    """

    table: str
    where: tuple[tuple[str, bool], ...]
    order_by: tuple[tuple[str, bool], ...] = ()
    many: bool = False
    limit: int = 1
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads of one shape, for one tenant. tenant: its key; values: of each read, those of `shape.where`."""

    source: str
    tenant: str
    shape: ReadShape
    values: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class RowsFound:
    """rows: of each read, or what is wrong with that one alone. sees: whether a change's commit was visible to it.

    standby: they were read at a server that may be behind.
    """

    rows: Sequence[Sequence[Row] | ReadInvalid]
    sees: Callable[[Place], bool]
    standby: bool = False


class RowReader(Protocol):
    """How a source's rows are read."""

    async def read(self, reading: Reading) -> RowsFound:
        """Raises SourceAway, TableAway, SourceSlow."""
        ...

    async def aclose(self) -> None: ...


class NoRows:
    """The `RowReader` of who has no source at hand."""

    async def read(self, reading: Reading) -> RowsFound:
        """Raises TableAway."""
        raise TableAway(f"rows of source {reading.source} cannot be read here: no source is configured")

    async def aclose(self) -> None:
        """Nothing is open."""
