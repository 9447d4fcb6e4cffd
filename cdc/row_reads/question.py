"""What is asked of a source: some rows of one table, of one tenant, by the values of some columns. Pure.

Whoever asks knows no SQL: names are checked against bridge.yaml and the catalogue, and quoted; values are parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdc.backfill.visibility import Visibility

Row = Mapping[str, Any]
"""A row as events have it: by column, JSON values, numbers int or Decimal."""


@dataclass(frozen=True, slots=True)
class Order:
    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """Questions of one shape are asked together.

    table: `schema.table`; where: the columns that are compared, and whether with a list of values; order: empty where
    the primary key's order will do; many: `limit` rows are wanted, and one more where there are more, else the first one,
    if any; columns: those that are wanted, None: all.
    """

    table: str
    where: tuple[tuple[str, bool], ...]
    order: tuple[Order, ...] = ()
    many: bool = True
    limit: int = 1_000
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """tenant: the tenant column's value; values: for each read those of `shape.where`, JSON values."""

    shape: Shape
    tenant: str
    values: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Answer:
    """For each read its rows, or what is wrong with this one alone. seen: what was visible to it."""

    rows: Sequence[Sequence[Row] | Exception]
    seen: Visibility


class ReadRefused(Exception):
    """The table cannot be read as asked, whatever the values: says why, and what would mend it."""


class ReadTooSlow(Exception):
    """PostgreSQL did not answer in time."""


class ValueUnfit(Exception):
    """A value that its column's type cannot hold."""


class TooLarge(Exception):
    """Its rows have more bytes than one read may give."""
