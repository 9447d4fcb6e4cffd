"""Crosswalk tables: a CSV file whose first column translates into the others. Values stay text."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from pipeline.mapping.errors import Missing
from pipeline.mapping.syntax import SyntaxInvalid
from pipeline.mapping.values import Value, text_of
from pipeline.yaml_tree import Mark, YamlError, nearest

MAX_CHARACTERS = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Lookup:
    """One table: the columns after the first, and a row of their values for each key."""

    name: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]
    digest: str

    def position(self, column: str | None) -> int:
        """Which value a row gives. Raises SyntaxInvalid for no such column, or none named where there are more."""
        if column is None:
            if len(self.columns) == 1:
                return 0
            raise SyntaxInvalid(
                f"the lookup {self.name!r} has the columns {', '.join(self.columns)}: name one, lookup('{self.name}', '{self.columns[0]}')"
            )
        if column not in self.columns:
            raise SyntaxInvalid(
                f"the lookup {self.name!r} has no column {column!r}{nearest(column, self.columns)}"
            )
        return self.columns.index(column)

    def translate(self, key: Value, position: int) -> str:
        """Raises Missing, which `default` covers, where the table has no such key."""
        if key is None:
            raise Missing(f"null is not in the lookup {self.name!r}; give a default", "lookup")
        row = self.rows.get(text_of(key))
        if row is None:
            raise Missing(
                f"{text_of(key)[:60]!r} is not in the lookup {self.name!r}; add the row to its CSV file or give a default",
                "lookup",
            )
        return row[position]


def header_of(lookup: Lookup) -> str:
    """Its CSV file without a row: whether a mapping compiles depends on the columns alone."""
    key = "key"
    while key in lookup.columns:
        key += "_"
    written = io.StringIO()
    csv.writer(written).writerow([key, *lookup.columns])
    return written.getvalue()


def parse_lookup(text: str, file: str, name: str) -> Lookup:
    """A CSV file: UTF-8 with or without BOM, `,` or `;`, a header row, the key first.

    Raises:
        YamlError: it is none; the same error as for any file of a tenant, with file and line.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_CHARACTERS:
        raise YamlError(Mark(file, 1, 1), f"is larger than {MAX_CHARACTERS} characters")
    header = text.split("\n", 1)[0]
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=";" if header.count(";") > header.count(",") else ",",
        strict=True,
    )
    try:
        columns = [column.strip() for column in next(reader, [])]
        _check_header(columns, Mark(file, 1, 1))
        rows = _rows(reader, len(columns), file)
    except csv.Error as error:
        raise YamlError(Mark(file, reader.line_num, 1), f"is not valid CSV: {error}") from None
    return Lookup(name, tuple(columns[1:]), rows, sha256(text.encode()).hexdigest())


def _check_header(columns: list[str], mark: Mark) -> None:
    if len(columns) < 2:
        raise YamlError(
            mark, "needs a header row with a key column and at least one more, separated by , or ;"
        )
    for column in columns:
        if not column or columns.count(column) > 1:
            raise YamlError(
                mark, f"the header names the column {column!r} {'twice' if column else 'without a name'}"
            )


class _Reader(Protocol):
    """What csv.reader gives."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...


def _rows(reader: _Reader, width: int, file: str) -> dict[str, tuple[str, ...]]:
    rows: dict[str, tuple[str, ...]] = {}
    lines: dict[str, int] = {}
    for row in reader:
        if not any(row):
            continue
        mark = Mark(file, reader.line_num, 1)
        if len(row) != width:
            raise YamlError(
                mark,
                f"has {len(row)} values where the header has {width}; quote a value with a separator in it",
            )
        if row[0] in lines:
            raise YamlError(
                mark, f"the key {row[0]!r} is already in line {lines[row[0]]}; remove one of the two"
            )
        lines[row[0]] = reader.line_num
        rows[row[0]] = tuple(row[1:])
    return rows
