"""A table that may be read, as bridge.yaml and the catalogue have it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from cdc.backfill.read_table import SHAPE, Rights
from cdc.built_in_types import BUILT_IN
from cdc.catalogue_facts import Facts, form_of_facts
from cdc.row_encoder import RowEncoder, RowShape
from cdc.row_reads.question import ReadRefused, Shape, ValueUnfit
from cdc.settings import SourceSettings, TableSettings, split_table
from cdc.sql_names import quoted

TABLE_SQL = f"""
SELECT c.oid::bigint::text, ({SHAPE.replace("@oid@", "c.oid")}), current_user::text
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')
"""  # noqa: S608 - the catalogue's names, and ours
"""Parameters: schema, table. A row: OID, shape, our role."""

COLUMNS_SQL = """
WITH RECURSIVE bare(number, type) AS (
    SELECT a.attnum, a.atttypid FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT bare.number, t.typbasetype FROM bare JOIN pg_catalog.pg_type t ON t.oid = bare.type WHERE t.typtype = 'd'
)
SELECT a.attname::text, a.atttypid::bigint::text, n.nspname::text, t.typname::text,
       CASE WHEN t.typtype = 'b' AND t.typcategory <> 'A' THEN n.nspname::text ELSE 'pg_catalog' END,
       (SELECT k.place::text FROM pg_catalog.pg_index i
         CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
         WHERE i.indrelid = a.attrelid AND i.indisprimary AND k.number = a.attnum AND k.place <= i.indnkeyatts)
  FROM bare JOIN pg_catalog.pg_type t ON t.oid = bare.type AND t.typtype <> 'd'
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = $1::oid AND a.attnum = bare.number
 ORDER BY a.attnum
"""
"""Parameter: the table's OID. Rows: the members of `Column`, in order; a domain's type is the one below it."""

_BYTEA = "bytea"


@dataclass(frozen=True, slots=True)
class Column:
    """type_oid: a domain's own; type_schema, type_name: what a value is cast to, which cuts and rounds nothing.

    operators: the schema of its `=`; key_place: in the primary key, from 1.
    """

    name: str
    type_oid: int
    type_schema: str
    type_name: str
    operators: str
    key_place: int | None

    @classmethod
    def of_row(cls, row: Sequence[str | None]) -> "Column":
        name, oid, schema, base, operators, place = row
        return cls(
            str(name), int(str(oid)), str(schema), str(base), str(operators), int(place) if place else None
        )

    @property
    def type(self) -> str:
        return f"{quoted(self.type_schema)}.{quoted(self.type_name)}"

    @property
    def equals(self) -> str:
        return f"OPERATOR({quoted(self.operators)}.=)"

    def text_of(self, value: Any) -> str | None:
        """A JSON value as PostgreSQL reads it. Raises ValueUnfit."""
        match value:
            case None:
                return None
            case bool():
                return "true" if value else "false"
            case int():
                return str(value)
            case Decimal():
                return format(value, "f")
            case str():
                return self._text_of(value)
            case _:
                raise ValueUnfit(f"column {self.name!r} is compared with a list or an object")

    def _text_of(self, value: str) -> str:
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueUnfit(f"the value for column {self.name!r} holds a letter that PostgreSQL cannot")
        if self.type_name != _BYTEA:
            return value
        try:
            return "\\x" + msgspec.convert(value, bytes).hex()  # as events write it, in base64
        except msgspec.ValidationError:
            raise ValueUnfit(f"the value for column {self.name!r} is not base64") from None


@dataclass(frozen=True, slots=True)
class ReadableTable:
    """columns: without those that bridge.yaml excludes; key: in its index's order, empty where there is none."""

    name: str
    settings: TableSettings
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    shape: str
    rights: Rights
    facts: Facts

    @property
    def sql_name(self) -> str:
        schema, table = split_table(self.name)
        return f"{quoted(schema)}.{quoted(table)}"

    @property
    def tenant(self) -> Column | None:
        name = self.settings.tenant_column
        return None if name is None else self.column(name, "tells the tenant in bridge.yaml")

    def column(self, name: str, role: str) -> Column:
        """Raises ReadRefused where the table has none such, or bridge.yaml excludes it."""
        column = self.columns.get(name)
        if column is not None:
            return column
        if name in self.settings.exclude:
            raise ReadRefused(f"{self.name}: column {name!r}, which {role}, is excluded in bridge.yaml")
        raise ReadRefused(f"{self.name} has no column {name!r}, which {role}")

    def encoder(self, wanted: Sequence[str]) -> RowEncoder:
        """Of rows of these columns, with the tenant's, where there is one, before them."""
        tenant = self.tenant
        columns = [*([tenant] if tenant else []), *(self.columns[name] for name in wanted)]
        first = 1 if tenant else 0
        return RowEncoder(
            RowShape(
                names=[column.name for column in columns],
                forms=[form_of_facts(column.type_oid, self.facts.types) for column in columns],
                published=tuple(range(first, len(columns))),
                tenant=0 if tenant else None,
            )
        )


def table_settings(source: SourceSettings, name: str) -> TableSettings:
    """Raises ReadRefused for a table that bridge.yaml does not list: nobody has said which rows are whose."""
    settings = source.tables.get(name)
    if settings is None:
        raise ReadRefused(
            f"source {source.name} has no table {name}: only tables that bridge.yaml lists are read, since it says which"
            f" column tells the tenant. Add `{name}: {{}}` to sources.{source.name}.tables, then `bridge cdc setup`"
        )
    return settings


def readable_table(
    name: str,
    settings: TableSettings,
    row: Sequence[str | None],
    columns: Iterable[Column],
    facts: Facts,
) -> ReadableTable:
    """row: of TABLE_SQL."""
    _, shape, role = row
    schema, table = split_table(name)
    found = {column.name: column for column in columns}
    key = sorted((column.key_place, name) for name, column in found.items() if column.key_place)
    return ReadableTable(
        name,
        settings,
        {name: column for name, column in found.items() if name not in settings.exclude},
        settings.key or tuple(name for _, name in key),
        str(shape),
        Rights(schema, table, str(role)),
        facts,
    )


def unknown_types(columns: Iterable[Column]) -> list[int]:
    """Type OIDs of which the catalogue has to tell the form."""
    return sorted({column.type_oid for column in columns} - set(BUILT_IN))


def check_shape(table: ReadableTable, shape: Shape) -> None:
    """Raises ReadRefused where a name is not there, or the order is left open."""
    for name, _ in shape.where:
        table.column(name, "`where` compares")
    for order in shape.order:
        table.column(order.column, "`order_by` names")
    for name in shape.columns or ():
        table.column(name, "is wanted")
    assert table.tenant or table.settings.tenant_column is None
    if shape.many and not shape.order and not table.key:
        raise ReadRefused(f"{table.name} has no primary key: say with order_by in which order its rows come")
