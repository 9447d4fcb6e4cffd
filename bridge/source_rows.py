"""Rows for mappings from the sources of bridge.yaml: where delivery, which asks, meets `cdc`, which can read them."""

from collections.abc import Callable, Mapping
from functools import partial

from cdc.backfill.visibility import Snapshot, Visibility
from cdc.row_reads.question import (
    Order,
    Question,
    ReadRefused,
    ReadTooSlow,
    Shape,
    TooLarge,
    ValueUnfit,
)
from cdc.row_reads.source_rows import SourceRows
from cdc.settings import SourceSettings
from cdc.source_errors import SourceLost
from pipeline.problems import ConfigurationInvalid
from pipeline.rows.row_reads import Place, Reading, ReadInvalid, RowsFound, SourceAway, SourceSlow, TableAway
from pipeline.yaml_nodes import YamlError


class SourceRowReader:
    """The `RowReader` of a process. sources: asked for when the first row is, and what it raises says why there are none."""

    def __init__(self, sources: Callable[[], Mapping[str, SourceSettings]]) -> None:
        self._sources = sources
        self._open: dict[str, SourceRows] = {}

    async def read(self, reading: Reading) -> RowsFound:
        """Raises SourceAway, TableAway, SourceSlow."""
        rows = self._source(reading.source)
        try:
            answer = await rows.read(_question(reading))
        except ReadTooSlow as error:
            raise SourceSlow(f"source {reading.source}: {error}") from None
        except ReadRefused as error:
            raise TableAway(f"source {reading.source}: {error}") from None
        except SourceLost as error:
            raise SourceAway(f"source {reading.source}: {error}") from None
        found = [
            ReadInvalid(str(row)) if isinstance(row, TooLarge | ValueUnfit) else row for row in answer.rows
        ]
        if any(isinstance(row, Exception) and not isinstance(row, ReadInvalid) for row in found):
            raise TypeError(f"an answer of an unknown kind: {found!r}")
        return RowsFound(
            found,  # type: ignore[arg-type]  # no other exception is left, see above
            partial(_sees, answer.seen),
            standby=not isinstance(answer.seen, Snapshot),
        )

    async def aclose(self) -> None:
        for rows in self._open.values():
            await rows.aclose()
        self._open.clear()

    def _source(self, name: str) -> SourceRows:
        if name not in self._open:
            try:
                found = self._sources().get(name)
            except (YamlError, ConfigurationInvalid) as error:
                raise TableAway(
                    f"source {name} cannot be read, its section of bridge.yaml is not right: {error}"
                ) from None
            if found is None:
                raise TableAway(f"bridge.yaml has no source {name!r}, so its rows cannot be read here")
            self._open[name] = SourceRows(found)
        return self._open[name]


def _question(reading: Reading) -> Question:
    shape = reading.shape
    order = tuple(Order(column, descending) for column, descending in shape.order_by)
    asked = Shape(shape.table, shape.where, order, shape.many, shape.limit, shape.columns)
    return Question(asked, reading.tenant, reading.values)


def _sees(seen: Visibility, place: Place) -> bool:
    if isinstance(seen, Snapshot) and place.xid is None:
        return True  # no transaction of its own: it was read, or is no row
    return seen.sees(place.xid, place.lsn)
