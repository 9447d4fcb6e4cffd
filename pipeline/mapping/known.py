"""What a rendering is told besides the event, and what it asks for.

Rendering is stateless and repeated. `Mapping.render(given)` evaluates from the start with what `given.known` tells, and
returns one of five things; the caller acts, adds what it learned to `known`, and renders again:

    Needs(reads)        read them, note each answer in `known`, render again
    Waits(…)            something that another delivery saves is not there yet: a retry, class `wait_for`
    Skipped(by)         nothing is to be sent
    Rendered(…)         send it; what the answer means says `Mapping.classify(outcome, given, rendered)`
    Done(save)          nothing is left to send: delivered; store what is to be saved

After an answer that `classify` calls Delivered: `rendered.last` means that the delivery is done with that. Else note the
answer in `known` – under `finds` where `rendered.kind` is "find", else under `answers` – and render again: the next step
comes, or Done. A step that was answered before a crash is in `known.answers` from the start, so it is not sent again.

A request that may have reached the ERP already (an attempt that ended uncertain, a worker that ended before it knew)
is named in `known.unsure`; where the mapping says how to look it up, the lookup is rendered first, and the request only
if it was not found. Everything here is frozen, can be pickled, and is JSON for msgspec (numbers: int or Decimal).
"""

from typing import Any, TypeAlias

import msgspec

from connectors.protocol import Answer

Row: TypeAlias = dict[str, Any]
"""A row's columns as an event carries them (docs/events.md, column values)."""


class RowsRead(msgspec.Struct, frozen=True, tag=True):
    """An `enrich`: rows of `table` (`schema.table`) where every column has its value, of the event's tenant only.

    where: column and value; a list stands for any of its values; never null. columns: None: all of them.
    order_by: column, and whether it descends; empty: the primary key's order. limit: read one row more than this where
    `many`, so that too many show; else just one row.
    """

    name: str
    table: str
    where: tuple[tuple[str, Any], ...]
    many: bool = False
    columns: tuple[str, ...] | None = None
    order_by: tuple[tuple[str, bool], ...] = ()
    limit: int = 1


class ColumnsRead(msgspec.Struct, frozen=True, tag=True):
    """Columns that came `unchanged`: the row's, read by the event's key, of the event's tenant only."""

    table: str
    key: dict[str, Any]
    columns: tuple[str, ...]


class SavedRead(msgspec.Struct, frozen=True, tag=True):
    """What a delivery of the tenant's `route` for the row `key` saved under `name`. key: see `saved_key`."""

    route: str
    key: str
    name: str

    @property
    def id(self) -> str:
        """Under which `Known.saved` holds the answer."""
        return saved_id(self.route, self.key, self.name)


Read = RowsRead | ColumnsRead | SavedRead


class Known(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has been learned so far.

    rows: by the enrichment's name. saved: by `SavedRead.id`, null where nothing is saved. columns: of the event's row,
    by name; unreadable: why they cannot be had ("the row is gone"), which makes `unchanged_column` of their use.
    answers, finds: by the step's name, "" for a mapping's only `request`. unsure: such names, see above.
    """

    rows: dict[str, list[Row]] = {}
    saved: dict[str, Any] = {}
    columns: dict[str, Any] = {}
    unreadable: str = ""
    answers: dict[str, Answer] = {}
    finds: dict[str, Answer] = {}
    unsure: frozenset[str] = frozenset()


NOTHING_KNOWN = Known()


def saved_key(key: Any) -> str:
    """A row's key as text: `{"id": 5}`, `5` and `"5"` are all `["5"]`; of several columns, in the order of their names."""
    values = [key[name] for name in sorted(key)] if isinstance(key, dict) else [key]
    texts = [value if isinstance(value, str) else _plain.encode(value).decode() for value in values]
    return msgspec.json.encode(texts).decode()


def saved_id(route: str, key: str, name: str) -> str:
    return msgspec.json.encode((route, key, name)).decode()


_plain = msgspec.json.Encoder(decimal_format="number")
